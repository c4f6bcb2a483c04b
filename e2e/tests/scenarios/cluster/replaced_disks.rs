//! Stores that come back on another disk than they had: an empty one is filled, an older one refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use tidelog_e2e::{ClusterOptions, Member, until};

use super::site::{SOON, STORES, Site, node};

/// Moves a store's data out of the way.
fn set_aside(site: &Site, store: Member, name: &str) -> std::path::PathBuf {
    let aside = site.workspace.path().join(format!("{store}-{name}"));
    fs::rename(site.data_dir(store), &aside).expect("the data directory moves");
    aside
}

fn put_back(site: &Site, store: Member, aside: &Path) {
    let data_dir = site.data_dir(store);
    let _ = fs::remove_dir_all(&data_dir);
    fs::rename(aside, data_dir).expect("the data directory comes back");
}

fn directory_of(site: &Site, store: Member) -> String {
    until(SOON, "the controller answers", || {
        let said = site.cluster.cli().run(&["cluster", "nodes", "-o", "json"]);
        let nodes: Vec<serde_json::Value> = serde_json::from_slice(&said.stdout).ok()?;
        nodes.iter().find(|one| one["node"] == node(store)).map(|own| own["directory"].to_string())
    })
}

#[test]
fn a_store_with_an_empty_disk_is_another_replica_and_fills_its_former_disk_is_refused() {
    let mut site = Site::start("a wiped disk", ClusterOptions::default());
    let store = STORES[0];
    site.begin();
    let before = directory_of(&site, store);
    let fault = site.recorder.fault("wiped");
    site.cluster.kill(store);
    let former = set_aside(&site, store, "former");
    site.cluster.restart(store);
    fault.heal();
    site.until_in_sync(&STORES);
    assert_ne!(directory_of(&site, store), before, "another disk is another replica");

    // The former disk holds records, and not those that came since.
    let fault = site.recorder.fault("the former disk");
    site.cluster.kill(store);
    let current = set_aside(&site, store, "current");
    put_back(&site, store, &former);
    let refusal = site.cluster.process_mut(store).try_restart().expect_err("the former disk is refused");
    refusal.says(&["last ran on data directory", "not empty", "an empty one"]);
    put_back(&site, store, &current);
    site.cluster.restart(store);
    fault.heal();
    site.judge();
}

#[test]
fn an_older_copy_of_a_stores_disk_is_refused() {
    let mut site = Site::start("an older copy", ClusterOptions::default());
    let store = STORES[0];
    site.begin();
    let fault = site.recorder.fault("stopped");
    assert!(site.cluster.terminate(store).success());
    let copy = site.workspace.path().join("copy");
    let data_dir = site.data_dir(store);
    let copied = Command::new("cp").arg("-a").arg(&data_dir).arg(&copy).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy of the data directory");
    site.cluster.restart(store);
    fault.heal();
    site.progress("load after the copy");
    let fault = site.recorder.fault("the copy is put in the disk's place");
    site.cluster.kill(store);
    let newest = set_aside(&site, store, "newest");
    put_back(&site, store, &copy);
    let refusal = site.cluster.process_mut(store).try_restart().expect_err("an older copy is refused");
    refusal.says(&["older copy", "records would be missing"]);
    put_back(&site, store, &newest);
    site.cluster.restart(store);
    fault.heal();
    site.judge();
}

#[test]
fn when_every_disk_is_missing_the_last_that_has_everything_is_not_given_up() {
    let mut site = Site::start("missing mounts", ClusterOptions::default());
    site.begin();
    let fault = site.recorder.fault("all disks are missing");
    let mut aside = Vec::new();
    for store in STORES {
        site.cluster.kill(store);
        aside.push(set_aside(&site, store, "mounted"));
    }
    // Others have what these two had.
    site.cluster.restart(STORES[0]);
    site.cluster.restart(STORES[1]);
    let refusal = site.cluster.process_mut(STORES[2]).try_restart().expect_err("the last one is refused");
    refusal.says(&["is the last that has every acknowledged record", "mounted"]);
    put_back(&site, STORES[2], &aside[2]);
    site.cluster.restart(STORES[2]);
    fault.heal();
    site.until_in_sync(&STORES);
    site.judge();
}

#[test]
fn a_second_store_under_one_id_is_refused_while_the_first_runs() {
    let mut site = Site::start("two stores with one id", ClusterOptions::default());
    site.begin();
    let second = site.cluster.prepare_store();
    site.cluster.set_env(second, "TIDELOG_NODE__ID", "1");
    site.cluster.spawn(second);
    let refusal = site.cluster.process_mut(second).until_ready().expect_err("there is a store with this id");
    refusal.says(&["node 1 runs already", "node.id of its own"]);
    site.progress("load beside it");
    until(SOON, "the first goes on", || site.cluster.process_mut(STORES[0]).is_running().then_some(()));
    site.judge();
}
