//! A segment: an immutable run of one partition's batches in the bucket.
//!
//! ```text
//!  0          80                                                    bytes-40      bytes
//!  ┌──────────┬─────────┬─────────┬─ … ─┬─────────┬───────────────────┬───────────┐
//!  │ header   │ block   │ block   │     │ block   │ index             │ footer    │
//!  │ 80 bytes │ ~1 MiB  │ ~1 MiB  │     │         │ (envelope)        │ 40 bytes  │
//!  └──────────┴─────────┴─────────┴─ … ─┴─────────┴───────────────────┴───────────┘
//! ```
//!
//! The blocks are nothing but whole record batches, one after the other: the bytes between header
//! and index are a log file as any Kafka tool reads it. The index says where each block lies and
//! what it holds. Reading the footer, then the index, opens a segment; whoever knows the size of the
//! two together (a manifest entry does) opens it with one read. One more reads any block.
//!
//! This module turns batches into those bytes and back. It does no I/O and holds no record: an
//! encoder only sees batches pass.

mod encode;
mod footer;
mod header;
mod index;

#[cfg(test)]
mod tests;

use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, ProducerId, TimestampMs, TopicPartition};

use crate::key::ObjectKey;

pub use encode::{Closing, Finished, Gaps, SegmentEncoder, SegmentError, SegmentOptions};
pub use footer::{FOOTER_BYTES, Footer, read_footer};
pub use header::{HEADER_BYTES, read_header};
pub use index::{BlockError, SegmentIndex, check_block, open_tail, read_index};

/// A block is closed before it grows past this, unless a single batch is larger.
pub const BLOCK_BYTES: usize = 1024 * 1024;

/// Largest block that a reader accepts: one batch of the largest size.
pub const BLOCK_BYTES_MAX: usize = tidelog_model::limits::BATCH_BYTES_MAX;

/// Largest index that is written or read.
pub const INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Which segment a header or an index belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentIdentity {
    pub tp: TopicPartition,
    /// Incarnation and epoch of the leader that wrote it.
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// First offset that the segment covers.
    pub first_offset: Offset,
    pub id: ObjectId,
}

impl SegmentIdentity {
    pub fn key(&self) -> ObjectKey {
        ObjectKey::Segment {
            tp: self.tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            offset: self.first_offset,
            id: self.id,
        }
    }
}

/// What a manifest records of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    pub id: ObjectId,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    pub first_offset: Offset,
    /// Last offset that the segment covers, whether or not a record is left there.
    pub last_offset: Offset,
    /// Base timestamp of its first batch.
    pub first_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    /// Size of the object.
    pub bytes: u64,
    /// Size of index and footer together: one read of so many bytes at the end opens the segment.
    pub tail_bytes: u32,
    pub records: u64,
    /// When it was written, by the writer's clock.
    pub created: TimestampMs,
}

impl SegmentEntry {
    pub fn next_offset(&self) -> Offset {
        self.last_offset + 1
    }

    pub fn identity(&self, tp: TopicPartition) -> SegmentIdentity {
        SegmentIdentity {
            tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            first_offset: self.first_offset,
            id: self.id,
        }
    }

    pub fn key(&self, tp: TopicPartition) -> ObjectKey {
        self.identity(tp).key()
    }
}

/// One block, as the index describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// Smallest base timestamp of the block's batches. A record may still be older than its batch's
    /// first one.
    pub min_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    /// Where the block starts in the object.
    pub position: u64,
    pub bytes: u32,
    pub crc: u32,
    pub batches: u32,
    pub records: u32,
}

impl BlockEntry {
    /// The block's bytes in the object.
    pub fn range(&self) -> std::ops::Range<u64> {
        self.position..self.position + u64::from(self.bytes)
    }
}

/// A transaction that was aborted, as in Kafka's transaction index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// Offset of the abort marker.
    pub last_offset: Offset,
    /// The last stable offset when the marker was appended.
    pub last_stable_offset: Offset,
}
