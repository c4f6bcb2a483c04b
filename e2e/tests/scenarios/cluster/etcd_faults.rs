//! Metadata that is missing, damaged or of yesterday: stores refuse, say why, and delete nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use tidelog_e2e::damage::files_below;
use tidelog_e2e::{Cluster, ClusterOptions, until};
use tidelog_meta::{Meta as _, Op, Txn};

use super::site::{SOON, STORES, Site};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

/// Ends every process; each store remembers how far etcd has come.
fn stop_all(site: &mut Site) {
    for member in site.cluster.members() {
        assert!(site.cluster.terminate(member).success(), "{}", site.cluster.process(member).log());
    }
}

/// What the stores and the bucket hold, by names and sizes.
fn holdings(site: &Site) -> Vec<(PathBuf, u64)> {
    let bucket = PathBuf::from(site.cluster.bucket_url().strip_prefix("file://").expect("a directory"));
    let journals = STORES.map(|store| site.data_dir(store).join("journal"));
    let files = journals.iter().chain([&bucket]).flat_map(|directory| files_below(directory));
    files.map(|path| (path.clone(), fs::metadata(path).expect("a file").len())).collect()
}

/// Every store refuses to start, in these words, and touches nothing.
#[track_caller]
fn assert_refused(site: &mut Site, words: &[&str]) {
    let before = holdings(site);
    for store in STORES {
        let refusal = site.cluster.process_mut(store).try_restart().expect_err("this etcd is refused");
        refusal.says(words);
    }
    assert_eq!(holdings(site), before, "something was deleted or written");
}

#[track_caller]
fn restart_all(site: &mut Site) {
    for member in site.cluster.members() {
        site.cluster.spawn(member);
    }
    site.cluster.until_ready();
}

/// Puts a directory in the place of etcd's own, which is returned.
fn swap(site: &mut Site, name: &str, with: Option<&Path>) -> PathBuf {
    site.cluster.etcd().kill_all();
    let data = site.cluster.etcd().data(0).to_owned();
    let aside = site.workspace.path().join(name);
    fs::rename(&data, &aside).expect("etcd's data moves");
    match with {
        Some(other) => fs::rename(other, &data).expect("etcd's other data"),
        None => fs::create_dir(&data).expect("an empty directory for etcd"),
    }
    site.cluster.etcd().restart();
    aside
}

#[test]
fn an_etcd_that_was_restored_from_an_older_copy_is_refused() {
    let mut site = Site::start("etcd restored from an older copy", ClusterOptions::default());
    site.begin();
    let fault = site.recorder.fault("etcd is copied");
    site.cluster.etcd().kill_all();
    let older = site.workspace.path().join("older-etcd");
    copy(site.cluster.etcd().data(0), &older);
    site.cluster.etcd().restart();
    fault.heal();
    site.cluster.cli().create_topic("after-the-copy", 1, &["min.insync.replicas=2"]);
    site.progress("load after the copy");
    site.cluster.cli().offload("site");
    let fault = site.recorder.fault("etcd is restored from the copy");
    stop_all(&mut site);
    let newest = swap(&mut site, "newest-etcd", Some(&older));
    assert_refused(&mut site, &["restored from an older copy", "nothing is touched"]);
    let _ = swap(&mut site, "older-again", Some(&newest));
    restart_all(&mut site);
    fault.heal();
    site.judge();
}

#[test]
fn an_emptied_etcd_is_refused_while_the_bucket_knows_the_cluster() {
    let mut site = Site::start("an emptied etcd", ClusterOptions::default());
    site.begin();
    site.cluster.cli().offload("site");
    let fault = site.recorder.fault("etcd is emptied");
    stop_all(&mut site);
    let full = swap(&mut site, "full-etcd", None);
    assert_refused(&mut site, &["the bucket belongs to cluster", "the metadata store is empty"]);
    let _ = swap(&mut site, "empty-etcd", Some(&full));
    restart_all(&mut site);
    fault.heal();
    site.judge();
}

#[test]
fn a_deleted_cluster_key_is_missed_and_not_made_anew() {
    let mut site = Site::start("the cluster's key is deleted", ClusterOptions::default());
    site.begin();
    let meta = site.runtime.block_on(site.cluster.meta());
    let change = |op: Op| {
        let outcome = site.runtime.block_on(meta.txn(Txn::new().op(op)));
        assert!(outcome.is_ok_and(|outcome| outcome.committed().is_some()), "the key is changed");
    };
    let stored =
        site.runtime.block_on(meta.get("cluster")).expect("etcd answers").expect("the cluster's key");
    let fault = site.recorder.fault("the cluster's key is deleted");
    change(Op::Delete { key: "cluster".to_owned() });
    let back = Op::Put { key: "cluster".to_owned(), value: stored.value, lease: None };
    let store = STORES[0];
    site.cluster.kill(store);
    let refusal = site.cluster.process_mut(store).try_restart().expect_err("there is no cluster");
    refusal.says(&["the bucket belongs to cluster", "the metadata store is empty"]);
    change(back);
    site.cluster.restart(store);
    fault.heal();
    site.judge();
}

#[test]
fn a_partitions_record_that_cannot_be_parsed_is_shown_and_its_records_are_kept() {
    let mut site = Site::start("a damaged partition record", ClusterOptions::default());
    site.begin();
    site.finish();
    let meta = site.runtime.block_on(site.cluster.meta());
    let listing = site.runtime.block_on(meta.list("partition/")).expect("etcd answers");
    let entry = listing.entries.into_iter().next().expect("a partition's record");
    let put = |value: Bytes| {
        let op = Op::Put { key: entry.key.to_string(), value, lease: None };
        let outcome = site.runtime.block_on(meta.txn(Txn::new().op(op)));
        assert!(outcome.is_ok_and(|outcome| outcome.committed().is_some()), "the record is changed");
    };
    put(Bytes::from_static(b"{\"not\": \"a partition\""));
    let cli = site.cluster.cli();
    until(SOON, "the status shows it", || {
        let said = cli.run(&["cluster", "status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
        (status["unreadable"] == 1).then_some(())
    });
    put(entry.value.clone());
    until(SOON, "nothing is unreadable", || {
        let said = cli.run(&["cluster", "status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
        (status["unreadable"] == 0).then_some(())
    });
    site.begin();
    site.judge();
}

#[test]
fn a_store_waits_for_an_etcd_that_cannot_be_reached_and_says_so() {
    let workspace = tidelog_e2e::Workspace::new();
    let one = ClusterOptions { stores: 1, frontends: 0, ..ClusterOptions::default() };
    let mut cluster = Cluster::prepare(&workspace, one);
    cluster.etcd().kill_all();
    cluster.spawn(STORES[0]);
    until(SOON, "it says what it waits for", || {
        let answer = cluster.process(STORES[0]).health("/readyz")?;
        (answer.status == 503 && answer.body.contains("the metadata store is unavailable")).then_some(())
    });
    cluster.etcd().restart();
    cluster.until_ready();
    assert!(cluster.terminate(STORES[0]).success());
}
