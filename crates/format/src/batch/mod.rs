//! Kafka's record batch, version 2: what travels on the wire and lies in the journal, in segments and
//! in caches. The server reads headers and checks checksums; only clients look at records.
//!
//! ```text
//!  0 base_offset        i64  ┐ assigned by the leader, outside the checksum
//!  8 length             i32  │ of everything from byte 12 on
//! 12 leader_epoch       i32  ┘
//! 16 magic              i8   2
//! 17 crc                u32  CRC-32C of everything from byte 21 on
//! 21 attributes         i16  bits 0-2 codec, 3 append time, 4 transactional, 5 control, 6 delete horizon
//! 23 last_offset_delta  i32
//! 27 base_timestamp     i64
//! 35 max_timestamp      i64
//! 43 producer_id        i64  -1: not idempotent
//! 51 producer_epoch     i16
//! 53 base_sequence      i32
//! 57 record_count       i32
//! 61 records                 compressed as one when there is a codec
//! ```
//!
//! Numbers are big-endian. `docs/formats/record-batch.md` has the rest.

mod builder;
mod codec;
mod error;
mod header;
mod patch;
mod record;
mod run;
mod snappy;
mod varint;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use tidelog_model::{Offset, TimestampMs};

pub use builder::{BatchBuilder, BatchOptions};
pub use error::BatchError;
pub use header::{Attributes, BatchHeader, HEADER_BYTES, header};
pub use patch::{assign, recompress, stamp_append_time, stamp_producer};
pub use record::{Header, HeaderRef, RECORD_BYTES_SPREAD, Record, Records, record_bytes};
pub use run::{Batches, split};

use crate::checksum::crc32c;

/// Checks that `bytes` are exactly one batch whose checksum is right, and returns its header.
pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = exactly_one(bytes)?;
    let computed = crc32c(&bytes[header::at::ATTRIBUTES..]);
    if computed == header.crc {
        Ok(header)
    } else {
        Err(BatchError::Checksum { stored: header.crc, computed })
    }
}

/// The header of `bytes`, which must be one whole batch.
fn exactly_one(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = header(bytes)?;
    match bytes.len().checked_sub(header.batch_bytes) {
        Some(0) => Ok(header),
        Some(extra) => Err(BatchError::TrailingBytes { extra }),
        None => Err(BatchError::Truncated { needed: header.batch_bytes, present: bytes.len() }),
    }
}

/// One whole batch: its header is sound, its checksum has not been looked at. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// The batch that `bytes` are, no more and no less.
    pub fn parse(bytes: Bytes) -> Result<Self, BatchError> {
        let header = exactly_one(&bytes)?;
        Ok(Self { header, bytes })
    }

    pub fn header(&self) -> BatchHeader {
        self.header
    }

    /// Checks the checksum.
    pub fn verify(&self) -> Result<(), BatchError> {
        verify(&self.bytes).map(drop)
    }

    /// The records, decompressed if need be; one by one they may still turn out damaged.
    pub fn records(&self) -> Result<Records, BatchError> {
        let data = codec::decompress(self.header.compression(), &self.bytes.slice(HEADER_BYTES..))?;
        Records::new(self.header, data)
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn base_offset(&self) -> Offset {
        self.header.base_offset
    }

    pub fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    pub fn max_timestamp(&self) -> TimestampMs {
        self.header.max_timestamp
    }

    pub fn record_count(&self) -> u32 {
        self.header.record_count
    }
}
