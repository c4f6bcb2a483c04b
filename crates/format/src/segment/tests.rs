use bytes::BytesMut;
use proptest::prelude::*;
use tidelog_model::{
    Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, ProducerId, TimestampMs, TopicId, TopicPartition,
};

use super::*;
use crate::batch::{BatchBuilder, BatchError, BatchOptions, assign};
use crate::state::EpochEntry;

fn identity(first: u64) -> SegmentIdentity {
    SegmentIdentity {
        tp: TopicPartition { topic: TopicId::from_bytes([1; 16]), partition: PartitionId(2) },
        incarnation: Incarnation(1),
        epoch: LeaderEpoch(9),
        first_offset: Offset(first),
        id: ObjectId::from_bytes([3; 16]),
    }
}

fn batch(base: u64, epoch: u32, timestamps: &[i64]) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for timestamp in timestamps {
        builder.push(TimestampMs(*timestamp), None, Some(b"0123456789"), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    assign(&mut bytes, Offset(base), LeaderEpoch(epoch));
    bytes
}

struct Written {
    object: BytesMut,
    finished: Finished,
}

impl Written {
    fn index(&self) -> SegmentIndex {
        let tail = &self.object[self.object.len() - self.finished.entry.tail_bytes as usize..];
        open_tail(tail, self.object.len() as u64).unwrap()
    }

    fn block(&self, block: &BlockEntry) -> &[u8] {
        &self.object[block.position as usize..block.range().end as usize]
    }
}

fn write(options: SegmentOptions, first: u64, batches: &[BytesMut], closing: Closing) -> Written {
    let mut encoder = SegmentEncoder::new(identity(first), options);
    let mut object = BytesMut::from(&encoder.header()[..]);
    for batch in batches {
        encoder.push(batch).unwrap();
        object.extend_from_slice(batch);
    }
    assert_eq!(encoder.bytes(), object.len() as u64);
    let finished = encoder.finish(closing).unwrap();
    object.extend_from_slice(&finished.tail);
    assert_eq!(object.len() as u64, finished.entry.bytes);
    Written { object, finished }
}

#[test]
fn body_is_nothing_but_the_batches() {
    let batches = [batch(10, 9, &[5, 6]), batch(12, 9, &[7])];
    let written = write(SegmentOptions::default(), 10, &batches, Closing::default());
    let index = written.index();
    let body = &written.object[HEADER_BYTES..index.blocks_end as usize];
    assert_eq!(body, [&batches[0][..], &batches[1][..]].concat());
    assert_eq!((index.records, index.batches, index.last_offset), (3, 2, Offset(12)));
    assert_eq!((index.first_timestamp, index.max_timestamp), (TimestampMs(5), TimestampMs(7)));
}

#[test]
fn footer_alone_leads_to_the_index() {
    let written = write(SegmentOptions::default(), 10, &[batch(10, 9, &[5])], Closing::default());
    let size = written.object.len() as u64;
    let footer = read_footer(&written.object[written.object.len() - FOOTER_BYTES..], size).unwrap();
    let range = footer.index_range();
    let index = read_index(&written.object[range.start as usize..range.end as usize], &footer).unwrap();
    assert_eq!(index, written.index());
    assert_eq!(footer.tail_bytes(), written.finished.entry.tail_bytes);
}

#[test]
fn a_block_stays_within_its_size_unless_one_batch_is_larger() {
    let batches = [batch(0, 9, &[1]), batch(1, 9, &[2; 40]), batch(41, 9, &[3]), batch(42, 9, &[4])];
    let block_bytes = 2 * batches[0].len();
    let options = SegmentOptions { block_bytes, ..SegmentOptions::default() };
    let index = write(options, 0, &batches, Closing::default()).index();
    let sizes: Vec<(u32, u64)> = index.blocks.iter().map(|b| (b.batches, b.first_offset.0)).collect();
    assert_eq!(sizes, [(1, 0), (1, 1), (2, 41)]);
}

#[test]
fn batch_that_does_not_follow_is_refused_and_changes_nothing() {
    let mut encoder = SegmentEncoder::new(identity(10), SegmentOptions::default());
    let error = encoder.push(&batch(11, 9, &[1])).unwrap_err();
    assert_eq!(error, SegmentError::Order { expected: Offset(10), found: Offset(11) });
    let mut damaged = batch(10, 9, &[1]);
    *damaged.last_mut().unwrap() ^= 1;
    let error = encoder.push(&damaged).unwrap_err();
    assert!(matches!(error, SegmentError::Batch(BatchError::Checksum { .. })));
    encoder.push(&batch(10, 9, &[1])).unwrap();
    assert_eq!(encoder.next_offset(), Offset(11));
}

#[test]
fn empty_segment_is_refused_unless_it_covers_removed_records() {
    let encoder = || SegmentEncoder::new(identity(10), SegmentOptions::default());
    assert_eq!(encoder().finish(Closing::default()).unwrap_err(), SegmentError::Empty);
    let closing = Closing { last_offset: Some(Offset(19)), ..Closing::default() };
    let entry = encoder().finish(closing).unwrap().entry;
    assert_eq!((entry.first_offset, entry.last_offset, entry.records), (Offset(10), Offset(19), 0));
}

#[test]
fn compacted_segment_keeps_its_range_and_finds_what_is_left() {
    let options = SegmentOptions { gaps: Gaps::Allowed, block_bytes: 1 };
    let closing = Closing { last_offset: Some(Offset(99)), ..Closing::default() };
    let written = write(options, 10, &[batch(20, 3, &[1]), batch(50, 4, &[2])], closing);
    let index = written.index();
    assert_eq!(index.last_offset, Offset(99));
    assert_eq!(index.block_at_offset(Offset(10)), Some(0));
    assert_eq!(index.block_at_offset(Offset(21)), Some(1));
    assert_eq!(index.block_at_offset(Offset(51)), None);
    let epochs: Vec<(u32, u64)> = index.epochs.iter().map(|e| (e.epoch.0, e.start.0)).collect();
    assert_eq!(epochs, [(3, 10), (4, 50)]);
    for block in &index.blocks {
        check_block(block, written.block(block)).unwrap();
    }
}

#[test]
fn epochs_that_do_not_fit_the_segment_are_refused() {
    let entry = |epoch, start| EpochEntry {
        incarnation: Incarnation(1),
        epoch: LeaderEpoch(epoch),
        start: Offset(start),
    };
    for epochs in [vec![entry(1, 11)], vec![entry(2, 0), entry(1, 10)], vec![entry(1, 0), entry(2, 11)]] {
        let mut encoder = SegmentEncoder::new(identity(10), SegmentOptions::default());
        encoder.push(&batch(10, 9, &[1])).unwrap();
        let closing = Closing { epochs, ..Closing::default() };
        assert_eq!(encoder.finish(closing).unwrap_err(), SegmentError::Epochs);
    }
}

#[test]
fn aborted_transactions_are_found_where_they_overlap() {
    let aborted = |first, last| AbortedTransaction {
        producer_id: ProducerId(1),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(first),
    };
    let closing = Closing { aborted: vec![aborted(2, 11), aborted(13, 14)], ..Closing::default() };
    let index = write(SegmentOptions::default(), 10, &[batch(10, 9, &[1; 5])], closing).index();
    let found = |range: std::ops::Range<u64>| {
        index
            .aborted_in(&(Offset(range.start)..Offset(range.end)))
            .map(|t| t.last_offset.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(10..12), [11]);
    assert_eq!(found(12..13), [] as [u64; 0]);
    assert_eq!(found(11..14), [11, 14]);
}

#[test]
fn another_object_in_the_place_of_a_segment_is_refused() {
    let written = write(SegmentOptions::default(), 10, &[batch(10, 9, &[1])], Closing::default());
    let (index, entry) = (written.index(), written.finished.entry);
    index.check(identity(10).tp, &entry).unwrap();
    let other = TopicPartition { partition: PartitionId(3), ..identity(10).tp };
    index.check(other, &entry).unwrap_err();
    let renamed = SegmentEntry { id: ObjectId::from_bytes([4; 16]), ..entry };
    index.check(identity(10).tp, &renamed).unwrap_err();
}

proptest! {
    #[test]
    fn every_offset_and_timestamp_is_found_in_its_block(
        sizes in proptest::collection::vec(proptest::collection::vec(0_i64..1000, 1..8), 1..30),
        block_bytes in 1_usize..2000,
        first in 0_u64..1000,
    ) {
        let mut next = first;
        let mut records = Vec::new();
        let mut batches = Vec::new();
        for timestamps in &sizes {
            batches.push(batch(next, 9, timestamps));
            records.extend(timestamps.iter().enumerate().map(|(i, t)| (next + i as u64, *t)));
            next += timestamps.len() as u64;
        }
        let written = write(SegmentOptions { block_bytes, ..SegmentOptions::default() }, first, &batches, Closing::default());
        let index = written.index();
        prop_assert_eq!(index.records, records.len() as u64);
        for block in &index.blocks {
            check_block(block, written.block(block)).unwrap();
        }
        for (offset, timestamp) in &records {
            let block = &index.blocks[index.block_at_offset(Offset(*offset)).unwrap()];
            prop_assert!(block.first_offset.0 <= *offset && *offset <= block.last_offset.0);
            let found = index.block_at_timestamp(TimestampMs(*timestamp)).unwrap();
            let earliest = records.iter().find(|(_, t)| t >= timestamp).unwrap().0;
            prop_assert_eq!(Some(found), index.block_at_offset(Offset(earliest)));
        }
        prop_assert_eq!(index.block_at_offset(Offset(next)), None);
        prop_assert_eq!(index.block_at_timestamp(TimestampMs(1000)), None);
    }
}
