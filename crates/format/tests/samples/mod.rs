//! One value of every object format, with every field set to something telling.
#![allow(dead_code, reason = "each test binary uses its part")]

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{BatchBuilder, BatchOptions, assign};
use tidelog_format::descriptor::{ClusterDescriptor, PartitionDescriptor, Snapshot, TopicDescriptor};
use tidelog_format::key::SnapshotKind;
use tidelog_format::manifest::{Entry, Group, Root, RootRef, StateRef};
use tidelog_format::object::Section;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{
    AbortedTransaction, Closing, Finished, SegmentEncoder, SegmentIdentity, SegmentOptions,
};
use tidelog_format::state::{EpochEntry, PartitionState, ProducerBatch, ProducerEntry};
use tidelog_model::{
    ClusterId, Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence,
    TimestampMs, TopicId, TopicName, TopicPartition,
};

pub(crate) fn topic() -> TopicId {
    TopicId::from_bytes(*b"topic-0123456789")
}

pub(crate) fn tp() -> TopicPartition {
    TopicPartition { topic: topic(), partition: PartitionId(7) }
}

pub(crate) fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 16])
}

pub(crate) fn state() -> PartitionState {
    let batch = |sequence: i32, offset| ProducerBatch {
        first_sequence: Sequence(sequence),
        record_count: 3,
        base_offset: Offset(offset),
        timestamp: TimestampMs(1_700_000_000_000 + i64::from(sequence)),
    };
    PartitionState {
        end: Offset(1000),
        producers: vec![
            ProducerEntry {
                id: ProducerId(42),
                epoch: ProducerEpoch(3),
                last_timestamp: TimestampMs(1_700_000_000_006),
                coordinator_epoch: 11,
                transaction_start: Some(Offset(990)),
                batches: vec![batch(0, 985), batch(3, 990), batch(6, 995)],
            },
            ProducerEntry {
                id: ProducerId(43),
                epoch: ProducerEpoch(0),
                last_timestamp: TimestampMs::NONE,
                coordinator_epoch: -1,
                transaction_start: None,
                batches: vec![],
            },
        ],
        epochs: epochs(),
    }
}

pub(crate) fn epochs() -> Vec<EpochEntry> {
    [(1, 1, 0), (1, 4, 500), (2, 5, 500)]
        .map(|(incarnation, epoch, start)| EpochEntry {
            incarnation: Incarnation(incarnation),
            epoch: LeaderEpoch(epoch),
            start: Offset(start),
        })
        .to_vec()
}

pub(crate) fn pointer() -> Pointer {
    root().pointer(4321)
}

pub(crate) fn segment_row(number: u8, first: u64, last: u64) -> Entry {
    let at = |ms| TimestampMs(1_700_000_000_000 + ms);
    Entry {
        level: 0,
        first_offset: Offset(first),
        last_offset: Offset(last),
        first_timestamp: at(i64::from(number)),
        max_timestamp: at(i64::from(number) + 5),
        running_max_timestamp: at(i64::from(number) + 5),
        bytes: 1_000_000 + u64::from(number),
        id: id(number),
        incarnation: Incarnation(2),
        epoch: LeaderEpoch(5),
        tail_bytes: 600,
        records: last - first + 1,
        created: at(60_000),
        segments: 1,
    }
}

pub(crate) fn group() -> Group {
    Group {
        tp: tp(),
        incarnation: Incarnation(2),
        epoch: LeaderEpoch(5),
        id: id(0xa0),
        level: 1,
        created: TimestampMs(1_700_000_070_000),
        entries: vec![segment_row(1, 0, 99), segment_row(2, 100, 199)],
    }
}

pub(crate) fn root() -> Root {
    let group_row = group().entry().unwrap();
    let entries = vec![group_row, segment_row(3, 200, 499), segment_row(4, 500, 999)];
    Root {
        tp: tp(),
        incarnation: Incarnation(2),
        epoch: LeaderEpoch(5),
        sequence: 4,
        id: id(0xb0),
        log_start: Offset(50),
        tiered_end: Offset(1000),
        bytes: 4_000_010,
        segments: 4,
        records: 1000,
        published: TimestampMs(1_700_000_080_000),
        predecessor: Some(RootRef {
            incarnation: Incarnation(1),
            epoch: LeaderEpoch(4),
            sequence: 3,
            id: id(0xb1),
            bytes: 500,
        }),
        state: StateRef {
            incarnation: Incarnation(2),
            epoch: LeaderEpoch(5),
            offset: Offset(1000),
            id: id(0xc0),
            bytes: 333,
        },
        entries,
        extra: vec![],
    }
}

