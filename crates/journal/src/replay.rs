//! What the journal and the owner of the partitions' state tell each other.

use tidelog_format::batch::BatchHeader;
use tidelog_format::journal::{FrameHeader, PartitionCheckpoint};
use tidelog_format::state::EpochEntry;
use tidelog_model::{LeaderEpoch, Offset, TopicPartition};

/// Asked when a new file begins, so that older ones are not needed to rebuild the state.
pub trait Checkpoints: Send + Sync {
    /// The state of every partition. Called on the writer thread at a moment when everything that was
    /// appended to the journal before is durable and completed, and nothing after. Must not wait for
    /// anything that waits for the journal.
    fn checkpoint(&self) -> Vec<(TopicPartition, PartitionCheckpoint)>;

    /// The first offset that the hot tier has of the partition moved up. Called on a thread of the
    /// journal's; must be quick.
    fn local_start_moved(&self, _partition: TopicPartition, _local_start: Offset) {}
}

/// Rebuilds the partitions' state when a journal is opened: checkpoints first, then what happened
/// since, in order.
pub trait Replay {
    /// The first offset of the partition that is not in the bucket, as far as the caller knows.
    /// Damage below it does not keep the journal from opening.
    fn covered(&self, _partition: TopicPartition) -> Offset {
        Offset::ZERO
    }

    /// The state at the point where replay begins.
    fn checkpoint(&mut self, partition: TopicPartition, checkpoint: PartitionCheckpoint);

    /// A batch was appended.
    fn batch(&mut self, frame: &FrameHeader, batch: &BatchHeader);

    /// The partition was cut: nothing from `end` on exists any more.
    fn truncate(&mut self, partition: TopicPartition, epoch: LeaderEpoch, end: Offset);

    /// A leader epoch began.
    fn epoch_start(&mut self, partition: TopicPartition, entry: EpochEntry);

    /// The log start moved up.
    fn trim(&mut self, partition: TopicPartition, log_start: Offset);
}

/// Replays into nothing, for tools and tests that look at records only.
impl Replay for () {
    fn checkpoint(&mut self, _: TopicPartition, _: PartitionCheckpoint) {}
    fn batch(&mut self, _: &FrameHeader, _: &BatchHeader) {}
    fn truncate(&mut self, _: TopicPartition, _: LeaderEpoch, _: Offset) {}
    fn epoch_start(&mut self, _: TopicPartition, _: EpochEntry) {}
    fn trim(&mut self, _: TopicPartition, _: Offset) {}
}

/// No partition has any state worth keeping; see [`Replay`] for `()`.
impl Checkpoints for () {
    fn checkpoint(&self) -> Vec<(TopicPartition, PartitionCheckpoint)> {
        Vec::new()
    }
}
