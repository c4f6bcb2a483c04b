//! Claims on watches.

use std::collections::BTreeMap;

use super::{Harness, commit, delete, put, soon, text};
use crate::{Changes, Event, Watch, WatchError};

async fn next(watch: &mut Watch) -> Changes {
    soon("a change", watch.next()).await.unwrap()
}

fn show(changes: &Changes) -> Vec<String> {
    let show = |event: &Event| match event {
        Event::Put(entry) => {
            assert_eq!(entry.mod_revision, changes.revision);
            format!("{}={}", entry.key, text(entry))
        }
        Event::Delete { key, revision } => {
            assert_eq!(*revision, changes.revision);
            format!("{key} deleted")
        }
    };
    changes.events.iter().map(show).collect()
}

pub async fn a_watch_delivers_each_transaction_once_and_in_order(harness: &dyn Harness) {
    let meta = harness.meta();
    let start = meta.list("watch/").await.unwrap().revision;
    let mut watch = meta.watch("watch/", start.next()).await.unwrap();
    let first = commit(&*meta, [put("watch/a", "1"), put("watch/b", "1"), put("watch-not", "1")]).await;
    commit(&*meta, [put("elsewhere", "1")]).await;
    let second = commit(&*meta, [delete("watch/a"), delete("watch/none")]).await;
    let third = commit(&*meta, [put("watch/b", "2")]).await;

    let changes = next(&mut watch).await;
    assert_eq!((changes.revision, show(&changes)), (first, vec!["watch/a=1".into(), "watch/b=1".into()]));
    let changes = next(&mut watch).await;
    assert_eq!((changes.revision, show(&changes)), (second, vec!["watch/a deleted".into()]));
    let changes = next(&mut watch).await;
    assert_eq!((changes.revision, show(&changes)), (third, vec!["watch/b=2".into()]));
}

pub async fn a_watch_from_the_past_begins_there(harness: &dyn Harness) {
    let meta = harness.meta();
    commit(&*meta, [put("past/a", "1")]).await;
    let second = commit(&*meta, [put("past/a", "2")]).await;
    let third = commit(&*meta, [put("past/a", "3")]).await;
    let mut watch = meta.watch("past/", second).await.unwrap();
    assert_eq!(next(&mut watch).await.revision, second);
    assert_eq!(next(&mut watch).await.revision, third);
}

pub async fn a_watch_waits_for_what_has_not_happened_yet(harness: &dyn Harness) {
    let meta = harness.meta();
    let revision = meta.list("wait/").await.unwrap().revision;
    let mut watch = meta.watch("wait/", revision.next()).await.unwrap();
    // Waiting in vain, and giving up, loses nothing.
    for _ in 0..3 {
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), watch.next()).await;
        assert!(waited.is_err());
    }
    let (changes, revision) = futures::join!(next(&mut watch), commit(&*meta, [put("wait/a", "1")]));
    assert_eq!(changes.revision, revision);
}

pub async fn a_watch_delivers_large_transactions_whole(harness: &dyn Harness) {
    const TXNS: u8 = 3;
    const PARTS: usize = 100;
    let meta = harness.meta();
    let start = meta.list("whole/").await.unwrap().revision;
    // About a mebibyte each, and several at once in what the store sends.
    let value = "v".repeat(10_000);
    let mut revisions = Vec::new();
    for _ in 0..TXNS {
        let keys = (0..PARTS).map(|i| put(&format!("whole/{i:03}"), &value));
        revisions.push(commit(&*meta, keys).await);
    }
    let mut watch = meta.watch("whole/", start.next()).await.unwrap();
    for revision in revisions {
        let changes = next(&mut watch).await;
        assert_eq!((changes.revision, changes.events.len()), (revision, PARTS));
    }
}

pub async fn a_watch_behind_a_compaction_is_told_to_list_again(harness: &dyn Harness) {
    let meta = harness.meta();
    let first = commit(&*meta, [put("compact/a", "1")]).await;
    commit(&*meta, [put("compact/a", "2")]).await;
    harness.compact().await;
    let outcome = match meta.watch("compact/", first).await {
        Ok(mut watch) => soon("the verdict", watch.next()).await,
        Err(error) => panic!("{error}"),
    };
    let Err(WatchError::Compacted { oldest }) = outcome else { panic!("{outcome:?}") };
    assert!(oldest > first);
    let listing = meta.list("compact/").await.unwrap();
    let mut watch = meta.watch("compact/", listing.revision.next()).await.unwrap();
    let revision = commit(&*meta, [put("compact/a", "3")]).await;
    assert_eq!(next(&mut watch).await.revision, revision);
}

pub async fn a_watch_that_is_not_behind_survives_a_compaction(harness: &dyn Harness) {
    let meta = harness.meta();
    let start = commit(&*meta, [put("survive/a", "1")]).await;
    let mut watch = meta.watch("survive/", start.next()).await.unwrap();
    let second = commit(&*meta, [put("survive/a", "2")]).await;
    assert_eq!(next(&mut watch).await.revision, second);
    harness.compact().await;
    let third = commit(&*meta, [put("survive/a", "3")]).await;
    assert_eq!(next(&mut watch).await.revision, third);
}

pub async fn listing_and_watching_on_converges_under_load(harness: &dyn Harness) {
    const STEPS: u32 = 60;
    let meta = harness.meta();
    let write = async {
        for step in 0..STEPS {
            let key = format!("converge/{}", step % 7);
            let op = if step % 5 == 4 { delete(&key) } else { put(&key, &step.to_string()) };
            commit(&*meta, [op]).await;
        }
        commit(&*meta, [put("converge/end", "end")]).await
    };
    let follow = async {
        let listing = meta.list("converge/").await.unwrap();
        let mut seen: BTreeMap<String, String> =
            listing.entries.iter().map(|entry| (entry.key.to_string(), text(entry))).collect();
        let mut watch = meta.watch("converge/", listing.revision.next()).await.unwrap();
        while !seen.contains_key("converge/end") {
            for event in next(&mut watch).await.events {
                match event {
                    Event::Put(entry) => drop(seen.insert(entry.key.to_string(), text(&entry))),
                    Event::Delete { key, .. } => drop(seen.remove(&*key)),
                }
            }
        }
        seen
    };
    let (_, seen) = futures::join!(write, follow);
    let listing = meta.list("converge/").await.unwrap();
    let there: BTreeMap<String, String> =
        listing.entries.iter().map(|entry| (entry.key.to_string(), text(entry))).collect();
    assert_eq!(seen, there);
}
