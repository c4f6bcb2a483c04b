//! What frames other than batches carry.
//!
//! ```text
//!  checkpoint:      log_start u64 │ partition state (an object, see `state`)
//!  checkpoint end:  partitions u64
//!  epoch start:     incarnation u32
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_model::{Incarnation, Offset, TopicPartition};

use super::FormatError;
use crate::state::PartitionState;

/// A partition's state at the point where its file begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionCheckpoint {
    pub log_start: Offset,
    pub state: PartitionState,
}

impl PartitionCheckpoint {
    pub fn encode(&self, of: TopicPartition) -> Bytes {
        let state = self.state.encode(of);
        let mut out = BytesMut::with_capacity(8 + state.len());
        out.put_u64(self.log_start.0);
        out.put_slice(&state);
        out.freeze()
    }

    pub fn decode(bytes: &[u8], of: TopicPartition) -> Result<Self, FormatError> {
        let Some((log_start, state)) = bytes.split_first_chunk::<8>() else {
            return Err(FormatError::Truncated { what: "checkpoint", needed: 8, have: bytes.len() });
        };
        let log_start = Offset(u64::from_be_bytes(*log_start));
        if log_start > Offset::MAX {
            return Err(FormatError::Invalid { what: "checkpoint", reason: "its log start is impossible" });
        }
        Ok(Self { log_start, state: PartitionState::decode(state, of)? })
    }
}

/// Closes a file's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointEnd {
    /// How many checkpoint frames the file must hold before this one.
    pub partitions: u64,
}

impl CheckpointEnd {
    pub fn encode(self) -> [u8; 8] {
        self.partitions.to_be_bytes()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let bytes = exactly::<8>("checkpoint end", bytes)?;
        Ok(Self { partitions: u64::from_be_bytes(bytes) })
    }
}

pub fn encode_incarnation(incarnation: Incarnation) -> [u8; 4] {
    incarnation.0.to_be_bytes()
}

pub fn decode_incarnation(bytes: &[u8]) -> Result<Incarnation, FormatError> {
    exactly::<4>("epoch start", bytes).map(|bytes| Incarnation(u32::from_be_bytes(bytes)))
}

fn exactly<const N: usize>(what: &'static str, bytes: &[u8]) -> Result<[u8; N], FormatError> {
    bytes.try_into().map_err(|_| FormatError::Invalid { what, reason: "its length is wrong" })
}
