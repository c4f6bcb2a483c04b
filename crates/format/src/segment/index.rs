//! The index of a segment, and the check of a block against it.
//!
//! ```text
//!  envelope "TIDESIDX" version 1 (see `object`)
//!  section 1, required, the segment (112 bytes):
//!     topic 16 │ partition u32 │ incarnation u32 │ epoch u32 │ reserved u32 │ first offset u64
//!     │ object id 16 │ last offset u64 │ first timestamp i64 │ max timestamp i64 │ records u64
//!     │ batches u64 │ created i64 │ blocks end u64
//!  section 2, required, table of blocks, 56 bytes each:
//!     first offset u64 │ last offset u64 │ min timestamp i64 │ max timestamp i64 │ position u64
//!     │ bytes u32 │ CRC-32C u32 │ batches u32 │ records u32
//!  section 3, required, table of epochs, 16 bytes each: incarnation u32 │ epoch u32 │ start u64
//!  section 4, required, table of aborted transactions, 32 bytes each:
//!     producer id i64 │ first offset u64 │ last offset u64 │ last stable offset u64
//!  table head: entry bytes u16 │ 0 u16 │ entries u32
//! ```

use std::ops::Range;

use bytes::{BufMut, Bytes};
use thiserror::Error;
use tidelog_model::{Offset, ProducerId, TimestampMs, TopicPartition};

use super::footer::{FOOTER_BYTES, Footer, read_footer};
use super::header::{put_identity, read_identity};
use super::{AbortedTransaction, BLOCK_BYTES_MAX, BlockEntry, HEADER_BYTES, SegmentEntry, SegmentIdentity};
use crate::batch::{self, BatchError};
use crate::checksum::crc32c;
use crate::cursor::{Cursor, TABLE_HEAD_BYTES, put_table};
use crate::object::{CHECKSUM_BYTES, DecodeError, Kind, Object, ObjectWriter, SECTION_HEADER_BYTES};
use crate::state::{EPOCH_BYTES, EpochEntry, put_epochs, read_epochs};

const KIND: Kind = Kind { what: "segment index", magic: *b"TIDESIDX", version: 1 };

const SEGMENT: u16 = 1;
const BLOCKS: u16 = 2;
const EPOCHS: u16 = 3;
const ABORTED: u16 = 4;
const KNOWN: &[u16] = &[SEGMENT, BLOCKS, EPOCHS, ABORTED];

const SEGMENT_BYTES: usize = 112;
const BLOCK_ENTRY_BYTES: usize = 56;
const ABORTED_BYTES: usize = 32;

/// Everything a segment says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    pub identity: SegmentIdentity,
    /// Last offset that the segment covers.
    pub last_offset: Offset,
    /// Base timestamp of the first batch.
    pub first_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    pub records: u64,
    pub batches: u64,
    /// When it was written, by the writer's clock.
    pub created: TimestampMs,
    /// Where the last block ends.
    pub blocks_end: u64,
    pub blocks: Vec<BlockEntry>,
    /// The leader epochs that the segment spans, with where each starts.
    pub epochs: Vec<EpochEntry>,
    /// All aborted transactions that overlap the segment, in the order of their markers.
    pub aborted: Vec<AbortedTransaction>,
}

impl SegmentIndex {
    /// The first block that holds `offset` or something later.
    pub fn block_at_offset(&self, offset: Offset) -> Option<usize> {
        let at = self.blocks.partition_point(|block| block.last_offset < offset);
        (at < self.blocks.len()).then_some(at)
    }

    /// The first block with a record of `timestamp` or later.
    pub fn block_at_timestamp(&self, timestamp: TimestampMs) -> Option<usize> {
        self.blocks.iter().position(|block| block.max_timestamp >= timestamp)
    }

    /// The aborted transactions that overlap `offsets`.
    pub fn aborted_in(&self, offsets: &Range<Offset>) -> impl Iterator<Item = &AbortedTransaction> {
        self.aborted.iter().filter(|t| t.first_offset < offsets.end && t.last_offset >= offsets.start)
    }

    /// What a manifest records of the segment; its size is known from elsewhere.
    pub fn entry(&self, bytes: u64) -> SegmentEntry {
        let tail_bytes = bytes.saturating_sub(self.blocks_end);
        SegmentEntry {
            id: self.identity.id,
            incarnation: self.identity.incarnation,
            epoch: self.identity.epoch,
            first_offset: self.identity.first_offset,
            last_offset: self.last_offset,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            bytes,
            tail_bytes: u32::try_from(tail_bytes).unwrap_or(u32::MAX),
            records: self.records,
            created: self.created,
        }
    }

