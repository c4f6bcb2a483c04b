//! Leaderships that the records give to this start and that it has given up: the controller is to name
//! someone else.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tidelog_model::{LeaderEpoch, TopicPartition};
use tidelog_peer::RESIGNED_MAX;
use tidelog_replica::StepDownReason;

/// For how long a store whose disk was too slow to lead is none to lead on.
const SLOW_FOR: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Resigned {
    epochs: Mutex<BTreeMap<TopicPartition, LeaderEpoch>>,
    slow_at: Mutex<Option<Instant>>,
}

impl Resigned {
    pub(super) fn stepped_down(&self, partition: TopicPartition, epoch: LeaderEpoch, reason: StepDownReason) {
        if reason == StepDownReason::SlowDisk {
            *self.slow_at.lock() = Some(Instant::now());
        }
        // Whoever knows of a newer epoch was replaced already.
        if reason != StepDownReason::Superseded {
            self.gave_up(partition, epoch);
        }
    }

    /// It was given up, or never taken.
    pub(super) fn gave_up(&self, partition: TopicPartition, epoch: LeaderEpoch) {
        self.epochs.lock().insert(partition, epoch);
    }

    /// The record has another leader or epoch now, or this start leads after all.
    pub(super) fn forget(&self, partition: TopicPartition) {
        self.epochs.lock().remove(&partition);
    }

    /// The same, for all whose record has moved on.
    pub(super) fn retain(&self, still: impl Fn(TopicPartition, LeaderEpoch) -> bool) {
        self.epochs.lock().retain(|partition, epoch| still(*partition, *epoch));
    }

    pub(super) fn list(&self) -> Vec<(TopicPartition, LeaderEpoch)> {
        let epochs = self.epochs.lock();
        epochs.iter().take(RESIGNED_MAX).map(|(partition, epoch)| (*partition, *epoch)).collect()
    }

    pub(super) fn is_slow(&self) -> bool {
        self.slow_at.lock().is_some_and(|at| at.elapsed() < SLOW_FOR)
    }
}
