//! One partition on this store: its replica, what its log means, and who waits for it.
//!
//! Everything that changes is behind one short lock per partition; nothing waits while it is held. The
//! order of the log is the order in which the lock was taken: under it a batch gets its offset and
//! joins the journal's queue. The journal's thread takes it to report what became durable.
//!
//! What is to be done is decided by the [`Replica`], a pure state machine: [`step`] carries it out,
//! [`append`] gives batches to it, [`feed`] brings it what needs room in the journal.

pub(crate) mod append;
pub(crate) mod epochs;
pub(crate) mod feed;
pub(crate) mod log_state;
pub(crate) mod outside;
pub(crate) mod producers;
pub(crate) mod push;
pub(crate) mod step;
pub(crate) mod timestamps;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tidelog_format::pointer::Pointer;
use tidelog_format::state::{EpochEntry, PartitionState};
use tidelog_model::{ErrorCode, Incarnation, LeaderEpoch, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{LogReport, Marks, StoreError};
use tidelog_replica::{Action, Record, Replica, Role};
use tokio::sync::Notify;

use self::append::Waiting;
use self::epochs::Leadership;
use self::log_state::LogState;
use self::outside::Outside;
use self::push::Unsynced;
use self::step::Ticks;
use crate::tiered::Tiered;
use crate::topics::catalog::Topic;

/// Whether the partition can be used.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Serving,
    /// Its state has not been found yet; the error says why, and it is tried again.
    Recovering(StoreError),
    Deleted,
    /// It takes part in nothing any more; the error says why and what the caller may do: the journal failed,
    /// the replica is damaged or has moved away.
    Failed(StoreError),
}

pub(crate) struct Partition {
    pub(crate) id: TopicPartition,
    pub(crate) topic: Arc<Topic>,
    incarnation: Incarnation,
    outside: Arc<dyn Outside>,
    ticks: Ticks,
    cell: Mutex<Cell>,
    /// Something was appended since this was last looked at.
    stirred: AtomicBool,
    /// Tells readers who wait that the high watermark moved or that the status changed.
    changed: Notify,
}

struct Cell {
    status: Status,
    replica: Replica,
    log: LogState,
    /// What the bucket has, where this replica leads and knows it.
    tiered: Option<Tiered>,
    /// Acknowledgements that are due, in the order of their offsets.
    waiting: VecDeque<Waiting>,
    /// The same for repeated batches whose first copies are not settled yet, in any order.
    late: Vec<Waiting>,
    /// Batches that the journal was given and has not synced, in order.
    unsynced: VecDeque<Unsynced>,
    /// Up to where the journal was told that the bucket has everything.
    covered: Offset,
    /// Appends are refused until then, because leadership is about to move.
    held_until: Option<Instant>,
    /// Reused, so that the hot path allocates nothing.
    actions: Vec<Action>,
}

/// What a partition is made of when it is opened.
pub(crate) struct Parts {
    pub(crate) incarnation: Incarnation,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) ticks: Ticks,
    pub(crate) replica: Replica,
    pub(crate) log: LogState,
    pub(crate) tiered: Option<Tiered>,
    pub(crate) status: Status,
}

