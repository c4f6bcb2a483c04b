//! The 61 bytes in front of every batch: where each field lies, and a checked view of them.

use tidelog_model::limits::{BATCH_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use tidelog_model::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TimestampType,
};

use super::error::BatchError;

/// Bytes of a batch before its first record.
pub const HEADER_BYTES: usize = 61;

/// The base offset and the length, which the length does not count.
pub(crate) const PREFIX_BYTES: usize = 12;

/// The format version that this module speaks.
pub(crate) const MAGIC: i8 = 2;

/// Where each field starts.
pub(crate) mod at {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const LENGTH: usize = 8;
    pub(crate) const LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    /// The first byte that the CRC covers.
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
}

const _: () = assert!(at::RECORD_COUNT + 4 == HEADER_BYTES);
const _: () = assert!(at::LEADER_EPOCH == PREFIX_BYTES);

const CODEC_MASK: u16 = 0x07;
const APPEND_TIME_BIT: u16 = 0x08;
const TRANSACTIONAL_BIT: u16 = 0x10;
const CONTROL_BIT: u16 = 0x20;
const DELETE_HORIZON_BIT: u16 = 0x40;

/// A batch's attribute bits. Bits that Kafka has not given a meaning are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(u16);

impl Attributes {
    /// The attributes with these bits, provided they name a codec that exists.
    pub fn from_bits(bits: u16) -> Result<Self, BatchError> {
        let code = (bits & CODEC_MASK) as u8;
        match Compression::from_code(code) {
            Some(_) => Ok(Self(bits)),
            None => Err(BatchError::UnknownCodec(code)),
        }
    }

    pub fn bits(self) -> u16 {
        self.0
    }

    pub fn compression(self) -> Compression {
        Compression::from_code((self.0 & CODEC_MASK) as u8).expect("checked by from_bits")
    }

    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & APPEND_TIME_BIT == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL_BIT != 0
    }

    /// The batch holds a transaction marker, which is no record of a user's.
    pub fn is_control(self) -> bool {
        self.0 & CONTROL_BIT != 0
    }

    /// The base timestamp is the time after which tombstones may go (compaction sets it).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON_BIT != 0
    }

    #[must_use]
    pub fn with_compression(self, codec: Compression) -> Self {
        Self(self.0 & !CODEC_MASK | codec as u16)
    }

    #[must_use]
    pub fn with_append_time(self) -> Self {
        Self(self.0 | APPEND_TIME_BIT)
    }

    #[must_use]
    pub fn with_transactional(self) -> Self {
        Self(self.0 | TRANSACTIONAL_BIT)
    }

    #[must_use]
    pub fn with_control(self) -> Self {
        Self(self.0 | CONTROL_BIT)
    }
}

/// A batch's header. Fields have Kafka's meanings; every value has been checked for range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Size of the whole batch, this header and its 12-byte prefix included.
    pub batch_bytes: usize,
    /// Meaningful once a leader has assigned it; a client's -1 ("none") reads as 0.
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: u32,
    pub base_timestamp: TimestampMs,
    pub max_timestamp: TimestampMs,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    /// How many records the batch holds; fewer than its offsets span after compaction.
    pub record_count: u32,
}

impl BatchHeader {
    pub fn last_offset(&self) -> Offset {
        self.base_offset + u64::from(self.last_offset_delta)
    }

    /// The offset after the batch's last.
    pub fn next_offset(&self) -> Offset {
        self.last_offset() + 1
    }

    pub fn compression(&self) -> Compression {
        self.attributes.compression()
    }

    pub fn is_idempotent(&self) -> bool {
        self.producer_id.is_some()
    }

    /// The sequence of the last record; meaningful when the batch is idempotent.
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.advance(self.last_offset_delta)
    }

    /// What a batch must be to be appended for a producer: it has records, one for each offset it
    /// spans, it is no control batch, and it is numbered if and only if it names a producer.
    pub fn check_produced(&self) -> Result<(), BatchError> {
        let problem = if self.record_count == 0 {
            "it holds no record"
        } else if self.last_offset_delta + 1 != self.record_count {
            "its offsets and its records differ in number"
        } else if self.attributes.is_control() {
            "a producer cannot send control batches"
        } else if self.attributes.has_delete_horizon() {
            "a producer cannot set a delete horizon"
        } else if self.is_idempotent() && (self.base_sequence.0 < 0 || self.producer_epoch.0 < 0) {
            "it names a producer but no epoch or no sequence"
        } else if !self.is_idempotent() && self.attributes.is_transactional() {
            "it is transactional but names no producer"
        } else {
            return Ok(());
        };
        Err(BatchError::Header(problem))
    }
}

fn bytes_at<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a field inside the header")
}

fn i32_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_be_bytes(bytes_at(bytes, at))
}

fn i64_at(bytes: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(bytes_at(bytes, at))
}

/// Reads the first 61 bytes of `bytes` without copying anything: every field in range, though the
/// batch itself may reach past the end of `bytes` and its checksum has not been looked at.
pub fn header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>() else {
        return Err(BatchError::Truncated { needed: HEADER_BYTES, present: bytes.len() });
    };
    let magic = head[at::MAGIC] as i8;
    if magic != MAGIC {
        return Err(BatchError::UnsupportedMagic(magic));
    }
    let batch_bytes = usize::try_from(i32_at(head, at::LENGTH))
        .ok()
        .and_then(|length| length.checked_add(PREFIX_BYTES))
        .filter(|&bytes| bytes >= HEADER_BYTES)
        .ok_or(BatchError::Header("its length is impossible"))?;
    if batch_bytes > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge { bytes: batch_bytes, max: BATCH_BYTES_MAX });
    }
    let attributes = Attributes::from_bits(u16::from_be_bytes(bytes_at(head, at::ATTRIBUTES)))?;
    let base_offset = Offset::from_wire(i64_at(head, at::BASE_OFFSET))
        .ok_or(BatchError::Header("its base offset is negative"))?;
    let last_offset_delta = u32::try_from(i32_at(head, at::LAST_OFFSET_DELTA))
        .map_err(|_| BatchError::Header("its last offset delta is negative"))?;
    let record_count = u32::try_from(i32_at(head, at::RECORD_COUNT))
        .map_err(|_| BatchError::Header("its record count is negative"))?;
    if record_count as usize > RECORDS_PER_BATCH_MAX {
        return Err(BatchError::TooManyRecords);
    }
    if u64::from(record_count) > u64::from(last_offset_delta) + 1 {
        return Err(BatchError::Header("it holds more records than it spans offsets"));
    }
    if base_offset.checked_add(u64::from(last_offset_delta) + 1).is_none() {
        return Err(BatchError::Header("its offsets pass the largest there is"));
    }
    Ok(BatchHeader {
        base_offset,
        batch_bytes,
        leader_epoch: LeaderEpoch(u32::try_from(i32_at(head, at::LEADER_EPOCH)).unwrap_or(0)),
        crc: u32::from_be_bytes(bytes_at(head, at::CRC)),
        attributes,
        last_offset_delta,
        base_timestamp: TimestampMs(i64_at(head, at::BASE_TIMESTAMP)),
        max_timestamp: TimestampMs(i64_at(head, at::MAX_TIMESTAMP)),
        producer_id: ProducerId(i64_at(head, at::PRODUCER_ID)),
        producer_epoch: ProducerEpoch(i16::from_be_bytes(bytes_at(head, at::PRODUCER_EPOCH))),
        base_sequence: Sequence(i32_at(head, at::BASE_SEQUENCE)),
        record_count,
    })
}
