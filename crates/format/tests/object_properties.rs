//! What holds for any value and any bytes: values come back, damage is named, nothing panics.

mod samples;

use bytes::Bytes;
use proptest::prelude::*;
use tidelog_format::checksum::crc32c;
use tidelog_format::descriptor::{ClusterDescriptor, PartitionDescriptor, Snapshot, TopicDescriptor};
use tidelog_format::key::{ObjectKey, SnapshotKind, partition_prefix, roots_prefix, segments_prefix};
use tidelog_format::manifest::{Group, Root};
use tidelog_format::object::DecodeError;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{FOOTER_BYTES, HEADER_BYTES, check_block, open_tail, read_footer, read_header};
use tidelog_format::state::{EpochEntry, PartitionState, ProducerBatch, ProducerEntry};
use tidelog_model::{
    Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence,
    TimestampMs, TopicId, TopicPartition,
};

type Decoder = fn(&[u8]) -> Result<(), DecodeError>;

/// Every object that uses the envelope, with the parser it meets.
fn objects() -> Vec<(&'static str, Bytes, Decoder)> {
    vec![
        ("partition state", samples::state().encode(samples::tp()), |bytes| {
            PartitionState::decode(bytes, samples::tp()).map(drop)
        }),
        ("cold pointer", samples::pointer().encode(), |bytes| Pointer::decode(bytes).map(drop)),
        ("manifest root", samples::root().encode(), |bytes| Root::decode(bytes).map(drop)),
        ("manifest group", samples::group().encode(), |bytes| Group::decode(bytes).map(drop)),
        ("cluster descriptor", samples::cluster().encode(), |bytes| {
            ClusterDescriptor::decode(bytes).map(drop)
        }),
        ("topic descriptor", samples::topic_descriptor().encode(), |bytes| {
            TopicDescriptor::decode(bytes, samples::topic()).map(drop)
        }),
        ("partition descriptor", samples::partition_descriptor().encode(), |bytes| {
            PartitionDescriptor::decode(bytes, samples::tp()).map(drop)
        }),
        ("snapshot", samples::snapshot().encode(), |bytes| Snapshot::decode(bytes).map(drop)),
    ]
}

#[test]
fn every_flipped_bit_of_every_object_is_detected_and_the_object_named() {
    for (name, bytes, decode) in objects() {
        decode(&bytes).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                let error = decode(&damaged).expect_err(&format!("{name}: byte {at}"));
                assert!(error.to_string().contains(name), "{error}");
                assert!(!error.needs_newer_software(), "damage is not taken for a newer version: {error}");
            }
        }
    }
}

