use tidelog_model::{Incarnation, LeaderEpoch};

use super::fixture::{EPOCH, Partition, timestamp};
use super::*;
use crate::bucket::faults::{Call, Fault};

#[tokio::test]
async fn every_offset_and_timestamp_is_found_by_a_stranger() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    partition.grow(20).await;
    let (tp, pointer) = (partition.tp, *partition.pointer());
    let root = partition.fresh().root(tp, &pointer).await.unwrap();
    assert!(root.entries.iter().any(|entry| entry.level >= 2), "the tree is deep");
    let manifests = partition.fresh();
    for offset in 0..partition.end {
        let wanted = partition.segments.iter().find(|s| s.last_offset.0 >= offset).copied();
        assert_eq!(manifests.find_offset(tp, &pointer, Offset(offset)).await.unwrap(), wanted);
        let found = manifests.find_timestamp(tp, &pointer, timestamp(offset), Offset::ZERO).await.unwrap();
        assert_eq!(found, wanted);
    }
    let end = partition.end;
    assert_eq!(manifests.find_offset(tp, &pointer, Offset(end)).await.unwrap(), None);
    assert_eq!(manifests.find_timestamp(tp, &pointer, timestamp(end), Offset::ZERO).await.unwrap(), None);
}

#[tokio::test]
async fn timestamp_search_starts_where_it_is_told() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    partition.grow(20).await;
    let manifests = partition.fresh();
    for segment in &partition.segments {
        let found =
            manifests.find_timestamp(partition.tp, partition.pointer(), timestamp(0), segment.first_offset);
        assert_eq!(found.await.unwrap().as_ref(), Some(segment));
    }
}

#[tokio::test]
async fn pointer_sums_up_what_is_in_the_tree() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    partition.grow(9).await;
    let pointer = partition.pointer();
    assert_eq!((pointer.sequence, pointer.segments), (9, 9));
    assert_eq!((pointer.records, pointer.tiered_end), (partition.end, Offset(partition.end)));
    assert_eq!(pointer.bytes, partition.segments.iter().map(|s| s.bytes).sum::<u64>());
    assert_eq!(partition.fresh().state(partition.tp, pointer).await.unwrap(), partition.state());
}

#[tokio::test]
async fn nodes_are_fetched_once() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut partition = Partition::new(&bucket, 1);
    partition.grow(20).await;
    assert_eq!(faults.count(Call::Get, ""), 0, "what was published is in memory");
    let manifests = partition.fresh();
    for _ in 0..3 {
        manifests.find_offset(partition.tp, partition.pointer(), Offset::ZERO).await.unwrap();
    }
    assert_eq!(faults.count(Call::Get, "root/"), 1);
    let levels = faults.count(Call::Get, "group/");
    assert!((1..=3).contains(&levels), "one read a level, and not again: {levels}");
}

#[tokio::test]
async fn an_object_that_arrives_damaged_once_is_fetched_again() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut partition = Partition::new(&bucket, 1);
    partition.grow(20).await;
    for fault in [Fault::FlipByte(40), Fault::ShortBody(9), Fault::WrongRange(1)] {
        for key in ["root/", "group/", "state/"] {
            let manifests = partition.fresh();
            faults.fail(Call::Get, key, 1, fault.clone());
            let found = manifests.find_offset(partition.tp, partition.pointer(), Offset::ZERO).await;
            assert_eq!(found.unwrap(), partition.segments.first().copied(), "{fault:?} of {key}");
            let state = manifests.state(partition.tp, partition.pointer()).await;
            assert_eq!(state.unwrap(), partition.state(), "{fault:?} of {key}");
        }
    }
}

#[tokio::test]
async fn many_readers_of_one_node_fetch_it_once() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut partition = Partition::new(&bucket, 1);
    partition.grow(20).await;
    let manifests = partition.fresh();
    let gate = crate::bucket::faults::Gate::default();
    faults.fail(Call::Get, "root/", 1, Fault::Hold(gate.clone()));
    let look = || manifests.find_offset(partition.tp, partition.pointer(), Offset::ZERO);
    let lookups = futures::future::join_all((0..50).map(|_| look()));
    let (found, ()) = futures::join!(lookups, async {
        faults.reached(Call::Get, "root/", 1).await;
        gate.open();
    });
    assert!(found.into_iter().all(|segment| segment.unwrap() == Some(partition.segments[0])));
    assert_eq!(faults.count(Call::Get, "root/"), 1);
}

