//! The journal's files: what the bytes of the hot tier mean. No I/O.
//!
//! ```text
//!  0        4096                                     data end                footer       size-4096   size
//!  ┌────────┬───────┬───────┬───────┬─ … ─┬──────────┬─ … (zeros) ─┬─────────┬─ (zeros) ─┬─────────┐
//!  │ header │ group │ group │ group │     │ group    │             │ footer  │           │ trailer │
//!  └────────┴───────┴───────┴───────┴─ … ─┴──────────┴─────────────┴─────────┴───────────┴─────────┘
//!  group:   header 64 │ frame │ frame │ … │ zeros up to a multiple of 4096
//!  frame:   header 64 │ payload
//! ```
//!
//! Numbers are big-endian. Every checksum is a CRC-32C that begins with the file's random salt, and
//! those of groups and frames with their position too: what an earlier life of a recycled file left
//! behind, or what a disk put in the wrong place, passes for nothing. `docs/formats/journal.md` has
//! the rest.

mod extent;
mod file;
mod footer;
mod frame;
mod group;
mod payload;

#[cfg(test)]
mod tests;

pub use extent::{EXTENT_FILE_BYTES, EXTENT_SLOT_BYTES, Extent, ExtentSlot};
pub use file::{FILE_HEADER_BYTES, FileHeader};
pub use footer::{
    ENTRY_BYTES, Entry, Footer, FooterBuilder, SPAN_BYTES, Span, TRAILER_BYTES, TRUNCATION_BYTES, Trailer,
    Truncation, footer_bytes_max, read_entries,
};
pub use frame::{FRAME_HEADER_BYTES, FrameHeader, FrameKind};
pub use group::{GROUP_HEADER_BYTES, GroupHeader};
pub use payload::{CheckpointEnd, PartitionCheckpoint, decode_incarnation, encode_incarnation};

use thiserror::Error;

use crate::batch::BatchError;
use crate::checksum::{Crc32c, crc32c};
use crate::object::DecodeError;

/// What everything in a file is aligned to: the unit of direct I/O.
pub const BLOCK_BYTES: usize = 4096;

/// The format version that this module writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// `bytes` rounded up to whole blocks.
pub const fn align_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES as u64)
}

/// A file's random salt. Never used for two lives of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl Salt {
    /// The start of a checksum of something that may stand at one place of one file only.
    fn checksum_at(self, position: u64) -> Crc32c {
        Crc32c::resume(crc32c(&self.0)).with(&position.to_be_bytes())
    }
}

/// Why bytes of a journal file are not what they should be. All but [`FormatError::Version`] (which
/// asks for newer software) mean damage, or bytes that were never written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    #[error("no {0} here")]
    Magic(&'static str),
    #[error("a journal file of format version {found}; this software reads version {supported}")]
    Version { found: u16, supported: u16 },
    #[error("the checksum of the {0} is wrong")]
    Checksum(&'static str),
    #[error("the {what} is cut short: {needed} bytes needed, {have} there")]
    Truncated { what: &'static str, needed: usize, have: usize },
    #[error("{what}: {reason}")]
    Invalid { what: &'static str, reason: &'static str },
    #[error("the batch in the frame is damaged: {0}")]
    Batch(#[from] BatchError),
    #[error("the payload of the frame is damaged: {0}")]
    Payload(#[from] DecodeError),
}

fn first<'a, const N: usize>(what: &'static str, bytes: &'a [u8]) -> Result<&'a [u8; N], FormatError> {
    bytes.first_chunk().ok_or(FormatError::Truncated { what, needed: N, have: bytes.len() })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}
