//! Every bit of a journal file matters, and stands in one place of one file only.

use proptest::prelude::*;
use tidelog_model::{Incarnation, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

use super::*;
use crate::batch::{BatchBuilder, BatchOptions};
use crate::state::{EpochEntry, PartitionState};

const SALT: Salt = Salt([7; 16]);
const POSITION: u64 = 8192;

fn tp(number: u32) -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([9; 16]), partition: PartitionId(number) }
}

fn batch(base: u64, value: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.push(TimestampMs(1_000), None, Some(value), &[]).unwrap();
    builder.push(TimestampMs(1_005), None, Some(value), &[]).unwrap();
    let mut bytes = builder.finish();
    crate::batch::assign(&mut bytes, Offset(base), LeaderEpoch(3));
    bytes.to_vec()
}

fn header(kind: FrameKind, payload: &[u8]) -> FrameHeader {
    FrameHeader {
        kind,
        copy: false,
        payload_bytes: payload.len() as u32,
        partition: tp(4),
        epoch: LeaderEpoch(3),
        base_offset: Offset(40),
        count: if kind == FrameKind::Batch { 2 } else { 0 },
        max_timestamp: TimestampMs(1_005),
        append_time: TimestampMs(2_000),
    }
}

fn frame(header: &FrameHeader, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; FRAME_HEADER_BYTES];
    header.encode(SALT, POSITION, payload, &mut head);
    [&head[..], payload].concat()
}

#[test]
fn frames_come_back_as_they_were_written() {
    let payload = batch(40, b"value");
    for copy in [false, true] {
        let header = FrameHeader { copy, ..header(FrameKind::Batch, &payload) };
        let bytes = frame(&header, &payload);
        let (read, found, body) = FrameHeader::verify(&bytes, SALT, POSITION).unwrap();
        assert_eq!((read, body), (header, &payload[..]));
        assert_eq!(found.unwrap().next_offset(), read.next_offset());
        assert_eq!(read.bytes(), bytes.len() as u64);
    }
    for kind in FrameKind::ALL.into_iter().filter(|kind| *kind != FrameKind::Batch) {
        let header = header(kind, b"payload");
        let bytes = frame(&header, b"payload");
        assert_eq!(FrameHeader::verify(&bytes, SALT, POSITION).unwrap(), (header, None, &b"payload"[..]));
    }
}

#[test]
fn every_flipped_bit_of_a_frame_is_noticed() {
    let payload = batch(40, b"some value");
    for (kind, payload) in
        [(FrameKind::Batch, &payload[..]), (FrameKind::Trim, b""), (FrameKind::EpochStart, b"1234")]
    {
        let whole = frame(&header(kind, payload), payload);
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(FrameHeader::verify(&bytes, SALT, POSITION).is_err(), "{kind:?} bit {bit}");
        }
        for length in 0..whole.len() {
            assert!(
                FrameHeader::verify(&whole[..length], SALT, POSITION).is_err(),
                "{kind:?} {length} bytes"
            );
        }
    }
}

#[test]
fn a_frame_counts_at_its_own_place_under_its_own_salt_only() {
    let payload = batch(40, b"value");
    let bytes = frame(&header(FrameKind::Batch, &payload), &payload);
    assert!(FrameHeader::verify(&bytes, Salt([8; 16]), POSITION).is_err());
    assert!(FrameHeader::verify(&bytes, SALT, POSITION + 4096).is_err());
}

#[test]
fn a_frame_that_disagrees_with_its_batch_is_refused() {
    let payload = batch(41, b"value");
    let bytes = frame(&header(FrameKind::Batch, &payload), &payload);
    let error = FrameHeader::verify(&bytes, SALT, POSITION).unwrap_err();
    assert!(matches!(error, FormatError::Invalid { what: "frame", .. }), "{error}");
}

#[test]
fn every_flipped_bit_of_a_group_header_is_noticed() {
    let group = GroupHeader { bytes: 5000, frames: 3, durable: POSITION, previous_end: 77 };
    let mut bytes = [0; GROUP_HEADER_BYTES];
    group.encode(SALT, POSITION, &mut bytes);
    assert_eq!(GroupHeader::decode(&bytes, SALT, POSITION).unwrap(), group);
    assert_eq!(group.padded_bytes(), 8192);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(GroupHeader::decode(&bytes, SALT, POSITION).is_err(), "bit {bit}");
    }
    assert!(GroupHeader::decode(&bytes, SALT, POSITION + 4096).is_err());
    assert!(GroupHeader::decode(&bytes, Salt([1; 16]), POSITION).is_err());
    // What was not written yet cannot be durable.
    let ahead = GroupHeader { durable: POSITION + 1, ..group };
    let mut bytes = [0; GROUP_HEADER_BYTES];
    ahead.encode(SALT, POSITION, &mut bytes);
    assert!(GroupHeader::decode(&bytes, SALT, POSITION).is_err());
}

