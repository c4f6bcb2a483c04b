//! The changes a batch may undergo after it was built. Each works in place on a whole batch whose
//! header has been read; [`assign`] touches only what the checksum leaves out.

use bytes::BytesMut;
use tidelog_model::{Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use super::error::BatchError;
use super::header::{Attributes, HEADER_BYTES, PREFIX_BYTES, at, header};
use super::{Batch, codec};
use crate::checksum::crc32c;

fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    bytes[at..at + N].copy_from_slice(&value);
}

/// Sets the base offset and the leader epoch, which the checksum does not cover.
pub fn assign(bytes: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    assert!(bytes.len() >= HEADER_BYTES, "not a batch");
    put(bytes, at::BASE_OFFSET, base.to_wire().to_be_bytes());
    put(bytes, at::LEADER_EPOCH, epoch.0.to_be_bytes());
}

/// Gives every record of the batch the time of its append: sets the attribute bit, the maximum
/// timestamp and the checksum.
pub fn stamp_append_time(bytes: &mut [u8], now: TimestampMs) {
    assert!(bytes.len() >= HEADER_BYTES, "not a batch");
    let bits = u16::from_be_bytes([bytes[at::ATTRIBUTES], bytes[at::ATTRIBUTES + 1]]);
    if let Ok(attributes) = Attributes::from_bits(bits) {
        put(bytes, at::ATTRIBUTES, attributes.with_append_time().bits().to_be_bytes());
    }
    put(bytes, at::MAX_TIMESTAMP, now.0.to_be_bytes());
    seal(bytes);
}

/// Numbers the batch anew for a producer, and sets the checksum.
pub fn stamp_producer(bytes: &mut [u8], id: ProducerId, epoch: ProducerEpoch, first: Sequence) {
    assert!(bytes.len() >= HEADER_BYTES, "not a batch");
    put(bytes, at::PRODUCER_ID, id.0.to_be_bytes());
    put(bytes, at::PRODUCER_EPOCH, epoch.0.to_be_bytes());
    put(bytes, at::BASE_SEQUENCE, first.0.to_be_bytes());
    seal(bytes);
}

/// The same records under another codec: offsets, timestamps, producer and attributes stay.
pub fn recompress(batch: &Batch, codec: Compression) -> Result<BytesMut, BatchError> {
    let old = batch.header();
    if old.compression() == codec {
        return Ok(BytesMut::from(batch.as_bytes().as_ref()));
    }
    let records = codec::decompress(old.compression(), &batch.as_bytes().slice(HEADER_BYTES..))?;
    let mut out = BytesMut::with_capacity(HEADER_BYTES + records.len() / 2);
    out.extend_from_slice(&batch.as_bytes()[..HEADER_BYTES]);
    codec::compress(codec, &records, &mut out)?;
    put(&mut out, at::ATTRIBUTES, old.attributes.with_compression(codec).bits().to_be_bytes());
    set_length(&mut out);
    seal(&mut out);
    header(&out)?;
    Ok(out)
}

/// Writes the length that the batch has.
pub(crate) fn set_length(bytes: &mut [u8]) {
    let length = (bytes.len() - PREFIX_BYTES) as u32;
    put(bytes, at::LENGTH, length.to_be_bytes());
}

/// Writes the checksum of what it covers.
pub(crate) fn seal(bytes: &mut [u8]) {
    let crc = crc32c(&bytes[at::ATTRIBUTES..]);
    put(bytes, at::CRC, crc.to_be_bytes());
}
