//! A commit group: what one write and one sync made durable together.
//!
//! ```text
//!   0 magic         u32 "TGRP"
//!   4 checksum      u32 of salt, position and the 56 bytes from 8 on
//!   8 bytes         u64 this header and the frames, without the padding
//!  16 frames        u32
//!  20 flags         u32 0
//!  24 durable       u64 the position up to which this file was durable when the group was written
//!  32 previous_end  u64 where the groups of the file before this one end; 0 in the first file
//!  40 reserved      24  0
//! ```

use super::{BLOCK_BYTES, FormatError, Salt, align_up, first, put, u32_at, u64_at};

/// Bytes before the first frame.
pub const GROUP_HEADER_BYTES: usize = 64;

const MAGIC: u32 = u32::from_be_bytes(*b"TGRP");
const WHAT: &str = "group header";

/// The header of a commit group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    /// Bytes of the group, this header included, its padding not.
    pub bytes: u64,
    pub frames: u32,
    /// Everything in this file before this position was synced before the group was written.
    pub durable: u64,
    /// Where the groups of the preceding file end. All of it was synced before this file's first group.
    pub previous_end: u64,
}

impl GroupHeader {
    pub fn encode(&self, salt: Salt, position: u64, out: &mut [u8; GROUP_HEADER_BYTES]) {
        out.fill(0);
        put(out, 0, &MAGIC.to_be_bytes());
        put(out, 8, &self.bytes.to_be_bytes());
        put(out, 16, &self.frames.to_be_bytes());
        put(out, 24, &self.durable.to_be_bytes());
        put(out, 32, &self.previous_end.to_be_bytes());
        let checksum = salt.checksum_at(position).with(&out[8..]).finish();
        put(out, 4, &checksum.to_be_bytes());
    }

    /// The header at `position`, which `bytes` begin with.
    pub fn decode(bytes: &[u8], salt: Salt, position: u64) -> Result<Self, FormatError> {
        let head = first::<GROUP_HEADER_BYTES>(WHAT, bytes)?;
        if u32_at(head, 0) != MAGIC {
            return Err(FormatError::Magic(WHAT));
        }
        if u32_at(head, 4) != salt.checksum_at(position).with(&head[8..]).finish() {
            return Err(FormatError::Checksum(WHAT));
        }
        let header = Self {
            bytes: u64_at(head, 8),
            frames: u32_at(head, 16),
            durable: u64_at(head, 24),
            previous_end: u64_at(head, 32),
        };
        if header.bytes < GROUP_HEADER_BYTES as u64 || header.bytes > u64::from(u32::MAX) {
            return Err(FormatError::Invalid { what: WHAT, reason: "its length is impossible" });
        }
        if u32_at(head, 20) != 0 {
            return Err(FormatError::Invalid { what: WHAT, reason: "its flags are not known" });
        }
        if header.durable > position {
            return Err(FormatError::Invalid { what: WHAT, reason: "it claims durable what comes after it" });
        }
        Ok(header)
    }

    /// What the group takes up in the file.
    pub fn padded_bytes(&self) -> u64 {
        align_up(self.bytes)
    }
}

const _: () = assert!(BLOCK_BYTES.is_multiple_of(GROUP_HEADER_BYTES));