#[test]
fn every_flipped_bit_of_a_file_header_is_noticed() {
    let header = FileHeader { sequence: 12, salt: SALT, file_bytes: 1 << 20 };
    let mut block = [0xff; BLOCK_BYTES];
    header.encode(&mut block);
    assert_eq!(FileHeader::decode(&block).unwrap(), header);
    assert!(block[FILE_HEADER_BYTES..].iter().all(|&byte| byte == 0));
    for bit in 0..FILE_HEADER_BYTES * 8 {
        let mut block = block;
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(FileHeader::decode(&block).is_err(), "bit {bit}");
    }
    block[9] = 2;
    assert_eq!(FileHeader::decode(&block), Err(FormatError::Version { found: 2, supported: 1 }));
}

fn entry(base: u64, count: u32, position: u32) -> Entry {
    Entry {
        base_offset: Offset(base),
        max_timestamp: TimestampMs(1_000 - base as i64),
        append_time: TimestampMs(5_000 + base as i64),
        position,
        payload_bytes: 100 + count,
        count,
        epoch: LeaderEpoch(2),
    }
}

struct Built {
    bytes: Vec<u8>,
    block: [u8; BLOCK_BYTES],
    footer: Footer,
}

const TRAILER_AT: u64 = 1 << 20;

fn build() -> Built {
    let mut builder = FooterBuilder::new(SALT);
    assert_eq!(builder.partition(tp(0), &[entry(10, 5, 4160), entry(15, 1, 9000)]).len(), 1);
    // A gap begins a span.
    let spans = builder.partition(tp(1), &[entry(0, 2, 5000), entry(7, 1, 6000), entry(8, 1, 7000)]);
    assert_eq!(spans.iter().map(|span| (span.start.0, span.end.0)).collect::<Vec<_>>(), [(0, 2), (7, 9)]);
    builder.truncation(Truncation { partition: tp(1), end: Offset(7) });
    let trailer = Trailer {
        sequence: 3,
        data_end: 12_288,
        footer: 12_288,
        spans: 0,
        truncations: 0,
        entries: 0,
        previous_end: 999,
        has_checkpoint: true,
    };
    let expected_bytes = builder.bytes();
    let mut block = [0; BLOCK_BYTES];
    let (bytes, footer) = builder.finish(trailer, TRAILER_AT, &mut block);
    assert!(bytes.len() as u64 <= expected_bytes);
    assert!(align_up(bytes.len() as u64) + BLOCK_BYTES as u64 <= footer_bytes_max(3, 1, 5));
    Built { bytes, block, footer }
}

#[test]
fn footers_come_back_and_their_entries_span_by_span() {
    let built = build();
    let footer = Footer::decode(&built.block, &built.bytes, SALT, TRAILER_AT).unwrap();
    assert_eq!(footer, built.footer);
    assert_eq!(footer.trailer.entries, 5);
    let read = |span: &Span| {
        let at = (footer.trailer.entry_position(span.first_entry) - footer.trailer.footer) as usize;
        read_entries(span, SALT, &built.bytes[at..]).unwrap()
    };
    assert_eq!(read(&footer.spans[0]), [entry(10, 5, 4160), entry(15, 1, 9000)]);
    assert_eq!(read(&footer.spans[2]), [entry(7, 1, 6000), entry(8, 1, 7000)]);
    let span = &footer.spans[0];
    assert_eq!((span.bytes, span.max_timestamp), (206, TimestampMs(990)));
    assert_eq!((span.first_append, span.last_append), (TimestampMs(5_010), TimestampMs(5_015)));
}

