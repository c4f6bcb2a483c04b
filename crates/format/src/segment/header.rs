//! The first 80 bytes of a segment.
//!
//! ```text
//!  0 magic "TIDESEGM" 8 │ 8 version u16 │ 10 flags u16 = 0 │ 12 header bytes u32 = 80
//!  16 topic 16 │ 32 partition u32 │ 36 incarnation u32 │ 40 epoch u32 │ 44 reserved u32
//!  48 first offset u64 │ 56 object id 16 │ 72 reserved u32 │ 76 CRC-32C of bytes 0..76 u32
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::SegmentIdentity;
use crate::checksum::crc32c;
use crate::cursor::{Cursor, put_topic_partition};
use crate::object::DecodeError;

/// Bytes of a segment before its first block.
pub const HEADER_BYTES: usize = 80;

const WHAT: &str = "segment header";
const MAGIC: [u8; 8] = *b"TIDESEGM";
pub(super) const VERSION: u16 = 1;

pub(super) fn write_header(identity: &SegmentIdentity) -> Bytes {
    let mut out = BytesMut::with_capacity(HEADER_BYTES);
    out.put_slice(&MAGIC);
    out.put_u16(VERSION);
    out.put_u16(0);
    out.put_u32(HEADER_BYTES as u32);
    put_identity(&mut out, identity);
    out.put_u32(0);
    out.put_u32(crc32c(&out));
    debug_assert_eq!(out.len(), HEADER_BYTES);
    out.freeze()
}

/// Reads a segment's first [`HEADER_BYTES`] bytes.
pub fn read_header(bytes: &[u8]) -> Result<SegmentIdentity, DecodeError> {
    let mut cursor = Cursor::new(WHAT, bytes);
    let mut header = cursor.sub(HEADER_BYTES)?;
    let magic = header.array::<8>()?;
    if magic != MAGIC {
        return Err(DecodeError::Magic { what: WHAT, found: magic });
    }
    let (covered, stored) = bytes[..HEADER_BYTES].split_at(HEADER_BYTES - 4);
    let stored = u32::from_be_bytes(stored.try_into().expect("four bytes"));
    let computed = crc32c(covered);
    if stored != computed {
        return Err(DecodeError::Checksum { what: WHAT, stored, computed });
    }
    let version = header.u16()?;
    if version != VERSION {
        return Err(DecodeError::Version { what: WHAT, found: version, supported: VERSION });
    }
    let flags = header.u16()?;
    if flags != 0 {
        return Err(DecodeError::Flags { what: WHAT, found: flags });
    }
    let stated = header.u32()?;
    if stated as usize != HEADER_BYTES {
        return Err(DecodeError::Length { what: WHAT, stated: stated.into(), have: HEADER_BYTES as u64 });
    }
    read_identity(&mut header)
}

/// 56 bytes that say whose segment this is; the index repeats them.
pub(super) fn put_identity(out: &mut impl BufMut, identity: &SegmentIdentity) {
    put_topic_partition(out, identity.tp);
    out.put_u32(identity.incarnation.0);
    out.put_u32(identity.epoch.0);
    out.put_u32(0);
    out.put_u64(identity.first_offset.0);
    out.put_slice(identity.id.as_bytes());
}

pub(super) fn read_identity(cursor: &mut Cursor<'_>) -> Result<SegmentIdentity, DecodeError> {
    let tp = cursor.topic_partition()?;
    let incarnation = cursor.incarnation()?;
    let epoch = cursor.epoch()?;
    cursor.skip(4)?;
    let first_offset = cursor.offset("the first offset")?;
    Ok(SegmentIdentity { tp, incarnation, epoch, first_offset, id: cursor.object_id()? })
}
