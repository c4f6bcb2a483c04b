//! The last 40 bytes of a segment: where its index is.
//!
//! ```text
//!  0 magic "TIDESEND" 8 │ 8 version u16 │ 10 flags u16 = 0 │ 12 index bytes u32
//!  16 index position u64 │ 24 segment bytes u64 │ 32 reserved u32 │ 36 CRC-32C of bytes 0..36 u32
//! ```

use std::ops::Range;

use bytes::{BufMut, BytesMut};

use super::header::VERSION;
use super::{HEADER_BYTES, INDEX_BYTES_MAX};
use crate::checksum::crc32c;
use crate::cursor::Cursor;
use crate::object::DecodeError;

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 40;

const WHAT: &str = "segment footer";
const MAGIC: [u8; 8] = *b"TIDESEND";

/// Where the index of a segment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    pub index_position: u64,
    pub index_bytes: u32,
    /// Size of the whole object.
    pub segment_bytes: u64,
}

impl Footer {
    /// The index's bytes in the object.
    pub fn index_range(&self) -> Range<u64> {
        self.index_position..self.index_position + u64::from(self.index_bytes)
    }

    /// Size of index and footer together.
    pub fn tail_bytes(&self) -> u32 {
        self.index_bytes + FOOTER_BYTES as u32
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u32(self.index_bytes);
        out.put_u64(self.index_position);
        out.put_u64(self.segment_bytes);
        out.put_u32(0);
        let crc = crc32c(&out[start..]);
        out.put_u32(crc);
        debug_assert_eq!(out.len() - start, FOOTER_BYTES);
    }
}

/// Reads the footer from a segment's last [`FOOTER_BYTES`] bytes (more before them may be there).
/// `segment_bytes` is the size of the object, so that a cut one is noticed.
pub fn read_footer(end: &[u8], segment_bytes: u64) -> Result<Footer, DecodeError> {
    let Some((_, bytes)) = end.split_last_chunk::<FOOTER_BYTES>() else {
        return Err(DecodeError::Truncated { what: WHAT, needed: FOOTER_BYTES, have: end.len() });
    };
    let mut cursor = Cursor::new(WHAT, bytes);
    let magic = cursor.array::<8>()?;
    if magic != MAGIC {
        return Err(DecodeError::Magic { what: WHAT, found: magic });
    }
    let (covered, stored) = bytes.split_at(FOOTER_BYTES - 4);
    let stored = u32::from_be_bytes(stored.try_into().expect("four bytes"));
    let computed = crc32c(covered);
    if stored != computed {
        return Err(DecodeError::Checksum { what: WHAT, stored, computed });
    }
    let version = cursor.u16()?;
    if version != VERSION {
        return Err(DecodeError::Version { what: WHAT, found: version, supported: VERSION });
    }
    let flags = cursor.u16()?;
    if flags != 0 {
        return Err(DecodeError::Flags { what: WHAT, found: flags });
    }
    let footer =
        Footer { index_bytes: cursor.u32()?, index_position: cursor.u64()?, segment_bytes: cursor.u64()? };
    if footer.segment_bytes != segment_bytes {
        return Err(DecodeError::Length {
            what: "segment",
            stated: footer.segment_bytes,
            have: segment_bytes,
        });
    }
    let end = footer.index_position.checked_add(u64::from(footer.index_bytes) + FOOTER_BYTES as u64);
    if end != Some(segment_bytes) || footer.index_position < HEADER_BYTES as u64 {
        return Err(cursor.invalid("the index", "does not lie between blocks and footer"));
    }
    if footer.index_bytes as usize > INDEX_BYTES_MAX {
        return Err(cursor.invalid("the index", "is larger than 64 MiB"));
    }
    Ok(footer)
}
