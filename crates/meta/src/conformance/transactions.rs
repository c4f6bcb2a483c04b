//! Claims on reads and transactions.

use bytes::Bytes;
use futures::future::join_all;

use super::{Harness, assert_conflict, commit, delete, put, text, txn, value};
use crate::limits::{KEY_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
use crate::{Compare, MetaError, Op, Revision, Txn, TxnOutcome};

pub async fn a_put_value_is_read_back_with_its_history(harness: &dyn Harness) {
    let meta = harness.meta();
    assert_eq!(meta.get("read/a").await.unwrap(), None);
    let first = commit(&*meta, [put("read/a", "1")]).await;
    let second = commit(&*meta, [put("read/a", "2")]).await;
    assert!(second > first);
    let entry = meta.get("read/a").await.unwrap().unwrap();
    assert_eq!((&*entry.key, &*text(&entry)), ("read/a", "2"));
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (first, second, 2));
    assert_eq!(entry.lease, None);
    commit(&*meta, [put("read/empty", "")]).await;
    assert_eq!(value(&*meta, "read/empty").await.as_deref(), Some(""));
}

pub async fn a_key_that_is_deleted_and_put_again_begins_anew(harness: &dyn Harness) {
    let meta = harness.meta();
    let first = commit(&*meta, [put("anew/a", "1")]).await;
    commit(&*meta, [delete("anew/a")]).await;
    assert_eq!(meta.get("anew/a").await.unwrap(), None);
    commit(&*meta, [put("anew/a", "2")]).await;
    let entry = meta.get("anew/a").await.unwrap().unwrap();
    assert!(entry.create_revision > first);
    assert_eq!((entry.create_revision, entry.version), (entry.mod_revision, 1));
}

pub async fn every_comparison_holds_only_when_it_is_true(harness: &dyn Harness) {
    let meta = harness.meta();
    let key = || "compare/there".to_owned();
    let none = || "compare/not-there".to_owned();
    let created = commit(&*meta, [put(&key(), "1")]).await;
    let revision = commit(&*meta, [put(&key(), "2")]).await;
    let (two, one) = (Bytes::from_static(b"2"), Bytes::from_static(b"1"));
    let all = Txn::new()
        .when(Compare::Absent { key: none() })
        .when(Compare::Exists { key: key() })
        .when(Compare::CreateRevision { key: key(), revision: created })
        .when(Compare::ModRevision { key: key(), revision })
        .when(Compare::ValueIs { key: key(), value: two.clone() });
    assert!(matches!(meta.txn(all).await.unwrap(), TxnOutcome::Committed(_)));
    for compare in [
        Compare::Absent { key: key() },
        Compare::Exists { key: none() },
        Compare::CreateRevision { key: key(), revision },
        Compare::CreateRevision { key: none(), revision: created },
        Compare::CreateRevision { key: none(), revision: Revision::NONE },
        Compare::ModRevision { key: none(), revision: Revision::NONE },
        Compare::ModRevision { key: key(), revision: Revision::NONE },
        Compare::ModRevision { key: key(), revision: created },
        Compare::ModRevision { key: none(), revision },
        Compare::ValueIs { key: key(), value: one },
        Compare::ValueIs { key: none(), value: two },
    ] {
        assert_conflict(&*meta, compare).await;
    }
    assert_eq!(meta.get("conflict/loser").await.unwrap(), None);
}

pub async fn a_conflict_changes_nothing(harness: &dyn Harness) {
    let meta = harness.meta();
    commit(&*meta, [put("conflict/a", "1"), put("conflict/b", "1")]).await;
    let attempt = txn([put("conflict/a", "2"), delete("conflict/b"), put("conflict/c", "2")])
        .when(Compare::Exists { key: "conflict/a".to_owned() })
        .when(Compare::Absent { key: "conflict/b".to_owned() });
    assert!(matches!(meta.txn(attempt).await.unwrap(), TxnOutcome::Conflict(_)));
    assert_eq!(value(&*meta, "conflict/a").await.as_deref(), Some("1"));
    assert_eq!(value(&*meta, "conflict/b").await.as_deref(), Some("1"));
    assert_eq!(value(&*meta, "conflict/c").await, None);
}