pub(crate) fn root_of_newer_software() -> Root {
    let extra = vec![Section { tag: 900, bytes: Bytes::from_static(b"from the future") }];
    Root { extra, ..root() }
}

pub(crate) fn cluster() -> ClusterDescriptor {
    ClusterDescriptor {
        cluster: ClusterId::from_bytes(*b"cluster-01234567"),
        incarnation: Incarnation(2),
        sequence: 9,
        written: TimestampMs(1_700_000_000_001),
        created: TimestampMs(1_600_000_000_000),
        metadata_revision: 123_456,
        software: "tidelog 0.1.0".to_owned(),
    }
}

pub(crate) fn topic_descriptor() -> TopicDescriptor {
    TopicDescriptor {
        topic: topic(),
        name: TopicName::new("web.access_log-2026").unwrap(),
        incarnation: Incarnation(2),
        sequence: 3,
        partitions: 16,
        written: TimestampMs(1_700_000_000_001),
        created: TimestampMs(1_600_000_000_000),
        deleted: None,
        config: vec![
            ("compression.type".to_owned(), "zstd".to_owned()),
            ("retention.ms".to_owned(), "-1".to_owned()),
        ],
    }
}

pub(crate) fn tombstone() -> TopicDescriptor {
    TopicDescriptor { deleted: Some(TimestampMs(1_700_000_000_002)), sequence: 4, ..topic_descriptor() }
}

pub(crate) fn partition_descriptor() -> PartitionDescriptor {
    PartitionDescriptor {
        tp: tp(),
        incarnation: Incarnation(2),
        epoch: LeaderEpoch(5),
        sequence: 2,
        written: TimestampMs(1_700_000_000_001),
        created: TimestampMs(1_600_000_000_000),
    }
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        kind: SnapshotKind::ConsumerOffsets,
        incarnation: Incarnation(2),
        sequence: 77,
        taken: TimestampMs(1_700_000_000_001),
        metadata_revision: 99,
        pairs: vec![
            (Bytes::from_static(b"group/topic/0"), Bytes::from_static(b"\0\0\0\0\0\0\x03\xe8")),
            (Bytes::from_static(b"empty"), Bytes::new()),
        ],
    }
}

/// A batch of `count` records at `base`, uncompressed so that its bytes depend on nothing else.
pub(crate) fn batch(base: u64, epoch: u32, count: u32, value: &[u8]) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for number in 0..count {
        let timestamp = TimestampMs(1_700_000_000_000 + base as i64 + i64::from(number));
        builder.push(timestamp, Some(&number.to_be_bytes()), Some(value), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    assign(&mut bytes, Offset(base), LeaderEpoch(epoch));
    bytes
}

pub(crate) fn segment_identity(first: u64) -> SegmentIdentity {
    SegmentIdentity {
        tp: tp(),
        incarnation: Incarnation(2),
        epoch: LeaderEpoch(5),
        first_offset: Offset(first),
        id: id(4),
    }
}

/// A segment of three small blocks, and what its encoder said of it.
pub(crate) fn segment() -> (Bytes, Finished) {
    let options = SegmentOptions { block_bytes: 400, ..SegmentOptions::default() };
    let mut encoder = SegmentEncoder::new(segment_identity(500), options);
    let mut object = BytesMut::from(&encoder.header()[..]);
    for (base, epoch, count) in [(500, 4, 2), (502, 4, 3), (505, 5, 1), (506, 5, 4), (510, 5, 5)] {
        let bytes = batch(base, epoch, count, b"a value of some length");
        encoder.push(&bytes).unwrap();
        object.extend_from_slice(&bytes);
    }
    let aborted = AbortedTransaction {
        producer_id: ProducerId(42),
        first_offset: Offset(490),
        last_offset: Offset(503),
        last_stable_offset: Offset(490),
    };
    let closing = Closing {
        epochs: epochs()[1..].to_vec(),
        aborted: vec![aborted],
        last_offset: None,
        created: TimestampMs(1_700_000_100_000),
    };
    let finished = encoder.finish(closing).unwrap();
    object.extend_from_slice(&finished.tail);
    (object.freeze(), finished)
}
