//! A journal file that version 1 wrote stays readable for ever, and the same values give the same bytes.

mod samples;

use tidelog_format::batch;
use tidelog_format::journal::{
    BLOCK_BYTES, CheckpointEnd, EXTENT_FILE_BYTES, Entry, Extent, ExtentSlot, FRAME_HEADER_BYTES, FileHeader,
    Footer, FooterBuilder, FrameHeader, FrameKind, GROUP_HEADER_BYTES, GroupHeader, PartitionCheckpoint,
    Salt, Trailer, Truncation, align_up, encode_incarnation, read_entries,
};
use tidelog_model::{Incarnation, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

const GOLDEN: &[u8] = include_bytes!("golden/journal/sealed.v1.wal");
const GOLDEN_EXTENT: &[u8] = include_bytes!("golden/journal/extent.v1");
const BATCH: &[u8] = include_bytes!("golden/batch/tidelog-none.bin");
const SALT: Salt = Salt(*b"a golden salt 16");
const SEQUENCE: u64 = 7;
const FILE_BYTES: u64 = 6 * BLOCK_BYTES as u64;

/// A frame with its payload.
type Frame = (FrameHeader, Vec<u8>);

fn frame(kind: FrameKind, offset: u64, payload: &[u8]) -> Frame {
    let header = FrameHeader {
        kind,
        copy: false,
        payload_bytes: payload.len() as u32,
        partition: samples::tp(),
        epoch: LeaderEpoch(3),
        base_offset: Offset(offset),
        count: 0,
        max_timestamp: TimestampMs::NONE,
        append_time: TimestampMs::NONE,
    };
    (header, payload.to_vec())
}

fn batch_frame(copy: bool) -> Frame {
    let header = batch::verify(BATCH).unwrap();
    let (frame, payload) = frame(FrameKind::Batch, header.base_offset.0, BATCH);
    let append_time = TimestampMs(1_800_000_000_000);
    let count = header.last_offset_delta + 1;
    (FrameHeader { copy, count, max_timestamp: header.max_timestamp, append_time, ..frame }, payload)
}

fn checkpoint() -> PartitionCheckpoint {
    PartitionCheckpoint { log_start: Offset(5), state: samples::state() }
}

fn groups() -> [Vec<Frame>; 2] {
    let (end, payload) = frame(FrameKind::CheckpointEnd, 0, &CheckpointEnd { partitions: 1 }.encode());
    let nobody = TopicPartition { topic: TopicId::from_bytes([0; 16]), partition: PartitionId(0) };
    let end = FrameHeader { partition: nobody, epoch: LeaderEpoch(0), ..end };
    [
        vec![frame(FrameKind::Checkpoint, 0, &checkpoint().encode(samples::tp())), (end, payload)],
        vec![
            frame(FrameKind::EpochStart, 0, &encode_incarnation(Incarnation(2))),
            batch_frame(false),
            frame(FrameKind::Trim, 5, b""),
            batch_frame(true),
            frame(FrameKind::Truncate, 9, b""),
        ],
    ]
}

fn put_group(file: &mut [u8], position: u64, frames: &[Frame]) -> u64 {
    let bytes = GROUP_HEADER_BYTES as u64 + frames.iter().map(|(header, _)| header.bytes()).sum::<u64>();
    let header = GroupHeader { bytes, frames: frames.len() as u32, durable: position, previous_end: 12_288 };
    let mut at = position as usize;
    header.encode(SALT, position, file[at..].first_chunk_mut().unwrap());
    at += GROUP_HEADER_BYTES;
    for (header, payload) in frames {
        header.encode(SALT, at as u64, payload, file[at..].first_chunk_mut().unwrap());
        at += FRAME_HEADER_BYTES;
        file[at..at + payload.len()].copy_from_slice(payload);
        at += payload.len();
    }
    position + align_up(bytes)
}

/// The batch's entry: it stands behind the group's header and the epoch start.
fn entry() -> Entry {
    let (header, _) = batch_frame(false);
    Entry {
        base_offset: header.base_offset,
        max_timestamp: header.max_timestamp,
        append_time: header.append_time,
        position: (2 * BLOCK_BYTES + GROUP_HEADER_BYTES + FRAME_HEADER_BYTES + 4) as u32,
        payload_bytes: header.payload_bytes,
        count: header.count,
        epoch: header.epoch,
    }
}

fn written() -> Vec<u8> {
    let mut file = vec![0; FILE_BYTES as usize];
    let header = FileHeader { sequence: SEQUENCE, salt: SALT, file_bytes: 1 << 20 };
    header.encode(file.first_chunk_mut().unwrap());
    let mut position = BLOCK_BYTES as u64;
    for group in groups() {
        position = put_group(&mut file, position, &group);
    }
    let mut builder = FooterBuilder::new(SALT);
    builder.partition(samples::tp(), &[entry()]);
    builder.truncation(Truncation { partition: samples::tp(), end: Offset(9) });
    let trailer = Trailer {
        sequence: SEQUENCE,
        data_end: position,
        footer: position,
        spans: 0,
        truncations: 0,
        entries: 0,
        previous_end: 12_288,
        has_checkpoint: true,
    };
    let trailer_at = FILE_BYTES - BLOCK_BYTES as u64;
    let (footer, trailer_block) = file[position as usize..].split_at_mut((trailer_at - position) as usize);
    let (bytes, _) = builder.finish(trailer, trailer_at, trailer_block.first_chunk_mut().unwrap());
    footer[..bytes.len()].copy_from_slice(&bytes);
    file
}

#[test]
fn journal_file_writes_as_ever() {
    assert!(written() == GOLDEN);
}

#[test]
fn journal_file_reads_as_ever() {
    let header = FileHeader::decode(GOLDEN).unwrap();
    assert_eq!(header, FileHeader { sequence: SEQUENCE, salt: SALT, file_bytes: 1 << 20 });
    let mut position = BLOCK_BYTES as u64;
    for expected in groups() {
        let group = GroupHeader::decode(&GOLDEN[position as usize..], SALT, position).unwrap();
        assert_eq!((group.durable, group.previous_end), (position, 12_288));
        assert_eq!(group.frames as usize, expected.len());
        let mut at = position + GROUP_HEADER_BYTES as u64;
        for (header, payload) in &expected {
            let (found, batch, body) = FrameHeader::verify(&GOLDEN[at as usize..], SALT, at).unwrap();
            assert_eq!((&found, body), (header, &payload[..]));
            assert_eq!(batch.is_some(), header.kind == FrameKind::Batch);
            at += found.bytes();
        }
        position += group.padded_bytes();
    }
    let (_, state) = &groups()[0][0];
    assert_eq!(PartitionCheckpoint::decode(state, samples::tp()).unwrap(), checkpoint());
}

#[test]
fn journal_footer_reads_as_ever() {
    let trailer_at = FILE_BYTES - BLOCK_BYTES as u64;
    let trailer_block = &GOLDEN[trailer_at as usize..];
    let trailer = Trailer::peek(trailer_block, FILE_BYTES).unwrap();
    let directory = &GOLDEN[trailer.footer as usize..];
    let footer = Footer::decode(trailer_block, directory, SALT, trailer_at).unwrap();
    assert!(footer.trailer.has_checkpoint);
    assert_eq!(footer.truncations, [Truncation { partition: samples::tp(), end: Offset(9) }]);
    let [span] = &footer.spans[..] else { panic!("one span") };
    let entries = &GOLDEN[trailer.entry_position(span.first_entry) as usize..];
    assert_eq!(read_entries(span, SALT, entries).unwrap(), [entry()]);
}

const SLOTS: [ExtentSlot; 2] = [
    ExtentSlot { generation: 3, extent: Extent { first: 2, last: 9 } },
    ExtentSlot { generation: 2, extent: Extent { first: 2, last: 8 } },
];

#[test]
fn journal_extent_is_written_and_read_as_ever() {
    let mut written = vec![0; EXTENT_FILE_BYTES];
    for (slot, block) in SLOTS.iter().zip(written.chunks_mut(BLOCK_BYTES)) {
        slot.encode(block.first_chunk_mut().unwrap());
    }
    assert!(written == GOLDEN_EXTENT);
    let read: Vec<_> = GOLDEN_EXTENT.chunks(BLOCK_BYTES).map(ExtentSlot::decode).collect();
    assert_eq!(read, SLOTS.map(Ok));
}
