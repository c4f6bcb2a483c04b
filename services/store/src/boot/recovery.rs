//! Rebuilding the partitions' state from the journal.

use std::collections::{HashMap, HashSet};

use tidelog_format::batch::BatchHeader;
use tidelog_format::journal::{FrameHeader, PartitionCheckpoint};
use tidelog_format::pointer::Pointer;
use tidelog_format::state::EpochEntry;
use tidelog_journal::Replay;
use tidelog_model::{Incarnation, LeaderEpoch, Offset, TopicId, TopicPartition};

use crate::partition::epochs::Leadership;
use crate::partition::log_state::LogState;

/// A place where the journal misses records that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub partition: TopicPartition,
    pub expected: Offset,
    pub found: Offset,
}

/// What is known of a partition after the journal was read.
#[derive(Debug)]
pub(crate) enum Recovered {
    /// The journal has its state.
    Here(LogState),
    /// What is missing below this is in the bucket, which the pointer leads to: the journal has
    /// nothing of the partition, or begins after its start, or ends before the tiered end.
    InBucket(LogState, Pointer),
}

/// Listens to the journal while it is opened.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pointers: HashMap<TopicPartition, Pointer>,
    logs: HashMap<TopicPartition, LogState>,
    /// Partitions of which the journal has no beginning.
    headless: HashSet<TopicPartition>,
    gaps: Vec<Gap>,
}

impl Recovery {
    pub(crate) fn new(pointers: HashMap<TopicPartition, Pointer>) -> Self {
        Self { pointers, ..Self::default() }
    }

    pub(crate) fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// The state of a partition that `leadership` takes over.
    pub(crate) fn take(&mut self, partition: TopicPartition, leadership: Leadership) -> Recovered {
        let pointer = self.pointers.get(&partition).copied();
        let headless = self.headless.contains(&partition);
        let log = self.logs.remove(&partition);
        let mut log = log.unwrap_or_else(|| LogState::empty(leadership));
        log.lead(leadership);
        match pointer {
            Some(pointer) if headless || log.log_end() < pointer.tiered_end => {
                Recovered::InBucket(log, pointer)
            }
            Some(pointer) => {
                log.set_log_start(pointer.log_start);
                Recovered::Here(log)
            }
            None => Recovered::Here(log),
        }
    }

    /// The topics that the journal has something of and nobody asked for.
    pub(crate) fn left(&self) -> HashSet<TopicId> {
        self.logs.keys().map(|partition| partition.topic).collect()
    }

    fn log(&mut self, partition: TopicPartition) -> &mut LogState {
        // Whoever led in the past does not matter: nothing is appended before `lead`.
        let nobody = Leadership { incarnation: Incarnation::default(), epoch: LeaderEpoch::default() };
        self.logs.entry(partition).or_insert_with(|| LogState::empty(nobody))
    }
}

impl Replay for Recovery {
    fn covered(&self, partition: TopicPartition) -> Offset {
        self.pointers.get(&partition).map_or(Offset::ZERO, |pointer| pointer.tiered_end)
    }

    fn checkpoint(&mut self, partition: TopicPartition, checkpoint: PartitionCheckpoint) {
        let nobody = Leadership { incarnation: Incarnation::default(), epoch: LeaderEpoch::default() };
        let log = LogState::restore(nobody, checkpoint.log_start, checkpoint.state);
        self.logs.insert(partition, log);
        self.headless.remove(&partition);
    }

    fn batch(&mut self, frame: &FrameHeader, batch: &BatchHeader) {
        let id = frame.partition;
        let covered = self.covered(id);
        let log = self.log(id);
        let expected = log.log_end();
        if log.replay_batch(batch, frame.append_time) {
            return;
        }
        // The partition's state came from the bucket when this was appended, and so it does now.
        let headless = batch.base_offset <= covered;
        if headless {
            log.begin_at(batch.base_offset);
        } else {
            log.skip_to(batch.base_offset);
        }
        let fits = log.replay_batch(batch, frame.append_time);
        assert!(fits, "the log ends where the batch begins");
        if headless {
            self.headless.insert(id);
        } else {
            self.gaps.push(Gap { partition: id, expected, found: batch.base_offset });
        }
    }

    fn truncate(&mut self, partition: TopicPartition, _: LeaderEpoch, end: Offset) {
        self.log(partition).truncate(end);
    }

    fn epoch_start(&mut self, partition: TopicPartition, entry: EpochEntry) {
        let leadership = Leadership { incarnation: entry.incarnation, epoch: entry.epoch };
        self.log(partition).replay_epoch(leadership, entry.start);
    }

    fn trim(&mut self, partition: TopicPartition, log_start: Offset) {
        self.log(partition).set_log_start(log_start);
    }
}
