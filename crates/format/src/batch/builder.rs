//! Builds batches. A record is encoded once, straight into the buffer that becomes the batch; a codec
//! then works on that buffer once.

use bytes::BytesMut;
use tidelog_model::limits::{BATCH_BYTES_MAX, HEADERS_PER_RECORD_MAX, RECORDS_PER_BATCH_MAX};
use tidelog_model::{Compression, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use super::codec;
use super::error::BatchError;
use super::header::{Attributes, HEADER_BYTES, MAGIC, at};
use super::patch::{seal, set_length};
use super::record::{Fields, HeaderRef};

/// How a batch is built.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    pub compression: Compression,
    /// The idempotent producer: its id, its epoch, and the sequence of the batch's first record.
    pub producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    /// Bytes to set aside at the start.
    pub capacity: usize,
    pub transactional: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { compression: Compression::None, producer: None, capacity: 4096, transactional: false }
    }
}

/// A batch in the making. Its base offset is 0 and its leader epoch "none" until they are assigned.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    /// The header's room, then the records, uncompressed.
    buffer: BytesMut,
    record_count: u32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
}

impl BatchBuilder {
    pub fn new(options: BatchOptions) -> Self {
        Self::with_buffer(options, BytesMut::new())
    }

    /// Builds in the memory of `buffer`, whose content is dropped.
    pub fn with_buffer(options: BatchOptions, mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.reserve(options.capacity.max(HEADER_BYTES));
        buffer.resize(HEADER_BYTES, 0);
        let none = TimestampMs::NONE;
        Self { options, buffer, record_count: 0, base_timestamp: none, max_timestamp: none }
    }

    /// Adds a record and returns its place in the batch, counted from 0. On an error nothing is added.
    pub fn push(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> Result<u32, BatchError> {
        if self.record_count as usize == RECORDS_PER_BATCH_MAX {
            return Err(BatchError::TooManyRecords);
        }
        if headers.len() > HEADERS_PER_RECORD_MAX {
            return Err(BatchError::Record { index: self.record_count, reason: "it has too many headers" });
        }
        let base_timestamp = if self.record_count == 0 { timestamp } else { self.base_timestamp };
        let fields = Fields {
            timestamp_delta: timestamp.0.wrapping_sub(base_timestamp.0),
            offset_delta: self.record_count,
            key,
            value,
            headers,
        };
        let body_bytes = fields.body_bytes();
        let bytes = self.buffer.len().saturating_add(body_bytes).saturating_add(5);
        if bytes > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { bytes, max: BATCH_BYTES_MAX });
        }
        self.buffer.reserve(body_bytes + 5);
        fields.write(body_bytes, &mut self.buffer);
        self.base_timestamp = base_timestamp;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record_count += 1;
        Ok(self.record_count - 1)
    }

    /// Size of the batch as it stands, before compression.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    pub fn max_timestamp(&self) -> TimestampMs {
        self.max_timestamp
    }

    /// Names the producer and the sequence of the first record, any time before the end.
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, first: Sequence) {
        self.options.producer = Some((id, epoch, first));
    }

    /// The finished batch, checksum included. A codec that fails (it ran out of memory) leaves the
    /// records as they are: a batch without compression is as good.
    pub fn finish(self) -> BytesMut {
        let (codec, mut bytes) = match self.options.compression {
            Compression::None => (Compression::None, self.buffer),
            codec => match compressed(codec, &self.buffer) {
                Ok(bytes) => (codec, bytes),
                Err(_) => (Compression::None, self.buffer),
            },
        };
        let mut attributes = Attributes::default().with_compression(codec);
        if self.options.transactional {
            attributes = attributes.with_transactional();
        }
        let (id, epoch, sequence) =
            self.options.producer.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE));
        let last_offset_delta = self.record_count.saturating_sub(1);
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(at::BASE_OFFSET, &0_i64.to_be_bytes());
        put(at::LEADER_EPOCH, &(-1_i32).to_be_bytes());
        put(at::MAGIC, &MAGIC.to_be_bytes());
        put(at::ATTRIBUTES, &attributes.bits().to_be_bytes());
        put(at::LAST_OFFSET_DELTA, &last_offset_delta.to_be_bytes());
        put(at::BASE_TIMESTAMP, &self.base_timestamp.0.to_be_bytes());
        put(at::MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes());
        put(at::PRODUCER_ID, &id.0.to_be_bytes());
        put(at::PRODUCER_EPOCH, &epoch.0.to_be_bytes());
        put(at::BASE_SEQUENCE, &sequence.0.to_be_bytes());
        put(at::RECORD_COUNT, &self.record_count.to_be_bytes());
        set_length(&mut bytes);
        seal(&mut bytes);
        bytes
    }
}

/// The header's room and the compressed records behind it.
fn compressed(codec: Compression, buffer: &[u8]) -> Result<BytesMut, BatchError> {
    let records = &buffer[HEADER_BYTES..];
    let mut out = BytesMut::with_capacity(HEADER_BYTES + records.len() / 2 + 64);
    out.resize(HEADER_BYTES, 0);
    codec::compress(codec, records, &mut out)?;
    Ok(out)
}
