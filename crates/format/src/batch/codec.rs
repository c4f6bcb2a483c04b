//! The codecs of a batch's records. Decompression is bounded before it allocates: what a hostile
//! batch claims about its size is never believed.

use std::io::{self, Read, Write};

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_model::Compression;
use tidelog_model::limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX, DECOMPRESSION_RATIO_MAX};

use super::error::BatchError;
use super::snappy;

/// How much of a stream is decompressed between two looks at the bound.
const CHUNK_BYTES: usize = 64 * 1024;

/// Kafka's defaults.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;

/// What `compressed` bytes may expand to. What would fit a batch uncompressed always passes; beyond
/// that the ratio must be one that real data reaches.
pub(crate) fn expanded_max(compressed: usize) -> usize {
    compressed.saturating_mul(DECOMPRESSION_RATIO_MAX).clamp(BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX)
}

/// The records in `data`, decompressed; `data` itself when there is no codec.
pub(crate) fn decompress(codec: Compression, data: &Bytes) -> Result<Bytes, BatchError> {
    decompress_within(codec, data, expanded_max(data.len()))
}

pub(crate) fn decompress_within(codec: Compression, data: &Bytes, max: usize) -> Result<Bytes, BatchError> {
    let read = match codec {
        Compression::None => return Ok(data.clone()),
        Compression::Snappy => return snappy::decompress(data, max),
        Compression::Gzip => read_bounded(flate2::read::MultiGzDecoder::new(&data[..]), data.len(), max),
        Compression::Lz4 => read_bounded(lz4_flex::frame::FrameDecoder::new(&data[..]), data.len(), max),
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(&data[..])
            .and_then(|decoder| read_bounded(decoder, data.len(), max)),
    };
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(BatchError::Expands { codec, max }),
        Err(error) => Err(BatchError::Codec { codec, reason: error.to_string() }),
    }
}

/// Everything that `reader` gives, or `None` when that is more than `max` bytes.
fn read_bounded(mut reader: impl Read, compressed: usize, max: usize) -> io::Result<Option<Bytes>> {
    let mut out = BytesMut::with_capacity((compressed * 3).clamp(CHUNK_BYTES, max));
    loop {
        let filled = out.len();
        if filled > max {
            return Ok(None);
        }
        // Reading one byte past the bound tells a stream that ends there from one that goes on.
        let room = CHUNK_BYTES.max(out.capacity() - filled).min(max + 1 - filled);
        out.resize(filled + room, 0);
        let count = reader.read(&mut out[filled..])?;
        out.truncate(filled + count);
        if count == 0 {
            return Ok(Some(out.freeze()));
        }
    }
}

/// Appends `records`, compressed, to `out`.
pub(crate) fn compress(codec: Compression, records: &[u8], out: &mut BytesMut) -> Result<(), BatchError> {
    let written: io::Result<()> = match codec {
        Compression::None => {
            out.extend_from_slice(records);
            Ok(())
        }
        Compression::Snappy => {
            snappy::compress(records, out);
            Ok(())
        }
        Compression::Gzip => {
            let level = flate2::Compression::new(GZIP_LEVEL);
            let mut encoder = flate2::write::GzEncoder::new(out.writer(), level);
            encoder.write_all(records).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Lz4 => {
            // Kafka's own clients write independent blocks of 64 KiB, and some readers know no other.
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out.writer());
            encoder.write_all(records).and_then(|()| encoder.finish().map(drop).map_err(io::Error::other))
        }
        Compression::Zstd => zstd::stream::write::Encoder::new(out.writer(), ZSTD_LEVEL)
            .and_then(|mut encoder| encoder.write_all(records).and_then(|()| encoder.finish().map(drop))),
    };
    written.map_err(|error| BatchError::Codec { codec, reason: error.to_string() })
}