    /// Checks that this is the index of the segment that a manifest names: another object in its
    /// place is as bad as a damaged one.
    pub fn check(&self, tp: TopicPartition, expected: &SegmentEntry) -> Result<(), DecodeError> {
        let found = self.identity.tp;
        if found != tp {
            return Err(DecodeError::OtherPartition { what: KIND.what, expected: tp, found });
        }
        if self.entry(expected.bytes) != *expected {
            return Err(invalid("the segment", "is not the one that the manifest describes"));
        }
        Ok(())
    }

    /// Bytes that the index takes when it is written.
    pub(super) fn encoded_bytes(blocks: usize, epochs: usize, aborted: usize) -> usize {
        crate::object::HEADER_BYTES
            + 4 * SECTION_HEADER_BYTES
            + 3 * TABLE_HEAD_BYTES
            + SEGMENT_BYTES
            + blocks * BLOCK_ENTRY_BYTES
            + epochs * EPOCH_BYTES
            + aborted * ABORTED_BYTES
            + CHECKSUM_BYTES
    }

    pub(super) fn write(&self) -> Bytes {
        let bytes = Self::encoded_bytes(self.blocks.len(), self.epochs.len(), self.aborted.len());
        let mut writer = ObjectWriter::new(KIND, bytes);
        writer.required(SEGMENT, |out| {
            put_identity(out, &self.identity);
            out.put_u64(self.last_offset.0);
            out.put_i64(self.first_timestamp.0);
            out.put_i64(self.max_timestamp.0);
            out.put_u64(self.records);
            out.put_u64(self.batches);
            out.put_i64(self.created.0);
            out.put_u64(self.blocks_end);
        });
        writer.required(BLOCKS, |out| {
            put_table(out, BLOCK_ENTRY_BYTES, 0, self.blocks.len());
            for block in &self.blocks {
                put_block(out, block);
            }
        });
        writer.required(EPOCHS, |out| put_epochs(out, &self.epochs));
        writer.required(ABORTED, |out| {
            put_table(out, ABORTED_BYTES, 0, self.aborted.len());
            for transaction in &self.aborted {
                out.put_i64(transaction.producer_id.0);
                out.put_u64(transaction.first_offset.0);
                out.put_u64(transaction.last_offset.0);
                out.put_u64(transaction.last_stable_offset.0);
            }
        });
        writer.finish()
    }
}

/// Opens a segment from its last bytes, index and footer included; `segment_bytes` is its size.
pub fn open_tail(tail: &[u8], segment_bytes: u64) -> Result<SegmentIndex, DecodeError> {
    let footer = read_footer(tail, segment_bytes)?;
    let Some(start) = tail.len().checked_sub(footer.tail_bytes() as usize) else {
        let needed = footer.tail_bytes() as usize;
        return Err(DecodeError::Truncated { what: "segment tail", needed, have: tail.len() });
    };
    read_index(&tail[start..tail.len() - FOOTER_BYTES], &footer)
}

/// Reads the index that `footer` located.
pub fn read_index(bytes: &[u8], footer: &Footer) -> Result<SegmentIndex, DecodeError> {
    let object = Object::open(KIND, bytes, KNOWN)?;
    let mut segment = object.required(SEGMENT)?;
    let index = SegmentIndex {
        identity: read_identity(&mut segment)?,
        last_offset: segment.offset("the last offset")?,
        first_timestamp: segment.timestamp()?,
        max_timestamp: segment.timestamp()?,
        records: segment.u64()?,
        batches: segment.u64()?,
        created: segment.timestamp()?,
        blocks_end: segment.u64()?,
        blocks: read_blocks(&mut object.required(BLOCKS)?)?,
        epochs: read_epochs(&mut object.required(EPOCHS)?)?,
        aborted: read_aborted(&mut object.required(ABORTED)?)?,
    };
    check_layout(&index, footer)?;
    Ok(index)
}

fn invalid(field: &'static str, reason: &'static str) -> DecodeError {
    DecodeError::Invalid { what: KIND.what, field, reason }
}

