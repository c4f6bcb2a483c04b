//! Snappy as Kafka carries it. Java clients frame the blocks the way the xerial library does; others
//! send one raw block. Both are read, the framing is written.
//!
//! ```text
//! 82 53 4e 41 50 50 59 00   magic
//! 00 00 00 01               version
//! 00 00 00 01               oldest version that can read it
//! then for each block: length i32, one raw snappy block
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_model::Compression;

use super::error::BatchError;

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_VERSION: u32 = 1;
const XERIAL_HEADER_BYTES: usize = 16;

/// How much goes into one block (xerial's default).
const BLOCK_BYTES: usize = 32 * 1024;

/// A block's three-byte copy gives at most 64 bytes, so that no block expands further than this; a
/// claim beyond it is false and is refused before anything is allocated.
const BLOCK_RATIO_MAX: usize = 22;

fn damaged(reason: impl Into<String>) -> BatchError {
    BatchError::Codec { codec: Compression::Snappy, reason: reason.into() }
}

/// Appends `records` as a xerial stream.
pub(crate) fn compress(records: &[u8], out: &mut BytesMut) {
    out.put_slice(&XERIAL_MAGIC);
    out.put_u32(XERIAL_VERSION);
    out.put_u32(XERIAL_VERSION);
    let mut encoder = snap::raw::Encoder::new();
    for block in records.chunks(BLOCK_BYTES) {
        let start = out.len() + 4;
        out.resize(start + snap::raw::max_compress_len(block.len()), 0);
        let bytes = encoder.compress(block, &mut out[start..]).expect("a block is far below snappy's limit");
        out[start - 4..start].copy_from_slice(&(bytes as u32).to_be_bytes());
        out.truncate(start + bytes);
    }
}

/// The content of a xerial stream or of a raw block, at most `max` bytes.
pub(crate) fn decompress(data: &[u8], max: usize) -> Result<Bytes, BatchError> {
    let mut out = BytesMut::new();
    if !data.starts_with(&XERIAL_MAGIC) {
        append_block(data, max, &mut out)?;
        return Ok(out.freeze());
    }
    let mut rest = data;
    while !rest.is_empty() {
        // Streams may follow one another.
        if rest.starts_with(&XERIAL_MAGIC) {
            rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| damaged("its header is cut short"))?;
            continue;
        }
        let (length, after) =
            rest.split_first_chunk::<4>().ok_or_else(|| damaged("a block's length is cut short"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) =
            after.split_at_checked(length).ok_or_else(|| damaged("a block passes the end"))?;
        append_block(block, max, &mut out)?;
        rest = after;
    }
    Ok(out.freeze())
}

fn append_block(block: &[u8], max: usize, out: &mut BytesMut) -> Result<(), BatchError> {
    let claimed = snap::raw::decompress_len(block).map_err(|error| damaged(error.to_string()))?;
    if claimed > block.len().saturating_mul(BLOCK_RATIO_MAX) {
        return Err(damaged("a block claims a size it cannot have"));
    }
    let start = out.len();
    if claimed > max - start {
        return Err(BatchError::Expands { codec: Compression::Snappy, max });
    }
    out.resize(start + claimed, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(|error| damaged(error.to_string()))?;
    if written != claimed {
        return Err(damaged("a block gave another size than it claimed"));
    }
    Ok(())
}
