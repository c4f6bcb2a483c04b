use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join_all;
use tempfile::TempDir;
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, PartitionId, TopicId, TopicPartition};

use super::*;
use crate::conformance::Harness;
use crate::{Compare, Leader, ManualMonotonic, Op, Partition, SharedMeta, TypedMeta as _, WatchError, keys};

struct Local {
    meta: Arc<Embedded>,
    clock: Arc<ManualMonotonic>,
    _directory: TempDir,
}

impl Local {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualMonotonic::default());
        let meta = Embedded::open_with_clock(directory.path(), Creation::IfMissing, clock.clone()).unwrap();
        Self { meta: Arc::new(meta), clock, _directory: directory }
    }
}

#[async_trait]
impl Harness for Local {
    fn meta(&self) -> SharedMeta {
        self.meta.clone()
    }

    async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.meta.tick();
    }

    async fn compact(&self) {
        self.meta.compact();
    }
}

crate::conformance_tests!(Local::new());

fn open(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(directory, Creation::IfMissing)
}

fn reopen(directory: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(directory, Creation::Never)
}

fn put(key: &str, value: &str) -> Txn {
    put_leased(key, value, None)
}

fn put_leased(key: &str, value: &str, lease: Option<LeaseId>) -> Txn {
    Txn::new().op(Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), lease })
}

/// A copy of a store as a crash would leave it, or with a change of one's own.
fn copy(from: &Path, change: impl FnOnce(&mut Vec<u8>)) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    let mut bytes = fs::read(from.join("meta.redb")).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_revisions_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let meta = open(directory.path()).unwrap();
    let lease = meta.grant(Duration::from_secs(30)).await.unwrap();
    let _ = meta.txn(put("a", "1")).await.unwrap();
    let _ = meta.txn(put_leased("b", "2", Some(lease.id))).await.unwrap();
    let before = meta.list("").await.unwrap();
    drop(meta);

    let meta = reopen(directory.path()).unwrap();
    assert_eq!(meta.list("").await.unwrap(), before);
    let mut watch = meta.watch("", before.revision).await.unwrap();
    assert_eq!(watch.next().await, Err(WatchError::Compacted { oldest: before.revision.next() }));
    let revision = meta.txn(put("a", "2")).await.unwrap().committed().unwrap();
    assert_eq!(revision, before.revision.next());
    let kept = meta.keep_alive(lease.id).await.unwrap();
    assert_eq!((kept.id, kept.ttl), (lease.id, lease.ttl));
    assert!(meta.grant(Duration::from_secs(30)).await.unwrap().id > lease.id);
    meta.revoke(lease.id).await.unwrap();
    assert_eq!(meta.get("b").await, Ok(None));
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let meta = open(directory.path()).unwrap();
    for i in 0..20 {
        let _ = meta.txn(put(&format!("k/{}", i % 3), &i.to_string())).await.unwrap();
        if i == 10 {
            let _ = meta.txn(Txn::new().op(Op::Delete { key: "k/0".into() })).await.unwrap();
        }
        // The writer is idle between answers, so a copy is what a kill would leave.
        let (crashed, _) = copy(directory.path(), |_| ());
        let recovered = reopen(crashed.path()).unwrap();
        assert_eq!(recovered.list("").await.unwrap(), meta.list("").await.unwrap());
    }
}

#[tokio::test]
async fn a_lease_of_an_earlier_process_runs_out_in_full() {
    let directory = tempfile::tempdir().unwrap();
    let ttl = Duration::from_secs(30);
    let meta = open(directory.path()).unwrap();
    let lease = meta.grant(ttl).await.unwrap().id;
    let _ = meta.txn(put_leased("a", "1", Some(lease))).await.unwrap();
    drop(meta);

    let clock = Arc::new(ManualMonotonic::default());
    let meta = Embedded::open_with_clock(directory.path(), Creation::Never, clock.clone()).unwrap();
    clock.advance(ttl / 2);
    // Whatever the writer does next, it looks at the clock first.
    let _ = meta.txn(put("b", "1")).await.unwrap();
    assert!(meta.get("a").await.unwrap().is_some());
    clock.advance(ttl);
    let _ = meta.txn(put("b", "2")).await.unwrap();
    assert_eq!(meta.get("a").await, Ok(None));
}

#[tokio::test]
async fn a_store_in_use_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _meta = open(directory.path()).unwrap();
    assert!(matches!(reopen(directory.path()), Err(OpenError::InUse { .. })));
}

