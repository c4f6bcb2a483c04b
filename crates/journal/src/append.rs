//! What is appended, and the room for it.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::batch::BatchHeader;
use tidelog_format::journal::{
    CheckpointEnd, Entry, FrameHeader, FrameKind, PartitionCheckpoint, encode_incarnation,
};
use tidelog_format::state::EpochEntry;
use tidelog_model::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};
use tokio::sync::OwnedSemaphorePermit;

use crate::error::AppendError;
use crate::space::Space;

/// One entry for the journal.
#[derive(Clone, Debug)]
pub struct Append {
    pub(crate) header: FrameHeader,
    pub(crate) payload: Bytes,
    /// The file that this is a copy out of.
    pub(crate) copied_from: Option<u64>,
}

impl Append {
    fn new(header: FrameHeader, payload: Bytes) -> Self {
        let header = FrameHeader { payload_bytes: payload.len() as u32, ..header };
        Self { header, payload, copied_from: None }
    }

    /// A batch, which must be whole and sound (its checksum verified), its offset and epoch assigned.
    pub fn batch(
        partition: TopicPartition,
        header: &BatchHeader,
        append_time: TimestampMs,
        batch: Bytes,
    ) -> Self {
        let header = FrameHeader {
            count: header.last_offset_delta + 1,
            max_timestamp: header.max_timestamp,
            append_time,
            ..fact(FrameKind::Batch, partition, header.leader_epoch, header.base_offset)
        };
        Self::new(header, batch)
    }

    /// Everything of the partition from `end` on is void.
    pub fn truncate(partition: TopicPartition, epoch: LeaderEpoch, end: Offset) -> Self {
        Self::new(fact(FrameKind::Truncate, partition, epoch, end), Bytes::new())
    }

    /// A leader epoch begins.
    pub fn epoch_start(partition: TopicPartition, entry: EpochEntry) -> Self {
        let payload = Bytes::copy_from_slice(&encode_incarnation(entry.incarnation));
        Self::new(fact(FrameKind::EpochStart, partition, entry.epoch, entry.start), payload)
    }

    /// The log start moves up: what is below it is not wanted any more.
    pub fn trim(partition: TopicPartition, epoch: LeaderEpoch, log_start: Offset) -> Self {
        Self::new(fact(FrameKind::Trim, partition, epoch, log_start), Bytes::new())
    }

    /// The partition's state, at the beginning of a file.
    pub(crate) fn checkpoint(partition: TopicPartition, state: &PartitionCheckpoint) -> Self {
        let header = fact(FrameKind::Checkpoint, partition, LeaderEpoch::default(), state.state.end);
        Self::new(header, state.encode(partition))
    }

    pub(crate) fn checkpoint_end(end: CheckpointEnd) -> Self {
        let nobody = TopicPartition::new(TopicId::from_bytes([0; 16]), PartitionId(0));
        let header = fact(FrameKind::CheckpointEnd, nobody, LeaderEpoch::default(), Offset::ZERO);
        Self::new(header, Bytes::copy_from_slice(&end.encode()))
    }

    /// A batch out of an older file.
    pub(crate) fn copy(partition: TopicPartition, entry: &Entry, batch: Bytes, from: u64) -> Self {
        let header = FrameHeader {
            copy: true,
            count: entry.count,
            max_timestamp: entry.max_timestamp,
            append_time: entry.append_time,
            ..fact(FrameKind::Batch, partition, entry.epoch, entry.base_offset)
        };
        Self { copied_from: Some(from), ..Self::new(header, batch) }
    }

    /// What the journal trusts its caller with: that a batch is what it says.
    pub(crate) fn is_sound(&self) -> bool {
        self.header.kind != FrameKind::Batch
            || tidelog_format::batch::verify(&self.payload)
                .is_ok_and(|batch| batch.base_offset == self.header.base_offset)
    }

    /// What to reserve for it.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }
}

fn fact(kind: FrameKind, partition: TopicPartition, epoch: LeaderEpoch, base_offset: Offset) -> FrameHeader {
    FrameHeader {
        kind,
        copy: false,
        payload_bytes: 0,
        partition,
        epoch,
        base_offset,
        count: 0,
        max_timestamp: TimestampMs::NONE,
        append_time: TimestampMs::NONE,
    }
}

/// Where an entry lies: in which file, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub file: u64,
    pub position: u64,
}

/// Called once with the outcome of an append, on the writer thread, in the order of the appends. Must
/// be quick and must not wait. An error that is not [`AppendError::Failed`] means that nothing was
/// written; after that one the outcome is unknown.
pub type Done = Box<dyn FnOnce(Result<Position, AppendError>) + Send>;

/// Room in the queue and on the disk for one append. Given back when the append completes, or when
/// it is dropped unused.
#[derive(Debug)]
pub struct Reservation {
    /// Largest payload it is good for.
    pub(crate) bytes: usize,
    /// What the ledger holds for it.
    pub(crate) cost: u64,
    pub(crate) space: Arc<Space>,
    /// None for copies of old batches, which the keeper bounds.
    pub(crate) _queue: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.release(self.cost);
    }
}