/// Blocks lie one behind the other, and their offsets ascend within what the segment covers.
fn check_layout(index: &SegmentIndex, footer: &Footer) -> Result<(), DecodeError> {
    if index.blocks_end != footer.index_position {
        return Err(invalid("the end of the blocks", "is not where the index starts"));
    }
    if index.identity.first_offset > index.last_offset {
        return Err(invalid("the first offset", "is above the last"));
    }
    let mut position = HEADER_BYTES as u64;
    let mut next = index.identity.first_offset;
    for block in &index.blocks {
        if block.position != position {
            return Err(invalid("a block", "does not start where the one before it ends"));
        }
        if block.first_offset < next || block.last_offset < block.first_offset {
            return Err(invalid("a block's offsets", "do not ascend"));
        }
        position += u64::from(block.bytes);
        next = block.last_offset + 1;
    }
    if position != index.blocks_end {
        return Err(invalid("the last block", "does not end where the index starts"));
    }
    if index.blocks.last().is_some_and(|block| block.last_offset > index.last_offset) {
        return Err(invalid("the last block", "reaches beyond the segment"));
    }
    Ok(())
}

fn put_block(out: &mut impl BufMut, block: &BlockEntry) {
    out.put_u64(block.first_offset.0);
    out.put_u64(block.last_offset.0);
    out.put_i64(block.min_timestamp.0);
    out.put_i64(block.max_timestamp.0);
    out.put_u64(block.position);
    out.put_u32(block.bytes);
    out.put_u32(block.crc);
    out.put_u32(block.batches);
    out.put_u32(block.records);
}

fn read_blocks(cursor: &mut Cursor<'_>) -> Result<Vec<BlockEntry>, DecodeError> {
    let table = cursor.table(BLOCK_ENTRY_BYTES)?;
    let mut blocks = Vec::with_capacity(table.count);
    for _ in 0..table.count {
        let mut entry = cursor.sub(table.entry_bytes)?;
        let block = BlockEntry {
            first_offset: entry.offset("a block's first offset")?,
            last_offset: entry.offset("a block's last offset")?,
            min_timestamp: entry.timestamp()?,
            max_timestamp: entry.timestamp()?,
            position: entry.u64()?,
            bytes: entry.u32()?,
            crc: entry.u32()?,
            batches: entry.u32()?,
            records: entry.u32()?,
        };
        if block.bytes as usize > BLOCK_BYTES_MAX {
            return Err(cursor.invalid("a block", "is larger than the largest batch"));
        }
        blocks.push(block);
    }
    Ok(blocks)
}

fn read_aborted(cursor: &mut Cursor<'_>) -> Result<Vec<AbortedTransaction>, DecodeError> {
    let table = cursor.table(ABORTED_BYTES)?;
    let mut aborted = Vec::with_capacity(table.count);
    for _ in 0..table.count {
        let mut entry = cursor.sub(table.entry_bytes)?;
        aborted.push(AbortedTransaction {
            producer_id: ProducerId(entry.i64()?),
            first_offset: entry.offset("an aborted transaction's first offset")?,
            last_offset: entry.offset("an aborted transaction's last offset")?,
            last_stable_offset: entry.offset("an aborted transaction's stable offset")?,
        });
    }
    Ok(aborted)
}

/// Why a block is not what the index says. All of them mean damage.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    #[error("the block at {position} has {have} bytes instead of {stated}")]
    Length { position: u64, stated: u32, have: usize },
    #[error(
        "the block at {position} is damaged: its checksum is {stored:08x} and its bytes give {computed:08x}"
    )]
    Checksum { position: u64, stored: u32, computed: u32 },
    #[error("the block at {position} holds a bad batch at {at}: {source}")]
    Batch { position: u64, at: usize, source: BatchError },
    #[error("the block at {position} holds other offsets than its index says")]
    Offsets { position: u64 },
}

/// Checks a block's bytes against its entry: length, checksum, and that it is a run of whole batches
/// of ascending offsets within the entry's. After it the bytes can be handed on as they are.
pub fn check_block(entry: &BlockEntry, bytes: &[u8]) -> Result<(), BlockError> {
    let position = entry.position;
    if bytes.len() != entry.bytes as usize {
        return Err(BlockError::Length { position, stated: entry.bytes, have: bytes.len() });
    }
    let computed = crc32c(bytes);
    if computed != entry.crc {
        return Err(BlockError::Checksum { position, stored: entry.crc, computed });
    }
    let mut at = 0;
    let mut next = entry.first_offset;
    while at < bytes.len() {
        let bad = |source| BlockError::Batch { position, at, source };
        let rest = &bytes[at..];
        let header = batch::header(rest).map_err(bad)?;
        if header.batch_bytes > rest.len() {
            return Err(bad(BatchError::Truncated { needed: header.batch_bytes, present: rest.len() }));
        }
        if header.base_offset < next || header.last_offset() > entry.last_offset {
            return Err(BlockError::Offsets { position });
        }
        next = header.next_offset();
        at += header.batch_bytes;
    }
    if next != entry.last_offset + 1 {
        return Err(BlockError::Offsets { position });
    }
    Ok(())
}
