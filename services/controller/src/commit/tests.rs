use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tidelog_meta::{Creation, Embedded, LeaseId, Partition, SharedMeta, TypedMeta as _};
use tidelog_model::{LeaderEpoch, PartitionId, TopicId};

use super::*;
use crate::plan::Reason;

const WAIT: Duration = Duration::from_secs(10);

fn open() -> (SharedMeta, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(directory.path(), Creation::IfMissing).unwrap();
    (Arc::new(embedded), directory)
}

async fn elected(meta: &SharedMeta) -> (Leadership, LeaseId) {
    let lease = meta.grant(Duration::from_mins(10)).await.unwrap().id;
    (election::campaign(&**meta, ELECTION, lease, Bytes::new()).await.unwrap(), lease)
}

fn id(number: u32) -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(number))
}

fn changes(numbers: std::ops::Range<u32>, planned_from: Revision) -> Vec<Change> {
    let record = Partition { epoch: LeaderEpoch(5), ..Partition::default() };
    let change = |number| Change {
        partition: id(number),
        planned_from,
        record: record.clone(),
        reason: Reason::Failover,
    };
    numbers.map(change).collect()
}

async fn epochs(meta: &SharedMeta) -> Vec<u32> {
    let all = meta.read_all(&keys::partitions()).await.unwrap().items;
    all.iter().map(|item| item.value.epoch.0).collect()
}

#[tokio::test]
async fn of_two_controllers_only_the_newer_commits() {
    let (meta, _directory) = open();
    let (old, lease) = elected(&meta).await;
    meta.revoke(lease).await.unwrap();
    let (new, _) = elected(&meta).await;

    let committed = commit(&*meta, &old, changes(0..300, Revision::NONE), WAIT).await;
    assert!(committed.deposed && committed.done.is_empty());
    assert_eq!(epochs(&meta).await, Vec::<u32>::new());
    let committed = commit(&*meta, &new, changes(0..300, Revision::NONE), WAIT).await;
    assert_eq!((committed.done.len(), committed.deposed), (300, false));

    // The old one is no more welcome where the new one has been.
    let planned_from = committed.done[0].1;
    let committed = commit(&*meta, &old, changes(0..1, planned_from), WAIT).await;
    assert!(committed.deposed && committed.done.is_empty());
}

#[tokio::test]
async fn a_conflict_stops_nothing_but_the_records_that_it_is_about() {
    let (meta, _directory) = open();
    let (leadership, _) = elected(&meta).await;
    for number in [3, 200] {
        let record = Partition { epoch: LeaderEpoch(1), ..Partition::default() };
        let _ = meta.txn(Txn::new().put(&keys::partition(id(number)), &record)).await.unwrap();
    }
    let committed = commit(&*meta, &leadership, changes(0..400, Revision::NONE), WAIT).await;
    assert_eq!(committed.done.len(), 398);
    let mut conflicts = committed.conflicts;
    conflicts.sort_unstable();
    assert_eq!(conflicts, [id(3), id(200)]);
    assert!(!committed.deposed && committed.error.is_none());
    assert_eq!(epochs(&meta).await.iter().filter(|epoch| **epoch == 5).count(), 398);
}

#[test]
fn chunks_fit_into_transactions() {
    let sizes: Vec<_> = chunks(changes(0..300, Revision::NONE)).iter().map(Vec::len).collect();
    assert_eq!(sizes, [127, 127, 46]);
    let mut large = changes(0..20, Revision::NONE);
    for change in &mut large {
        change.record.replicas = (1_000_000_000..1_000_010_000).map(tidelog_model::NodeId).collect();
    }
    let chunks = chunks(large);
    let bytes = |chunk: &Vec<Change>| chunk.iter().map(|change| change.record.encode().len()).sum::<usize>();
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| bytes(chunk) < TXN_BYTES_MAX));
}
