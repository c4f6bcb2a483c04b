//! Watches on an etcd that comes and goes.

use std::collections::BTreeMap;

use tidelog_meta::settle::settle;
use tidelog_meta::{Changes, Compare, Event, Meta, MetaError, Op, Revision, Txn, Watch, WatchError};

use crate::support::{commit, put, scene, soon, text};

async fn next(watch: &mut Watch) -> Changes {
    soon("a change", watch.next()).await.unwrap()
}

fn versions(changes: &Changes) -> Vec<u64> {
    let version = |event: &Event| match event {
        Event::Put(entry) => entry.version,
        Event::Delete { .. } => 0,
    };
    changes.events.iter().map(version).collect()
}

/// Commits, as the only one who writes, however long it takes.
async fn put_through(meta: &dyn Meta, attempt: &Txn) -> Option<Revision> {
    loop {
        match settle(meta, attempt).await {
            Ok(outcome) => return Some(outcome.committed().expect("nobody else writes")),
            Err(MetaError::Unavailable(_)) => {}
            Err(MetaError::OutcomeUnknown(_)) => {
                // Whatever it was: when the value is there, it was this one.
                let Ok(Some(entry)) = meta.get("k").await else { continue };
                let Op::Put { value, .. } = &attempt.ops[0] else { unreachable!() };
                if entry.value == *value {
                    return Some(entry.mod_revision);
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_misses_and_repeats_nothing_while_members_die() {
    const PUTS: u64 = 80;
    let mut scene = scene(3);
    let meta = scene.open_hasty("a").await;
    let mut watch = meta.watch("k", Revision(1)).await.unwrap();
    let following = tokio::spawn(async move {
        let mut seen = Vec::new();
        while seen.len() < usize::try_from(PUTS).unwrap() {
            seen.extend(versions(&next(&mut watch).await));
        }
        seen
    });
    let mut last = None;
    for number in 0..PUTS {
        if number % 40 == 20 {
            let leader = scene.server.leader().unwrap();
            scene.server.kill(leader);
        }
        if number % 40 == 35 {
            scene.server.restart();
        }
        let unchanged = match last {
            Some(revision) => Compare::ModRevision { key: "k".to_owned(), revision },
            None => Compare::Absent { key: "k".to_owned() },
        };
        let attempt = Txn::new().when(unchanged).op(put("k", &number.to_string()));
        last = soon("a put", put_through(&*meta, &attempt)).await;
    }
    assert_eq!(following.await.unwrap(), (1..=PUTS).collect::<Vec<_>>());
}

/// Follows a prefix until a key has a value, listing again where it has to.
async fn follow(meta: &dyn Meta, watch: &mut Watch, until: (&str, &str)) -> (BTreeMap<String, String>, u32) {
    let mut relisted = 0;
    let mut state = BTreeMap::new();
    while state.get(until.0).map(String::as_str) != Some(until.1) {
        match soon("a change", watch.next()).await {
            Ok(changes) => {
                for event in changes.events {
                    match event {
                        Event::Put(entry) => {
                            let value = String::from_utf8(entry.value.to_vec()).unwrap();
                            state.insert(entry.key.to_string(), value);
                        }
                        Event::Delete { key, .. } => drop(state.remove(&*key)),
                    }
                }
            }
            Err(WatchError::Compacted { .. }) => {
                relisted += 1;
                let listing = meta.list("w/").await.unwrap();
                let value = |e: &tidelog_meta::Entry| String::from_utf8(e.value.to_vec()).unwrap();
                state = listing.entries.iter().map(|e| (e.key.to_string(), value(e))).collect();
                *watch = meta.watch("w/", listing.revision.next()).await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
    (state, relisted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_cut_while_etcd_is_compacted_lists_again_and_converges() {
    let mut scene = scene(1);
    let (meta, writer) = (scene.open("a").await, scene.open("a").await);
    let start = commit(&*writer, put("w/gone", "1")).await;
    let mut watch = meta.watch("w/", start).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, start);
    // Cut, and what happened meanwhile is thrown away.
    scene.server.kill_all();
    scene.server.restart();
    soon("a read", text(&*writer, "w/gone")).await;
    let delete = Op::Delete { key: "w/gone".to_owned() };
    commit(&*writer, delete).await;
    let last = commit(&*writer, put("w/stays", "1")).await;
    let newest = i64::try_from(last.0).unwrap();
    scene.raw().await.compact(newest, None).await.unwrap();
    commit(&*writer, put("w/end", "end")).await;
    let (state, relisted) = follow(&*meta, &mut watch, ("w/end", "end")).await;
    let expected = [("w/end", "end"), ("w/stays", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!((state, relisted), (BTreeMap::from(expected), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_that_nobody_reads_blocks_no_call() {
    let scene = scene(1);
    let meta = scene.open("a").await;
    let mut watches = Vec::new();
    for _ in 0..8 {
        let mut watch = meta.watch("big/", Revision(1)).await.unwrap();
        // It is running from here on.
        let waited = tokio::time::timeout(std::time::Duration::from_millis(50), watch.next()).await;
        assert!(waited.is_err());
        watches.push(watch);
    }
    let value = "v".repeat(500_000);
    for _ in 0..12 {
        commit(&*meta, put("big/a", &value)).await;
    }
    assert_eq!(text(&*meta, "small").await, None);
    for watch in &mut watches {
        for version in 1..=12 {
            assert_eq!(versions(&next(watch).await), [version]);
        }
    }
}