pub async fn a_transaction_is_one_revision(harness: &dyn Harness) {
    let meta = harness.meta();
    commit(&*meta, [put("one/gone", "1")]).await;
    let before = meta.list("one/").await.unwrap().revision;
    let revision = commit(&*meta, [put("one/a", "1"), put("one/b", "1"), delete("one/gone")]).await;
    assert!(revision > before);
    let listing = meta.list("one/").await.unwrap();
    assert_eq!(listing.entries.len(), 2);
    assert!(listing.entries.iter().all(|entry| entry.mod_revision == revision));
}

pub async fn a_transaction_that_changes_nothing_leaves_the_revision(harness: &dyn Harness) {
    let meta = harness.meta();
    for nothing in [vec![], vec![delete("nothing/b")]] {
        // Others may change something at the same time; but not always.
        let mut attempts = 0..100;
        let unchanged = loop {
            let revision = commit(&*meta, [put("nothing/a", "1")]).await;
            if commit(&*meta, nothing.clone()).await == revision {
                break true;
            }
            if attempts.next().is_none() {
                break false;
            }
        };
        assert!(unchanged, "{nothing:?}");
    }
    let revision = commit(&*meta, [put("nothing/a", "1")]).await;
    // The same value again is a change all the same.
    assert!(commit(&*meta, [put("nothing/a", "1")]).await > revision);
}

pub async fn a_listing_is_ordered_and_holds_its_prefix_only(harness: &dyn Harness) {
    let meta = harness.meta();
    let revision = commit(
        &*meta,
        ["list/b", "list/a/2", "list/a/1", "list-not", "lis", "list0"].map(|key| put(key, key)),
    )
    .await;
    let listing = meta.list("list/").await.unwrap();
    let keys: Vec<&str> = listing.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["list/a/1", "list/a/2", "list/b"]);
    assert!(listing.revision >= revision);
    assert!(meta.list("list/c").await.unwrap().entries.is_empty());
}

pub async fn a_listing_of_many_entries_is_of_one_revision(harness: &dyn Harness) {
    const KEYS: usize = 3000;
    let meta = harness.meta();
    let keys: Vec<_> = (0..KEYS).map(|i| format!("many/{i:04}")).collect();
    for chunk in keys.chunks(TXN_OPS_MAX) {
        commit(&*meta, chunk.iter().map(|key| put(key, "before"))).await;
    }
    // The last key changes while the listing goes on; first and last key tell of the same moment.
    let listing = async {
        for _ in 0..5 {
            let listing = meta.list("many/").await.unwrap();
            assert_eq!(listing.entries.len(), KEYS);
            assert!(listing.entries.is_sorted_by(|a, b| a.key < b.key));
            assert!(listing.entries.iter().all(|entry| entry.mod_revision <= listing.revision));
            assert_eq!(listing.entries[0].value, listing.entries[KEYS - 1].value);
        }
    };
    let writing = async {
        for round in 0..20 {
            let value = round.to_string();
            commit(&*meta, [put(&keys[0], &value), put(&keys[KEYS - 1], &value)]).await;
        }
    };
    futures::join!(listing, writing);
    let large = Op::Put { key: "large/".into(), value: vec![7; VALUE_BYTES_MAX].into(), lease: None };
    for i in 0..12 {
        let Op::Put { value, lease, .. } = large.clone() else { unreachable!() };
        commit(&*meta, [Op::Put { key: format!("large/{i}"), value, lease }]).await;
    }
    let listing = meta.list("large/").await.unwrap();
    assert!(listing.entries.len() == 12 && listing.entries.iter().all(|e| e.value.len() == VALUE_BYTES_MAX));
}

