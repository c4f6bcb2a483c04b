//! A frame: one batch, or one fact about a partition.
//!
//! ```text
//!   0 length        u32 of the payload
//!   4 checksum      u32 see below
//!   8 kind          u8
//!   9 flags         u8  bit 0: a copy, carried forward from an older file
//!  10 reserved      u16 0
//!  12 epoch         u32
//!  16 topic         16
//!  32 partition     u32
//!  36 count         u32 offsets that the batch spans
//!  40 base_offset   u64
//!  48 max_timestamp i64
//!  56 append_time   i64
//!  64 payload
//! ```
//!
//! The checksum covers salt, position, the header without the checksum itself, and of the payload
//! either everything or, for a batch, its first 21 bytes: those that the batch's own CRC-32C leaves
//! out, and that CRC. What follows is covered by the batch's CRC. No byte is covered less than by
//! one pass over it all, and the writer need not read the payload again.

use tidelog_model::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

use super::{FormatError, Salt, first, i64_at, put, u32_at, u64_at};
use crate::batch::{self, BatchHeader};

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 64;

/// The part of a batch that its own checksum does not cover, and that checksum.
const BATCH_GUARD_BYTES: usize = 21;

const COPY: u8 = 1;
const WHAT: &str = "frame header";

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// The payload is a record batch.
    Batch = 1,
    /// Everything of the partition from the base offset on is void.
    Truncate = 2,
    /// The epoch begins at the base offset; the payload is the incarnation.
    EpochStart = 3,
    /// The base offset is the new log start.
    Trim = 4,
    /// The payload is the partition's state at this point ([`super::PartitionCheckpoint`]).
    Checkpoint = 5,
    /// The checkpoint of this file is complete ([`super::CheckpointEnd`]).
    CheckpointEnd = 6,
}

impl FrameKind {
    pub const ALL: [Self; 6] =
        [Self::Batch, Self::Truncate, Self::EpochStart, Self::Trim, Self::Checkpoint, Self::CheckpointEnd];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    /// The frame repeats one of an older file that went away: it changes nothing, it only moves.
    pub copy: bool,
    pub payload_bytes: u32,
    pub partition: TopicPartition,
    pub epoch: LeaderEpoch,
    pub base_offset: Offset,
    /// How many offsets the batch spans; 0 for other kinds.
    pub count: u32,
    pub max_timestamp: TimestampMs,
    pub append_time: TimestampMs,
}

impl FrameHeader {
    /// What the frame takes up.
    pub fn bytes(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.payload_bytes)
    }

    pub fn next_offset(&self) -> Offset {
        self.base_offset + u64::from(self.count)
    }

    /// Writes the header of a frame at `position` whose payload is `payload`. A batch must be sound:
    /// its own checksum is trusted.
    pub fn encode(&self, salt: Salt, position: u64, payload: &[u8], out: &mut [u8; FRAME_HEADER_BYTES]) {
        assert_eq!(payload.len(), self.payload_bytes as usize, "the header tells the payload's length");
        put(out, 0, &self.payload_bytes.to_be_bytes());
        put(out, 8, &[self.kind as u8, if self.copy { COPY } else { 0 }, 0, 0]);
        put(out, 12, &self.epoch.0.to_be_bytes());
        put(out, 16, self.partition.topic.as_bytes());
        put(out, 32, &self.partition.partition.0.to_be_bytes());
        put(out, 36, &self.count.to_be_bytes());
        put(out, 40, &self.base_offset.0.to_be_bytes());
        put(out, 48, &self.max_timestamp.0.to_be_bytes());
        put(out, 56, &self.append_time.0.to_be_bytes());
        let checksum = checksum(salt, position, out, guarded(self.kind, payload));
        put(out, 4, &checksum.to_be_bytes());
    }

    /// Reads a header without its checksum, which needs the payload ([`Self::decode`]): only to learn
    /// how long the frame claims to be.
    pub fn peek(bytes: &[u8]) -> Result<Self, FormatError> {
        let head = first::<FRAME_HEADER_BYTES>(WHAT, bytes)?;
        let kind = FrameKind::from_code(head[8])
            .ok_or(FormatError::Invalid { what: WHAT, reason: "its kind does not exist" })?;
        if head[9] & !COPY != 0 || head[10] != 0 || head[11] != 0 {
            return Err(FormatError::Invalid { what: WHAT, reason: "its flags are not known" });
        }
        let base_offset = Offset(u64_at(head, 40));
        let count = u32_at(head, 36);
        if base_offset.checked_add(u64::from(count)).is_none() {
            return Err(FormatError::Invalid { what: WHAT, reason: "its offsets pass the largest there is" });
        }
        Ok(Self {
            kind,
            copy: head[9] & COPY != 0,
            payload_bytes: u32_at(head, 0),
            partition: TopicPartition {
                topic: TopicId::from_bytes(head[16..32].try_into().expect("sixteen bytes")),
                partition: PartitionId(u32_at(head, 32)),
            },
            epoch: LeaderEpoch(u32_at(head, 12)),
            base_offset,
            count,
            max_timestamp: TimestampMs(i64_at(head, 48)),
            append_time: TimestampMs(i64_at(head, 56)),
        })
    }

    /// Reads the frame that `bytes` begin with, as far as the frame's own checksum reaches: everything
    /// but the records of a batch. Returns the header and the payload.
    pub fn decode(bytes: &[u8], salt: Salt, position: u64) -> Result<(Self, &[u8]), FormatError> {
        let header = Self::peek(bytes)?;
        let rest = &bytes[FRAME_HEADER_BYTES..];
        let needed = header.payload_bytes as usize;
        let payload =
            rest.get(..needed).ok_or(FormatError::Truncated { what: "frame", needed, have: rest.len() })?;
        let head = first::<FRAME_HEADER_BYTES>(WHAT, bytes)?;
        if u32_at(head, 4) != checksum(salt, position, head, guarded(header.kind, payload)) {
            return Err(FormatError::Checksum("frame"));
        }
        Ok((header, payload))
    }

    /// The same, and every byte of the payload checked. A batch's header comes along, and agrees
    /// with the frame's.
    pub fn verify(
        bytes: &[u8],
        salt: Salt,
        position: u64,
    ) -> Result<(Self, Option<BatchHeader>, &[u8]), FormatError> {
        let (header, payload) = Self::decode(bytes, salt, position)?;
        if header.kind != FrameKind::Batch {
            return Ok((header, None, payload));
        }
        let batch = batch::verify(payload)?;
        if batch.base_offset != header.base_offset
            || batch.last_offset_delta.checked_add(1) != Some(header.count)
        {
            return Err(FormatError::Invalid { what: "frame", reason: "it disagrees with its batch" });
        }
        Ok((header, Some(batch), payload))
    }
}

/// The part of the payload that the frame's checksum covers.
fn guarded(kind: FrameKind, payload: &[u8]) -> &[u8] {
    match kind {
        FrameKind::Batch => &payload[..payload.len().min(BATCH_GUARD_BYTES)],
        _ => payload,
    }
}

fn checksum(salt: Salt, position: u64, head: &[u8; FRAME_HEADER_BYTES], guarded: &[u8]) -> u32 {
    salt.checksum_at(position).with(&head[..4]).with(&head[8..]).with(guarded).finish()
}
