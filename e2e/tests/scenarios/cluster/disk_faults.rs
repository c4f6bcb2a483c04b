//! Disks that lose their power, fail, fill up or rot: nothing acknowledged is lost, nothing else is served.

use std::fs;
use std::path::PathBuf;

use tidelog_e2e::damage::{files_below, find, flip_bit};
use tidelog_e2e::input::short_lines;
use tidelog_e2e::{ClusterOptions, LoopDisk, Member, Workspace, until};

use super::site::{SOON, STORES, Site, node, on_disks};

const DISK_BYTES: u64 = 160 * 1024 * 1024;

/// Stores on disks of their own lose their power at the same moment, as often as `rounds` says.
fn survive_power_cuts(title: &str, stores: &[Member], rounds: usize) {
    let workspace = Workspace::new();
    let Some((disks, options)) = on_disks(&workspace, stores, DISK_BYTES) else { return };
    let mut site = Site::start_in(workspace, title, options);
    site.begin();
    for round in 0..rounds {
        let fault = site.recorder.fault("power cut");
        disks.iter().for_each(LoopDisk::cut_power);
        for store in stores {
            site.cluster.kill(*store);
        }
        disks.iter().for_each(LoopDisk::restore_power);
        for store in stores {
            site.cluster.spawn(*store);
        }
        site.cluster.until_ready();
        fault.heal();
        site.progress(&format!("load after power cut {round}"));
        site.until_in_sync(&STORES);
    }
    site.judge();
    drop(disks);
}

#[test]
fn nothing_acknowledged_is_lost_when_one_store_loses_its_power() {
    survive_power_cuts("power loss of one store", &STORES[..1], 2);
}

#[test]
fn nothing_acknowledged_is_lost_when_all_stores_lose_their_power_at_once() {
    survive_power_cuts("power loss of all stores", &STORES, 2);
}

/// A store whose journal fails after so many of its operations ends by itself, again and again; each time it
/// is back before its lease can have ended.
fn survive_a_failing_journal(title: &str, failpoint: &str, rounds: usize) {
    let options = ClusterOptions::default().env("TIDELOG_CLUSTER__LEASE_TTL", "10s");
    let mut site = Site::start(title, options);
    let store = STORES[0];
    site.begin();
    for _ in 0..rounds {
        site.cluster.kill(store);
        site.cluster.set_env(store, "FAILPOINTS", failpoint);
        site.cluster.restart(store);
        let fault = site.recorder.fault(failpoint);
        let status = site.cluster.process_mut(store).ended(SOON);
        let said = site.cluster.process(store).log();
        assert!(!status.success() && said.contains("the journal failed"), "{status}:\n{said}");
        site.cluster.set_env(store, "FAILPOINTS", "");
        site.cluster.restart(store);
        fault.heal();
        site.progress("load after the journal failed");
        site.until_in_sync(&STORES);
        let _ = site.cluster.cli().run(&["cluster", "rebalance"]).ok();
    }
    site.judge();
}

#[test]
fn a_store_whose_sync_fails_ends_and_others_take_over() {
    survive_a_failing_journal("EIO from fdatasync", "journal::sync=250*off->return(eio)", 1);
}

#[test]
fn a_leader_that_pushed_what_it_never_wrote_gives_no_offset_to_another_batch() {
    survive_a_failing_journal("EIO from write", "journal::write=250*off->return(eio)", 2);
}

#[test]
fn a_full_disk_takes_a_follower_out_makes_a_leader_refuse_and_heals_by_itself() {
    let workspace = Workspace::new();
    let Some((disks, options)) = on_disks(&workspace, &STORES[..1], DISK_BYTES) else { return };
    let options = options.env("TIDELOG_JOURNAL__FILE_BYTES", "1MiB");
    let mut site = Site::start_in(workspace, "a full disk", options);
    let full = node(STORES[0]);
    let cli = site.cluster.cli();
    cli.create_topic("full", 3, &["min.insync.replicas=2"]);
    let of_topic = || cli.json(&["cluster", "partitions", "full", "-o", "json"]);
    let rows = || of_topic().as_array().cloned().unwrap_or_default();
    let led = until(SOON, "the store leads a partition", || {
        rows().into_iter().find(|row| row["leader"] == full).map(|row| row["partition"].to_string())
    });
    let input = short_lines().head(400_000);
    let produce = ["produce", "full", "--partition", &led, "--timeout", "5s"];
    let once = || cli.run_with(&produce, &input.bytes);
    assert_eq!(once().code, 0);
    site.begin();

    let fault = site.recorder.fault("disk full");
    let filler = disks[0].fill();
    // Files that were ready before take some more.
    let refused = until(SOON, "the full disk is noticed", || Some(once()).filter(|once| once.code != 0));
    let _ = refused.refused(&["full|space"]);
    let is_out = |row: &serde_json::Value| {
        row["leader"] == full
            || !row["isr"].as_array().is_some_and(|isr| isr.iter().any(|node| *node == full))
    };
    until(SOON, "where it follows, it is taken out", || site.partitions().iter().all(is_out).then_some(()));
    let process = site.cluster.process_mut(STORES[0]);
    assert!(process.is_running(), "a full disk does not end a store:\n{}", process.log());
    assert!(cli.consume("full", led.parse().unwrap()).starts_with(&input.bytes), "what is there is served");
    fs::remove_file(filler).expect("room again");
    until(SOON, "writes are accepted again", || (once().code == 0).then_some(()));
    fault.heal();
    site.until_in_sync(&STORES);
    until(SOON, "the other topic is in sync", || {
        rows().iter().all(|row| row["isr"].as_array().map(Vec::len) == Some(3)).then_some(())
    });
    site.judge();
    drop(disks);
}