pub async fn what_was_seen_and_asked_is_counted(harness: &dyn Harness) {
    let meta = harness.meta();
    let before = meta.counts();
    let revision = commit(&*meta, [put("counted/a", "1")]).await;
    assert!(meta.seen().revision >= revision);
    assert_conflict(&*meta, Compare::Absent { key: "counted/a".into() }).await;
    meta.get("counted/a").await.unwrap();
    meta.list("counted/").await.unwrap();
    let lease = meta.grant(harness.ttl()).await.unwrap();
    meta.keep_alive(lease.id).await.unwrap();
    meta.revoke(lease.id).await.unwrap();
    let mut watch = meta.watch("counted/", revision).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, revision);
    let (after, seen) = (meta.counts(), meta.seen());
    // Others may use the same store at the same time.
    assert!(after.writes >= before.writes + 3 && after.conflicts > before.conflicts);
    assert!(after.reads >= before.reads + 2 && after.keep_alives > before.keep_alives);
    assert!(after.changes > before.changes);
    assert!(seen.revision >= revision && seen.store == meta.seen().store);
}

pub async fn what_breaks_a_limit_is_refused_and_changes_nothing(harness: &dyn Harness) {
    let meta = harness.meta();
    let many = || (0..=TXN_OPS_MAX).map(|i| format!("limit/{i}"));
    let large =
        Op::Put { key: "limit/large".into(), value: vec![0; VALUE_BYTES_MAX + 1].into(), lease: None };
    let half = |key: &str| Op::Put { key: key.into(), value: vec![0; VALUE_BYTES_MAX].into(), lease: None };
    for refused in [
        txn(many().map(|key| put(&key, "x"))),
        Txn { compares: many().map(|key| Compare::Absent { key }).collect(), ops: vec![put("limit/a", "x")] },
        txn([put("limit/a", "1"), put("limit/b", "1"), put("limit/a", "2")]),
        txn([put("limit/a", "1"), delete("limit/a")]),
        txn([put("", "1")]),
        txn([put(&"k".repeat(KEY_BYTES_MAX + 1), "1")]),
        txn([large]),
        txn([half("limit/a"), half("limit/b")]),
    ] {
        assert!(matches!(meta.txn(refused).await, Err(MetaError::Invalid(_))));
    }
    assert!(meta.list("limit/").await.unwrap().entries.is_empty());
}

pub async fn the_largest_transaction_allowed_succeeds(harness: &dyn Harness) {
    let meta = harness.meta();
    let keys: Vec<_> = (0..TXN_OPS_MAX).map(|i| format!("largest/{i:03}")).collect();
    let largest = Txn {
        compares: keys.iter().map(|key| Compare::Absent { key: key.clone() }).collect(),
        ops: keys.iter().map(|key| put(key, &"v".repeat(4096))).collect(),
    };
    assert!(matches!(meta.txn(largest).await.unwrap(), TxnOutcome::Committed(_)));
    let value = Bytes::from(vec![b'v'; VALUE_BYTES_MAX]);
    commit(&*meta, [Op::Put { key: "largest-value".into(), value: value.clone(), lease: None }]).await;
    assert_eq!(meta.get("largest-value").await.unwrap().unwrap().value, value);
    assert_eq!(meta.list("largest/").await.unwrap().entries.len(), TXN_OPS_MAX);
    commit(&*meta, keys.iter().map(|key| delete(key))).await;
    commit(&*meta, [delete("largest-value")]).await;
}

pub async fn concurrent_increments_lose_nothing(harness: &dyn Harness) {
    const WRITERS: u32 = 8;
    const INCREMENTS: u32 = 10;
    let meta = harness.meta();
    let increment = || async {
        loop {
            let entry = meta.get("count").await.unwrap();
            let count = entry.as_ref().map_or(0, |entry| text(entry).parse::<u32>().unwrap());
            let unchanged = match &entry {
                Some(entry) => Compare::ModRevision { key: "count".into(), revision: entry.mod_revision },
                None => Compare::Absent { key: "count".into() },
            };
            let attempt = Txn::new().when(unchanged).op(put("count", &(count + 1).to_string()));
            if meta.txn(attempt).await.unwrap().committed().is_some() {
                return;
            }
        }
    };
    let writer = || async {
        for _ in 0..INCREMENTS {
            increment().await;
        }
    };
    join_all((0..WRITERS).map(|_| writer())).await;
    assert_eq!(value(&*meta, "count").await, Some((WRITERS * INCREMENTS).to_string()));
    assert_ne!(meta.get("count").await.unwrap().unwrap().mod_revision, Revision::NONE);
}