impl Partition {
    pub(crate) fn new(id: TopicPartition, topic: Arc<Topic>, parts: Parts) -> Arc<Self> {
        let Parts { incarnation, outside, ticks, replica, log, tiered, status } = parts;
        let cell = Cell {
            status,
            replica,
            log,
            tiered,
            waiting: VecDeque::new(),
            late: Vec::new(),
            unsynced: VecDeque::new(),
            covered: Offset::ZERO,
            held_until: None,
            actions: Vec::new(),
        };
        Arc::new(Self {
            id,
            topic,
            incarnation,
            outside,
            ticks,
            cell: Mutex::new(cell),
            stirred: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    /// Whether something was appended since this was last asked.
    pub(crate) fn take_stirred(&self) -> bool {
        self.stirred.load(Ordering::Relaxed) && self.stirred.swap(false, Ordering::Relaxed)
    }

    /// Waits for a change from the moment this is first polled or enabled.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// An error unless the partition's state is known and its journal works.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.cell.lock().check(self.id)
    }

    /// An error unless this replica leads.
    pub(crate) fn check_leads(&self) -> Result<(), StoreError> {
        self.cell.lock().check_leads(self.id)
    }

    /// An error unless this replica leads or follows.
    pub(crate) fn check_holds(&self) -> Result<(), StoreError> {
        let cell = self.cell.lock();
        cell.check(self.id)?;
        match cell.replica.role() {
            Role::Leading { .. } | Role::Following { .. } => Ok(()),
            Role::Waiting | Role::Stopped => Err(not_leader(self.id)),
        }
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.cell.lock().status = status;
        self.changed.notify_waiters();
    }

    /// What was missing was found: takes part from now on, as its record says.
    pub(crate) fn recovered(self: &Arc<Self>, log: LogState, replica: Replica) {
        let mut cell = self.cell.lock();
        if !matches!(cell.status, Status::Recovering(_)) {
            return;
        }
        (cell.log, cell.replica, cell.status) = (log, replica, Status::Serving);
        self.outside.read_back(self);
        drop(cell);
        self.changed.notify_waiters();
    }

    /// The partition's bounds; `local_start` is what the journal says, or `None` when it has nothing.
    pub(crate) fn marks(&self, local_start: Option<Offset>) -> Marks {
        self.cell.lock().marks(local_start)
    }

    pub(crate) fn pointer(&self) -> Option<Pointer> {
        self.cell.lock().tiered.as_ref().and_then(Tiered::pointer)
    }

    /// The leadership that this replica has or, where it does not lead, knows of.
    pub(crate) fn leadership(&self) -> Leadership {
        let epoch = self.cell.lock().replica.report().known_epoch;
        Leadership { incarnation: self.incarnation, epoch }
    }

    pub(crate) fn role(&self) -> Role {
        self.cell.lock().replica.role()
    }

    /// The newest record that the replica knows, and its revision.
    pub(crate) fn record(&self) -> (Record, u64) {
        let cell = self.cell.lock();
        (cell.replica.record().clone(), cell.replica.revision())
    }

    /// How far the log reaches, for whoever looks for a leader.
    pub(crate) fn report(&self) -> LogReport {
        let report = self.cell.lock().replica.report();
        LogReport {
            partition: self.id,
            last_epoch: report.last_epoch.unwrap_or_default(),
            log_end: report.log_end,
        }
    }

    /// Looks at or changes what is known of the bucket; `None` when this replica does not know, because it
    /// does not lead.
    pub(crate) fn with_tiered<T>(&self, work: impl FnOnce(&mut Tiered) -> T) -> Option<T> {
        self.cell.lock().tiered.as_mut().map(work)
    }

    /// First offset that is not in the bucket, and the first that may not go there yet: the same where
    /// this replica does not lead or does not know what is in the bucket.
    pub(crate) fn untiered(&self) -> (Offset, Offset) {
        let cell = self.cell.lock();
        match (&cell.tiered, cell.replica.role()) {
            (Some(tiered), Role::Leading { .. }) => (tiered.end(cell.log.log_start()), cell.log.settled()),
            _ => (Offset::ZERO, Offset::ZERO),
        }
    }

    /// Who wrote the offsets from `start` to `end`, and the whole history up to `end`.
    pub(crate) fn epochs(&self, start: Offset, end: Offset) -> (Vec<EpochEntry>, Vec<EpochEntry>) {
        let cell = self.cell.lock();
        let epochs = cell.log.epochs();
        (epochs.within(&(start..end)), epochs.until(end))
    }

    /// The settled part of the log's state, and the log start; `None` when the partition has no part in
    /// checkpoints.
    pub(crate) fn checkpoint(&self, now: TimestampMs) -> Option<(PartitionState, Offset)> {
        let mut cell = self.cell.lock();
        if !matches!(cell.status, Status::Serving | Status::Failed(_)) {
            return None;
        }
        cell.log.expire_producers(now);
        Some((cell.log.snapshot(now), cell.log.log_start()))
    }

    /// Takes no appends until then; `false` when it does not lead under that epoch.
    pub(crate) fn hold(&self, epoch: LeaderEpoch, until: Instant) -> bool {
        let mut cell = self.cell.lock();
        let leads = cell.replica.role() == Role::Leading { epoch };
        if leads {
            cell.held_until = Some(until);
        }
        leads
    }

    /// Whether everything appended under the epoch is committed, or another one has begun.
    pub(crate) fn is_quiet(&self, epoch: LeaderEpoch) -> bool {
        let cell = self.cell.lock();
        cell.replica.role() != Role::Leading { epoch }
            || cell.replica.high_watermark() == cell.replica.log_end()
    }
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Cell {
    fn check(&self, id: TopicPartition) -> Result<(), StoreError> {
        match &self.status {
            Status::Serving => Ok(()),
            Status::Recovering(error) | Status::Failed(error) => Err(error.clone()),
            Status::Deleted => Err(StoreError::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("{id}: the topic was deleted"),
            )),
        }
    }

    fn check_leads(&self, id: TopicPartition) -> Result<(), StoreError> {
        self.check(id)?;
        match self.replica.role() {
            Role::Leading { .. } => Ok(()),
            _ => Err(not_leader(id)),
        }
    }

    fn marks(&self, local_start: Option<Offset>) -> Marks {
        let (log, replica) = (&self.log, &self.replica);
        let log_start = log.log_start();
        let known = replica.marks().resume_at();
        let tiered_end = self.tiered.as_ref().map_or(known, |tiered| tiered.end(log_start));
        // What is in the bucket was committed.
        let high_watermark = log.settled().max(tiered_end.min(replica.log_end()));
        Marks {
            log_start,
            // With nothing local, everything is in the bucket.
            local_start: local_start.unwrap_or(tiered_end).max(log_start),
            tiered_end,
            last_stable: high_watermark,
            high_watermark,
            log_end: replica.log_end(),
        }
    }
}

pub(crate) fn not_leader(id: TopicPartition) -> StoreError {
    StoreError::new(ErrorCode::NotLeaderOrFollower, format!("{id}: this store does not lead the partition"))
}

#[cfg(test)]
mod tests;