#[tokio::test]
async fn failed_fetch_is_tried_again_by_the_next() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut partition = Partition::new(&bucket, 1);
    partition.grow(2).await;
    let manifests = partition.fresh();
    faults.fail(Call::Get, "root/", 1, Fault::Unreachable);
    assert!(manifests.root(partition.tp, partition.pointer()).await.unwrap_err().is_retryable());
    manifests.root(partition.tp, partition.pointer()).await.unwrap();
}

#[tokio::test]
async fn root_is_not_written_before_what_it_names() {
    for part in ["state/", "group/"] {
        let (bucket, faults) = Bucket::in_memory().with_faults();
        let mut partition = Partition::new(&bucket, 1);
        partition.grow(4).await;
        let before = faults.count(Call::Put, "root/");
        faults.fail(Call::Put, part, 100, Fault::Denied);
        let segment = partition.upload(1).await;
        partition.publish(&[segment]).await.unwrap_err();
        assert_eq!(faults.count(Call::Put, "root/"), before, "{part}");
        faults.heal();
        partition.publish(&[segment]).await.unwrap();
        assert_eq!(partition.pointer().sequence, 5);
    }
}

#[tokio::test]
async fn damaged_node_is_named_and_not_used() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    partition.grow(20).await;
    let (tp, pointer) = (partition.tp, *partition.pointer());
    let root = partition.fresh().root(tp, &pointer).await.unwrap();
    let group = root.entries.iter().find(|entry| !entry.is_segment()).unwrap();
    for key in [group.key(tp).to_string(), root.state.key(tp).to_string(), root.key().to_string()] {
        let bytes = partition.bucket.get(&key, 1 << 20).await.unwrap();
        let mut damaged = bytes.to_vec();
        damaged[60] ^= 1;
        partition.bucket.put(&key, damaged.into()).await.unwrap();
        let manifests = partition.fresh();
        let error = if key.contains("/state/") {
            manifests.state(tp, &pointer).await.unwrap_err()
        } else {
            manifests.find_offset(tp, &pointer, Offset::ZERO).await.unwrap_err()
        };
        assert!(matches!(&error, ManifestError::Damaged { key: named, .. } if *named == key), "{error}");
        assert!(!error.is_retryable());
        partition.bucket.put(&key, bytes).await.unwrap();
    }
}

#[tokio::test]
async fn sound_object_in_the_place_of_another_is_refused() {
    let bucket = Bucket::in_memory();
    let (mut one, mut other) = (Partition::new(&bucket, 1), Partition::new(&bucket, 2));
    one.grow(2).await;
    other.grow(2).await;
    let foreign = bucket.get(&other.pointer().root_key(other.tp).to_string(), 1 << 20).await.unwrap();
    bucket.put(&one.pointer().root_key(one.tp).to_string(), foreign).await.unwrap();
    let error = one.fresh().root(one.tp, one.pointer()).await.unwrap_err();
    assert!(error.to_string().contains("belongs to partition"), "{error}");
}

#[tokio::test]
async fn leader_of_an_older_epoch_cannot_publish_behind_a_newer_one() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    partition.grow(2).await;
    let state = partition.state();
    let mut publish = Publish {
        tp: partition.tp,
        incarnation: Incarnation::FIRST,
        epoch: LeaderEpoch(EPOCH.0 - 1),
        previous: partition.pointer.as_ref(),
        segments: &[],
        state: &state,
        log_start: Offset::ZERO,
        now: TimestampMs(9),
    };
    let error = partition.manifests.publish(publish).await.unwrap_err();
    assert!(matches!(error, ManifestError::Publication(PublicationError::OldEpoch { .. })), "{error}");
    publish.epoch = EPOCH.next();
    publish.log_start = Offset(4);
    let pointer = partition.manifests.publish(publish).await.unwrap();
    assert_eq!((pointer.log_start, pointer.sequence), (Offset(4), 3));
}

#[tokio::test]
async fn segments_of_several_offloads_are_published_together() {
    let mut partition = Partition::new(&Bucket::in_memory(), 1);
    let mut segments = Vec::new();
    for _ in 0..11 {
        segments.push(partition.upload(1).await);
    }
    partition.publish(&segments).await.unwrap();
    let root = partition.fresh().root(partition.tp, partition.pointer()).await.unwrap();
    assert!(root.entries.len() <= super::fixture::SMALL.root_entries_max);
    assert_eq!((root.sequence, root.segments), (1, 11));
}
