//! Batches and partitions for the tests of both sides.

use tidelog_format::batch::{self, Batch, BatchBuilder, BatchOptions};
use tidelog_format::pointer::Pointer;
use tidelog_format::state::PartitionState;
use tidelog_model::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

use crate::tier::Tier;

pub(crate) const EPOCH: LeaderEpoch = LeaderEpoch(3);

pub(crate) fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(number))
}

/// A batch at `base`: one record per timestamp, each of `value_bytes` that look random.
pub(crate) fn batch_at(base: u64, timestamps: &[i64], value_bytes: usize) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut state = base + 1;
    for timestamp in timestamps {
        let value: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(value_bytes)
        .collect();
        builder.push(TimestampMs(*timestamp), None, Some(&value), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    batch::assign(&mut bytes, Offset(base), EPOCH);
    Batch::parse(bytes.freeze()).unwrap()
}

/// Batches of these numbers of records, from offset 0 on; the record at offset n has timestamp n.
pub(crate) fn run(records: &[usize], value_bytes: usize) -> Vec<Batch> {
    let mut base = 0;
    let mut batches = Vec::new();
    for count in records {
        let end = base + *count as u64;
        let timestamps: Vec<i64> = (base..end).map(|offset| offset as i64).collect();
        batches.push(batch_at(base, &timestamps, value_bytes));
        base = end;
    }
    batches
}

/// The batches' bytes, one after the other.
pub(crate) fn joined(batches: &[Batch]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.as_bytes().iter().copied()).collect()
}

/// Writes each of `segments` as a segment and publishes them one by one.
pub(crate) async fn publish(tier: &Tier, tp: TopicPartition, segments: &[&[Batch]]) -> Pointer {
    let mut pointer: Option<Pointer> = None;
    for batches in segments {
        pointer = Some(append(tier, tp, pointer.as_ref(), batches).await);
    }
    pointer.expect("there is a segment")
}

/// Publishes one more segment.
pub(crate) async fn append(
    tier: &Tier,
    tp: TopicPartition,
    previous: Option<&Pointer>,
    batches: &[Batch],
) -> Pointer {
    let mut upload = tier.segment(tp, EPOCH);
    for batch in batches {
        upload.push(batch.clone()).await.unwrap();
    }
    let entry = upload.finish(Vec::new(), Vec::new()).await.unwrap();
    let state = PartitionState { end: entry.next_offset(), ..PartitionState::default() };
    tier.publish(tp, EPOCH, previous, vec![entry], &state).await.unwrap()
}
