//! Rebuilding the partitions' logs from the journal.
//!
//! A checkpoint tells the settled part. In a cluster, batches that were synced and not known to be
//! committed when it was taken lie in older files, which are not replayed: the journal has them all the
//! same, and what there is to know of them is read from it after it was opened ([`RecoveredLog::hole`]).

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use tidelog_format::batch::BatchHeader;
use tidelog_format::journal::{FrameHeader, PartitionCheckpoint};
use tidelog_format::pointer::Pointer;
use tidelog_format::state::EpochEntry;
use tidelog_journal::Replay;
use tidelog_model::{LeaderEpoch, Offset, TimestampMs, TopicId, TopicPartition};

use crate::partition::epochs::Leadership;
use crate::partition::log_state::LogState;

/// A place where the journal misses records that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: TopicPartition,
    pub expected: Offset,
    pub found: Offset,
}

/// Whether what the journal has is all committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Commitment {
    /// There are no other replicas: what is synced is committed.
    #[default]
    Synced,
    /// Only what a checkpoint says is known to be.
    Checkpoints,
}

/// What the journal has of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecoveredLog {
    /// As of the settled part; with [`Commitment::Synced`] that is all.
    pub(crate) log: LogState,
    /// Idempotent producers' batches above it, in order, as far as they were replayed.
    pub(crate) tail: Vec<(BatchHeader, TimestampMs)>,
    /// Whether any batch was replayed.
    has_tail: bool,
    pub(crate) end: Offset,
    /// Between the settled part and the tail: to be looked at in the journal.
    pub(crate) hole: Option<Range<Offset>>,
    /// The journal has no beginning of the partition; the bucket has its state there.
    pub(crate) headless: bool,
}

/// Listens to the journal while it is opened.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    commitment: Commitment,
    pointers: HashMap<TopicPartition, Pointer>,
    logs: HashMap<TopicPartition, RecoveredLog>,
    gaps: Vec<Gap>,
}

impl Recovery {
    pub(crate) fn new(commitment: Commitment, pointers: HashMap<TopicPartition, Pointer>) -> Self {
        Self { commitment, pointers, ..Self::default() }
    }

    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// What the journal has of a partition; an empty log where it has nothing.
    pub(crate) fn take(&mut self, partition: TopicPartition) -> RecoveredLog {
        self.logs.remove(&partition).unwrap_or_default()
    }

    /// What the journal has, of all partitions.
    pub(crate) fn take_all(&mut self) -> HashMap<TopicPartition, RecoveredLog> {
        std::mem::take(&mut self.logs)
    }

    /// The topics that the journal has something of and nobody asked for.
    pub(crate) fn left(&self) -> HashSet<TopicId> {
        self.logs.keys().map(|partition| partition.topic).collect()
    }
}

impl RecoveredLog {
    fn push(&mut self, commitment: Commitment, batch: &BatchHeader, appended: TimestampMs) {
        self.end = batch.next_offset();
        match commitment {
            Commitment::Synced => {
                self.log.append(batch, batch.base_offset, appended);
                self.log.settle(self.end);
            }
            Commitment::Checkpoints => {
                self.has_tail = true;
                if batch.producer_id.is_some() {
                    self.tail.push((*batch, appended));
                }
            }
        }
    }

    /// Nothing was replayed.
    pub(crate) fn is_blank(&self) -> bool {
        self.end == Offset::ZERO && !self.headless
    }

    /// Nothing is known of what lies before `offset`.
    pub(crate) fn begin_at(&mut self, offset: Offset) {
        let log_start = self.log.log_start();
        *self = Self { end: offset, headless: true, ..Self::default() };
        self.log.set_log_start(log_start);
    }
}

impl Replay for Recovery {
    fn covered(&self, partition: TopicPartition) -> Offset {
        self.pointers.get(&partition).map_or(Offset::ZERO, |pointer| pointer.tiered_end)
    }

    fn checkpoint(&mut self, partition: TopicPartition, checkpoint: PartitionCheckpoint) {
        let end = checkpoint.state.end;
        let log = LogState::restore(checkpoint.log_start, checkpoint.state);
        self.logs.insert(partition, RecoveredLog { log, end, ..RecoveredLog::default() });
    }

    fn batch(&mut self, frame: &FrameHeader, batch: &BatchHeader) {
        let id = frame.partition;
        let (covered, commitment) = (self.covered(id), self.commitment);
        let log = self.logs.entry(id).or_default();
        if batch.next_offset() <= log.end {
            return;
        }
        if batch.base_offset != log.end {
            let (expected, found) = (log.end, batch.base_offset);
            if found <= covered {
                // The partition's state came from the bucket when this was appended, and so it does now.
                log.begin_at(found);
            } else if commitment == Commitment::Checkpoints && !log.has_tail && found > expected {
                log.hole = Some(expected..found);
            } else {
                self.gaps.push(Gap { partition: id, expected, found });
            }
        }
        log.push(commitment, batch, frame.append_time);
    }

    fn truncate(&mut self, partition: TopicPartition, _: LeaderEpoch, end: Offset) {
        let log = self.logs.entry(partition).or_default();
        log.tail.retain(|(batch, _)| batch.base_offset < end);
        log.hole = log.hole.take().map(|hole| hole.start..hole.end.min(end)).filter(|hole| !hole.is_empty());
        log.log.truncate(end);
        log.end = log.end.min(end);
    }

    fn epoch_start(&mut self, partition: TopicPartition, entry: EpochEntry) {
        let leadership = Leadership { incarnation: entry.incarnation, epoch: entry.epoch };
        self.logs.entry(partition).or_default().log.begin_epoch(leadership, entry.start);
    }

    fn trim(&mut self, partition: TopicPartition, log_start: Offset) {
        self.logs.entry(partition).or_default().log.set_log_start(log_start);
    }
}