#[test]
fn every_flipped_bit_of_a_footer_is_noticed() {
    let built = build();
    for bit in 0..TRAILER_BYTES * 8 {
        let mut block = built.block;
        block[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&block, &built.bytes, SALT, TRAILER_AT).is_err(), "trailer bit {bit}");
    }
    let directory = built.footer.trailer.directory_bytes();
    for bit in 0..built.bytes.len() * 8 {
        let mut bytes = built.bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let decoded = Footer::decode(&built.block, &bytes, SALT, TRAILER_AT);
        assert_eq!(decoded.is_err(), bit / 8 < directory, "bit {bit}");
        let damaged = built.footer.spans.iter().filter(|span| {
            let at = (built.footer.trailer.entry_position(span.first_entry) - built.footer.trailer.footer)
                as usize;
            read_entries(span, SALT, &bytes[at..]).is_err()
        });
        assert_eq!(damaged.count(), usize::from(bit / 8 >= directory), "bit {bit}");
    }
    assert!(Footer::decode(&built.block, &built.bytes[..directory - 1], SALT, TRAILER_AT).is_err());
    assert!(Footer::decode(&built.block, &built.bytes, Salt([0; 16]), TRAILER_AT).is_err());
    assert!(Footer::decode(&built.block, &built.bytes, SALT, TRAILER_AT + 4096).is_err());
}

#[test]
fn payloads_come_back_and_belong_to_their_partition() {
    let epochs = vec![EpochEntry { incarnation: Incarnation(1), epoch: LeaderEpoch(2), start: Offset(3) }];
    let state = PartitionState { end: Offset(90), epochs, ..PartitionState::default() };
    let checkpoint = PartitionCheckpoint { log_start: Offset(12), state };
    let bytes = checkpoint.encode(tp(1));
    assert_eq!(PartitionCheckpoint::decode(&bytes, tp(1)).unwrap(), checkpoint);
    assert!(PartitionCheckpoint::decode(&bytes, tp(2)).is_err());
    for length in 0..bytes.len() {
        assert!(PartitionCheckpoint::decode(&bytes[..length], tp(1)).is_err());
    }
    let end = CheckpointEnd { partitions: 77 };
    assert_eq!(CheckpointEnd::decode(&end.encode()).unwrap(), end);
    assert!(CheckpointEnd::decode(&[0; 9]).is_err());
    assert_eq!(decode_incarnation(&encode_incarnation(Incarnation(5))).unwrap(), Incarnation(5));
    assert!(decode_incarnation(b"123").is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), position in any::<u32>()) {
        let position = u64::from(position);
        let _ = FileHeader::decode(&bytes);
        let _ = ExtentSlot::decode(&bytes);
        let _ = GroupHeader::decode(&bytes, SALT, position);
        let _ = FrameHeader::verify(&bytes, SALT, position);
        let _ = Trailer::peek(&bytes, position);
        let _ = Footer::decode(&bytes, &bytes, SALT, position);
        let _ = PartitionCheckpoint::decode(&bytes, tp(0));
    }

    /// Damage that keeps the kind and the lengths plausible gets past the first look.
    #[test]
    fn damaged_frames_are_read_without_a_panic(at in 0_usize..200, byte in any::<u8>()) {
        let payload = batch(40, b"a value of some length");
        let mut bytes = frame(&header(FrameKind::Batch, &payload), &payload);
        let at = at % bytes.len();
        let same = bytes[at] == byte;
        bytes[at] = byte;
        prop_assert_eq!(FrameHeader::verify(&bytes, SALT, POSITION).is_ok(), same);
    }

    #[test]
    fn footers_hold_whatever_was_indexed(
        runs in prop::collection::vec(prop::collection::vec((0_u64..3, 1_u32..100), 0..20), 0..8),
    ) {
        let mut builder = FooterBuilder::new(SALT);
        let mut expected = Vec::new();
        for (number, run) in runs.iter().enumerate() {
            let mut next = 0;
            let entries: Vec<Entry> = run.iter().map(|(gap, count)| {
                let base = next + gap;
                next = base + u64::from(*count);
                entry(base, *count, base as u32)
            }).collect();
            builder.partition(tp(number as u32), &entries);
            expected.extend(entries);
        }
        let trailer = Trailer {
            sequence: 1, data_end: 4096, footer: 4096, spans: 0, truncations: 0, entries: 0, previous_end: 0,
            has_checkpoint: false,
        };
        let mut block = [0; BLOCK_BYTES];
        let (bytes, _) = builder.finish(trailer, TRAILER_AT, &mut block);
        let footer = Footer::decode(&block, &bytes, SALT, TRAILER_AT).unwrap();
        let mut read = Vec::new();
        for span in &footer.spans {
            let at = (footer.trailer.entry_position(span.first_entry) - footer.trailer.footer) as usize;
            let entries = read_entries(span, SALT, &bytes[at..]).unwrap();
            prop_assert_eq!(entries.first().map(|entry| entry.base_offset), Some(span.start));
            prop_assert_eq!(entries.last().map(Entry::next_offset), Some(span.end));
            read.extend(entries);
        }
        prop_assert_eq!(read, expected);
    }
}