/// The journal file of a store that holds this text, and where.
fn place(site: &Site, store: Member, text: &str) -> (PathBuf, u64) {
    let files = files_below(&site.data_dir(store)).into_iter();
    let mut files = files.filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    files
        .find_map(|path| find(&path, text.as_bytes()).map(|at| (path, at)))
        .unwrap_or_else(|| panic!("no journal file of {store} holds {text:?}"))
}

/// A topic whose batches can be found in a file.
fn rotten_topic(site: &Site) -> String {
    let cli = site.cluster.cli();
    cli.create_topic("rotten", 1, &["min.insync.replicas=2"]);
    let padding = "x".repeat(60);
    let lines: Vec<_> = (0..2_000).map(|number| format!("rotten-{number:06}-{padding}\n")).collect();
    let lines = lines.concat();
    cli.produce("rotten", 0, "none", lines.as_bytes());
    until_rotten_has(site, 3);
    lines
}

fn rotten_partition(site: &Site) -> serde_json::Value {
    let said = site.cluster.cli().run(&["cluster", "partitions", "rotten", "-o", "json"]);
    serde_json::from_slice::<serde_json::Value>(&said.stdout).map(|rows| rows[0].clone()).unwrap_or_default()
}

fn until_rotten_has(site: &Site, replicas: usize) {
    until(SOON, &format!("{replicas} replicas are in sync"), || {
        (rotten_partition(site)["isr"].as_array().map(Vec::len) == Some(replicas)).then_some(())
    });
}

/// Rots one byte of the topic in the journal of a store; the file's name.
fn rot(site: &Site, store: Member) -> String {
    let (file, at) = place(site, store, "rotten-000042-");
    flip_bit(&file, at + 20);
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

/// The store refuses to start; the operator does as it says, and the others fill it.
fn refused_emptied_and_filled(site: &mut Site, store: Member, words: &[&str]) {
    let refusal = site.cluster.process_mut(store).try_restart().expect_err("damage is refused");
    refusal.says(words);
    refusal.says(&["empty", "filled from"]);
    fs::remove_dir_all(site.data_dir(store)).expect("the operator empties the directory");
    site.cluster.restart(store);
    until_rotten_has(site, 3);
}

#[test]
fn a_journal_that_rotted_is_refused_at_the_start_and_an_empty_disk_fills_from_the_others() {
    let mut site = Site::start("bit rot, found at the start", ClusterOptions::default());
    let lines = rotten_topic(&site);
    site.begin();
    let store = STORES[0];
    site.cluster.kill(store);
    let file = rot(&site, store);
    let fault = site.recorder.fault("bit rot");
    refused_emptied_and_filled(&mut site, store, &["damaged at position", &file]);
    fault.heal();
    assert_eq!(site.cluster.cli().consume("rotten", 0), lines.as_bytes());
    site.judge();
}

#[test]
fn a_leader_whose_journal_rots_gives_way_and_readers_get_the_records_from_another_replica() {
    let options = ClusterOptions::default().env("TIDELOG_JOURNAL__TAIL_CACHE_BYTES", "0");
    let mut site = Site::start("bit rot, found by a reader", options);
    let lines = rotten_topic(&site);
    site.begin();
    let node = rotten_partition(&site)["leader"].as_u64().expect("a leader") as usize;
    let store = Member::Store(node - 1);
    let file = rot(&site, store);
    let fault = site.recorder.fault("bit rot");
    assert_eq!(site.cluster.cli().consume("rotten", 0), lines.as_bytes(), "another replica answers");
    until_rotten_has(&site, 2);
    assert_ne!(rotten_partition(&site)["leader"], node, "it gave way");
    assert!(site.cluster.process(store).log().contains("gives up its place"));
    site.cluster.kill(store);
    refused_emptied_and_filled(&mut site, store, &["was found while the store ran", &file]);
    fault.heal();
    site.judge();
}