#[test]
fn a_missing_store_is_refused_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(reopen(directory.path()), Err(OpenError::Missing { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("meta.redb.new"), b"half of it").unwrap();
    drop(open(directory.path()).unwrap());
    assert!(reopen(directory.path()).is_ok());
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let database = redb::Database::open(directory.path().join("meta.redb")).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<&str, u64>::new("info")).unwrap().insert("format", 7).unwrap();
    write.commit().unwrap();
    drop(database);
    let error = reopen(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 7, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_harmless_but_never_served() {
    let directory = tempfile::tempdir().unwrap();
    let meta = open(directory.path()).unwrap();
    for i in 0..200 {
        let _ =
            meta.txn(put(&format!("key/{i:03}"), &format!("value {i} {}", "v".repeat(100)))).await.unwrap();
    }
    let whole = meta.list("").await.unwrap();
    let crashed = copy(directory.path(), |_| ());
    drop(meta);

    let mut refused = 0;
    for store in [directory.path(), crashed.0.path()] {
        let length = fs::metadata(store.join("meta.redb")).unwrap().len() as usize;
        // The header densely, the rest at a stride that is coprime with the page size.
        for position in (0..320).step_by(7).chain((320..length).step_by(4093)) {
            let (broken, _) = copy(store, |bytes| bytes[position] ^= 0x55);
            match reopen(broken.path()) {
                Ok(meta) => assert_eq!(meta.list("").await.unwrap(), whole, "byte {position}"),
                Err(OpenError::Corrupt { .. } | OpenError::NewerFormat { .. }) => {
                    refused += 1;
                    // Having been refused once, it is not taken for good the next time.
                    if let Ok(meta) = reopen(broken.path()) {
                        assert_eq!(meta.list("").await.unwrap(), whole, "byte {position}, second attempt");
                    }
                }
                Err(error) => panic!("byte {position}: {error}"),
            }
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meta.redb");
    for bytes in [&b""[..], b"hello", &[0; 8192]] {
        fs::write(&path, bytes).unwrap();
        let error = reopen(directory.path()).unwrap_err();
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_epochs_are_raised_in_chunks() {
    const PARTITIONS: u32 = 5000;
    let directory = tempfile::tempdir().unwrap();
    let topic = TopicId::from_bytes([1; 16]);
    let key = |n| keys::partition(TopicPartition::new(topic, PartitionId(n)));
    let meta = open(directory.path()).unwrap();
    let mut txns = vec![Txn::new()];
    for n in 0..PARTITIONS {
        if !txns.last().unwrap().has_room() {
            txns.push(Txn::new());
        }
        let txn = txns.pop().unwrap();
        txns.push(txn.when_absent(&key(n)).put(&key(n), &Partition::default()));
    }
    try_join_all(txns.into_iter().map(|txn| meta.txn(txn))).await.unwrap();
    drop(meta);

    let meta = reopen(directory.path()).unwrap();
    let leader = Leader { node: NodeId(1), directory: DirectoryId::from_bytes([2; 16]), boot: 2 };
    let partitions = meta.read_all(&keys::partitions()).await.unwrap();
    let raises = partitions.items.chunks(crate::limits::TXN_OPS_MAX).map(|chunk| {
        let mut txn = Txn::new();
        for stored in chunk {
            let tp = keys::parse_partition(&stored.key).unwrap();
            let key = keys::partition(tp);
            txn = txn.when_unchanged(&key, stored.mod_revision).put(&key, &stored.value.led_by(leader));
        }
        meta.txn(txn)
    });
    for outcome in try_join_all(raises).await.unwrap() {
        assert!(outcome.committed().is_some());
    }
    let raised = meta.read_all(&keys::partitions_of(topic)).await.unwrap();
    assert_eq!(raised.items.len(), PARTITIONS as usize);
    assert!(raised.items.iter().all(|stored| stored.value.epoch == LeaderEpoch(1)));
}

#[tokio::test]
async fn a_closed_store_says_so_and_ends_its_watches() {
    let directory = tempfile::tempdir().unwrap();
    let meta = open(directory.path()).unwrap();
    let mut watch = meta.watch("", meta.list("").await.unwrap().revision.next()).await.unwrap();
    meta.close();
    assert_eq!(watch.next().await, Err(WatchError::Closed));
    assert_eq!(meta.get("a").await, Err(MetaError::Closed));
    let txn = Txn::new().when(Compare::Absent { key: "a".into() });
    assert_eq!(meta.txn(txn).await, Err(MetaError::Closed));
}