#[test]
fn every_cut_object_is_detected() {
    for (name, bytes, decode) in objects() {
        for length in 0..bytes.len() {
            decode(&bytes[..length]).expect_err(name);
        }
        let longer = [&bytes[..], b"x"].concat();
        decode(&longer).expect_err(name);
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_detected() {
    let (segment, finished) = samples::segment();
    let size = segment.len() as u64;
    let tail_at = segment.len() - finished.entry.tail_bytes as usize;
    let index = open_tail(&segment[tail_at..], size).unwrap();
    for at in 0..segment.len() {
        let mut damaged = segment.to_vec();
        damaged[at] ^= 0x10;
        if at < HEADER_BYTES {
            let error = read_header(&damaged).unwrap_err();
            assert!(error.to_string().contains("segment header"), "{error}");
        } else if at < tail_at {
            let block = index.blocks.iter().find(|block| block.range().contains(&(at as u64))).unwrap();
            let range = block.range();
            let error = check_block(block, &damaged[range.start as usize..range.end as usize]).unwrap_err();
            assert!(error.to_string().contains(&format!("the block at {}", block.position)), "{error}");
        } else {
            let error = open_tail(&damaged[tail_at..], size).unwrap_err();
            assert!(error.to_string().contains("segment"), "{error}");
        }
    }
}

#[test]
fn cut_segment_is_detected_by_its_size() {
    let (segment, _) = samples::segment();
    for length in 0..segment.len() {
        open_tail(&segment[..length], length as u64).unwrap_err();
    }
}

#[test]
fn another_partitions_object_is_refused() {
    let other = TopicPartition { partition: PartitionId(8), ..samples::tp() };
    let state = samples::state().encode(samples::tp());
    assert!(matches!(PartitionState::decode(&state, other), Err(DecodeError::OtherPartition { .. })));
    let root = samples::root().encode();
    let pointer = samples::root().pointer(root.len() as u32);
    Root::decode_expected(&root, samples::tp(), &pointer).unwrap();
    assert!(matches!(Root::decode_expected(&root, other, &pointer), Err(DecodeError::OtherPartition { .. })));
    let later = Pointer { sequence: pointer.sequence + 1, ..pointer };
    Root::decode_expected(&root, samples::tp(), &later).unwrap_err();
    let topic = samples::topic_descriptor().encode();
    let other = TopicId::from_bytes([9; 16]);
    assert!(matches!(TopicDescriptor::decode(&topic, other), Err(DecodeError::OtherTopic { .. })));
}

/// Gives damaged bytes of an envelope a right length and checksum, so that the parser behind it
/// meets them.
fn reseal(bytes: &mut [u8]) {
    let length = bytes.len();
    if length >= 20 {
        bytes[12..16].copy_from_slice(&(length as u32).to_be_bytes());
        let checksum = crc32c(&bytes[..length - 4]);
        bytes[length - 4..].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn producers() -> impl Strategy<Value = Vec<ProducerEntry>> {
    let batch = (0..i32::MAX, any::<u32>(), 0..=Offset::MAX.0, any::<i64>()).prop_map(
        |(sequence, record_count, offset, timestamp)| ProducerBatch {
            first_sequence: Sequence(sequence),
            record_count,
            base_offset: Offset(offset),
            timestamp: TimestampMs(timestamp),
        },
    );
    let producer = (
        any::<i64>(),
        any::<i16>(),
        any::<i64>(),
        any::<i32>(),
        proptest::option::of(0..=Offset::MAX.0),
        proptest::collection::vec(batch, 0..=5),
    )
        .prop_map(|(id, epoch, last, coordinator_epoch, start, batches)| ProducerEntry {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            last_timestamp: TimestampMs(last),
            coordinator_epoch,
            transaction_start: start.map(Offset),
            batches,
        });
    proptest::collection::vec(producer, 0..20)
}

fn epochs() -> impl Strategy<Value = Vec<EpochEntry>> {
    proptest::collection::btree_map((0_u32..5, any::<u32>()), any::<u32>(), 0..20).prop_map(|epochs| {
        let mut starts: Vec<u64> = epochs.values().map(|start| u64::from(*start)).collect();
        starts.sort_unstable();
        epochs
            .keys()
            .zip(starts)
            .map(|((incarnation, epoch), start)| EpochEntry {
                incarnation: Incarnation(*incarnation),
                epoch: LeaderEpoch(*epoch),
                start: Offset(start),
            })
            .collect()
    })
}

fn keys() -> impl Strategy<Value = ObjectKey> {
    let fields =
        (any::<[u8; 16]>(), any::<u32>(), any::<u32>(), any::<u32>(), 0..=Offset::MAX.0, any::<[u8; 16]>());
    (0_usize..9, fields).prop_map(|(kind, (topic, partition, incarnation, epoch, number, id))| {
        let topic = TopicId::from_bytes(topic);
        let tp = TopicPartition { topic, partition: PartitionId(partition) };
        let (incarnation, epoch) = (Incarnation(incarnation), LeaderEpoch(epoch));
        let (sequence, offset, id) = (number, Offset(number), ObjectId::from_bytes(id));
        match kind {
            0 => ObjectKey::Cluster { incarnation, sequence, id },
            1 => ObjectKey::Topic { topic, incarnation, sequence, id },
            2 => ObjectKey::Partition { tp, incarnation, sequence, id },
            3 => ObjectKey::Root { tp, incarnation, epoch, sequence, id },
            4 => ObjectKey::State { tp, incarnation, epoch, offset, id },
            5 => ObjectKey::Group { tp, incarnation, epoch, offset, id },
            6 => ObjectKey::Segment { tp, incarnation, epoch, offset, id },
            7 => ObjectKey::Snapshot { kind: SnapshotKind::ConsumerOffsets, incarnation, sequence, id },
            _ => ObjectKey::Snapshot { kind: SnapshotKind::AccessRules, incarnation, sequence, id },
        }
    })
}

proptest! {
    #[test]
    fn partition_state_comes_back(end in 0..=Offset::MAX.0, producers in producers(), epochs in epochs()) {
        let state = PartitionState { end: Offset(end), producers, epochs };
        let bytes = state.encode(samples::tp());
        prop_assert_eq!(PartitionState::decode(&bytes, samples::tp()).unwrap(), state);
    }

    #[test]
    fn key_comes_back_and_lies_below_its_prefix(key in keys()) {
        let text = key.to_string();
        prop_assert!(text.len() <= 192);
        prop_assert_eq!(text.parse::<ObjectKey>().unwrap(), key);
        if let Some(tp) = key.partition() {
            prop_assert!(text.starts_with(&partition_prefix(tp)));
            match key {
                ObjectKey::Root { .. } => prop_assert!(text.starts_with(&roots_prefix(tp))),
                ObjectKey::Segment { .. } => prop_assert!(text.starts_with(&segments_prefix(tp))),
                _ => {}
            }
        }
    }

    #[test]
    fn foreign_key_is_refused(key in keys(), at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let mut text = key.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        let text = String::from_utf8(text).unwrap();
        // Either it is refused or it is the canonical spelling of another key.
        if let Ok(other) = text.parse::<ObjectKey>() {
            prop_assert_eq!(other.to_string(), text);
        }
    }

    #[test]
    fn roots_sort_by_incarnation_epoch_and_sequence(
        a in any::<(u32, u32, u64)>(), b in any::<(u32, u32, u64)>(), id in any::<[u8; 16]>()
    ) {
        let key = |(incarnation, epoch, sequence)| ObjectKey::Root {
            tp: samples::tp(),
            incarnation: Incarnation(incarnation),
            epoch: LeaderEpoch(epoch),
            sequence,
            id: ObjectId::from_bytes(id),
        };
        prop_assert_eq!(a.cmp(&b), key(a).to_string().cmp(&key(b).to_string()));
    }

    #[test]
    fn hostile_bytes_behind_a_sound_envelope_never_panic(
        which in any::<prop::sample::Index>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let objects = objects();
        let (_, bytes, decode) = &objects[which.index(objects.len())];
        let mut bytes = bytes.to_vec();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        reseal(&mut bytes);
        let _ = decode(&bytes);
    }

    #[test]
    fn hostile_segment_tails_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        size in any::<u64>(),
    ) {
        let (segment, finished) = samples::segment();
        let tail_at = segment.len() - finished.entry.tail_bytes as usize;
        let mut tail = segment[tail_at..].to_vec();
        let index_bytes = tail.len() - FOOTER_BYTES;
        for (at, value) in edits {
            let at = at.index(tail.len());
            tail[at] = value;
        }
        reseal(&mut tail[..index_bytes]);
        let crc = crc32c(&tail[index_bytes..index_bytes + FOOTER_BYTES - 4]);
        let end = tail.len();
        tail[end - 4..].copy_from_slice(&crc.to_be_bytes());
        let _ = open_tail(&tail, segment.len() as u64);
        let _ = read_footer(&tail, size);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), size in any::<u64>()) {
        for (_, _, decode) in objects() {
            decode(&bytes).unwrap_err();
        }
        let _ = open_tail(&bytes, size);
        let _ = read_header(&bytes);
    }
}

/// What fuzzing found.
const FOUND: &[&[u8]] = &[include_bytes!("found/object_decode/root-with-section-0")];

/// What `fuzz/fuzz_targets/object_decode.rs` choked on once, read the way it reads: with length and
/// checksum made right.
#[test]
fn what_fuzzing_found_is_refused_or_survives_being_written_again() {
    for found in FOUND {
        let mut bytes = found.to_vec();
        let length = bytes.len();
        bytes[12..16].copy_from_slice(&(length as u32).to_be_bytes());
        let checksum = tidelog_format::checksum::crc32c(&bytes[..length - 4]);
        bytes[length - 4..].copy_from_slice(&checksum.to_be_bytes());
        if let Ok(root) = Root::decode(&bytes) {
            assert_eq!(Root::decode(&root.encode()), Ok(root));
        }
        if let Ok(group) = Group::decode(&bytes) {
            assert_eq!(Group::decode(&group.encode()), Ok(group));
        }
        if let Ok((of, state)) = PartitionState::decode_any(&bytes) {
            assert_eq!(PartitionState::decode(&state.encode(of), of), Ok(state));
        }
    }
}
