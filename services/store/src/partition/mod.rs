//! One partition that this node leads.
//!
//! Everything that changes is behind one short lock per partition; nothing waits while it is held. The
//! order of the log is the order in which the lock was taken: under it a batch gets its offset and
//! joins the journal's queue. The journal's thread takes it to report what became durable.

pub(crate) mod epochs;
pub(crate) mod log_state;
pub(crate) mod producers;
pub(crate) mod timestamps;

use std::sync::Arc;

use parking_lot::Mutex;
use tidelog_format::pointer::Pointer;
use tidelog_format::state::{EpochEntry, PartitionState};
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{Ack, AckSender, Marks, Produced, StoreError};
use tokio::sync::Notify;

use self::epochs::Leadership;
use self::log_state::{Admission, LogState, Place};
use crate::produce::Validated;
use crate::tiered::Tiered;
use crate::topics::catalog::Topic;

/// Whether the partition can be used.
#[derive(Clone, Debug)]
pub(crate) enum Status {
    Serving,
    /// Its state has not been found yet; the error says why, and it is tried again.
    Recovering(StoreError),
    Deleted,
    /// The journal failed; the process is about to end.
    Failed(StoreError),
}

pub(crate) struct Partition {
    pub(crate) id: TopicPartition,
    pub(crate) topic: Arc<Topic>,
    cell: Mutex<Cell>,
    /// Tells readers who wait that the high watermark moved or that the status changed.
    changed: Notify,
}

struct Cell {
    status: Status,
    log: LogState,
    tiered: Tiered,
    /// Acknowledgements of repeated batches whose first copies are in flight still.
    late: Vec<Late>,
}

struct Late {
    next_offset: Offset,
    produced: Produced,
    sender: AckSender,
}

/// What the partition wants written, in the order in which it is to be written.
pub(crate) trait Sink {
    /// A leadership is about to write its first batch.
    fn epoch_start(&mut self, leadership: Leadership, start: Offset);
    /// The batch at its place; `done` is called when it is durable or the journal has failed.
    fn batch(&mut self, place: Place, validated: Validated, done: Completion);
}

/// The duty to say what became of a batch.
pub(crate) struct Completion {
    partition: Arc<Partition>,
    place: Place,
    append_time: Option<TimestampMs>,
    sender: AckSender,
}

impl Partition {
    pub(crate) fn new(id: TopicPartition, topic: Arc<Topic>, log: LogState, tiered: Tiered) -> Arc<Self> {
        let cell = Cell { status: Status::Serving, log, tiered, late: Vec::new() };
        Arc::new(Self { id, topic, cell: Mutex::new(cell), changed: Notify::new() })
    }

    /// Gives a batch its place and hands it to `sink`, or answers at once when it has a place already.
    pub(crate) fn append(
        self: &Arc<Self>,
        mut validated: Validated,
        now: TimestampMs,
        sink: &mut impl Sink,
    ) -> Result<Ack, StoreError> {
        let mut cell = self.cell.lock();
        cell.check(self.id)?;
        let admission = cell.log.admit(&validated.header);
        let admission = admission.map_err(|refusal| StoreError::new(refusal.code(), refusal.to_string()))?;
        if let Admission::Duplicate { base_offset, next_offset, timestamp } = admission {
            let append_time = validated.append_time.map(|_| timestamp);
            let produced = Produced { base_offset, append_time, log_start: cell.log.log_start() };
            return Ok(cell.acknowledge_at(next_offset, produced));
        }
        let Some(place) = cell.log.append(&validated.header, now) else {
            let message = format!("{}: the offsets are used up", self.id);
            return Err(StoreError::new(ErrorCode::InvalidRequest, message));
        };
        if place.starts_epoch {
            sink.epoch_start(cell.log.leadership(), place.base_offset);
        }
        tidelog_format::batch::assign(&mut validated.bytes, place.base_offset, place.epoch);
        let (sender, ack) = Ack::pending();
        let append_time = validated.append_time;
        let done = Completion { partition: Arc::clone(self), place, append_time, sender };
        sink.batch(place, validated, done);
        Ok(ack)
    }

    /// Whether the next batch needs the journal to be told of a leadership first.
    pub(crate) fn starts_epoch(&self) -> bool {
        self.cell.lock().log.starts_epoch()
    }

    /// Waits for a change from the moment this is first polled or enabled.
    pub(crate) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// An error unless the partition can be read and written.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.cell.lock().check(self.id)
    }

    pub(crate) fn set_status(&self, status: Status) {
        self.cell.lock().status = status;
        self.changed.notify_waiters();
    }

    /// The state below what the journal had was found after all.
    pub(crate) fn recovered(&self, log_start: Offset, state: PartitionState) {
        let mut cell = self.cell.lock();
        cell.log.found_below(log_start, state);
        cell.status = Status::Serving;
        drop(cell);
        self.changed.notify_waiters();
    }

    /// The partition's bounds; `local_start` is what the journal says, or `None` when it has nothing.
    pub(crate) fn marks(&self, local_start: Option<Offset>) -> Result<Marks, StoreError> {
        let cell = self.cell.lock();
        cell.check(self.id)?;
        let log = &cell.log;
        let tiered_end = cell.tiered.end(log.log_start());
        Ok(Marks {
            log_start: log.log_start(),
            // With nothing local, everything is in the bucket.
            local_start: local_start.unwrap_or(tiered_end).max(log.log_start()),
            tiered_end,
            last_stable: log.last_stable(),
            high_watermark: log.high_watermark(),
            log_end: log.log_end(),
        })
    }

    pub(crate) fn pointer(&self) -> Option<Pointer> {
        self.cell.lock().tiered.pointer()
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.cell.lock().log.leadership()
    }

    /// Looks at or changes what is known of the bucket.
    pub(crate) fn with_tiered<T>(&self, work: impl FnOnce(&mut Tiered) -> T) -> T {
        work(&mut self.cell.lock().tiered)
    }

    /// First offset that is not in the bucket, and the first that may not go there yet.
    pub(crate) fn untiered(&self) -> (Offset, Offset) {
        let cell = self.cell.lock();
        (cell.tiered.end(cell.log.log_start()), cell.log.last_stable())
    }

    /// Who wrote the offsets from `start` to `end`, and the whole history up to `end`.
    pub(crate) fn epochs(&self, start: Offset, end: Offset) -> (Vec<EpochEntry>, Vec<EpochEntry>) {
        let cell = self.cell.lock();
        let epochs = cell.log.epochs();
        (epochs.within(&(start..end)), epochs.until(end))
    }

    /// The durable part of the log's state, and the log start; `None` when the partition has no part
    /// in checkpoints.
    pub(crate) fn checkpoint(&self, now: TimestampMs) -> Option<(PartitionState, Offset)> {
        let mut cell = self.cell.lock();
        if !matches!(cell.status, Status::Serving | Status::Failed(_)) {
            return None;
        }
        cell.log.expire_producers(now);
        Some((cell.log.snapshot(now), cell.log.log_start()))
    }

    fn complete(&self, place: &Place) -> (Offset, Vec<Late>) {
        let mut cell = self.cell.lock();
        cell.log.complete(place);
        let late = cell.take_late();
        (cell.log.log_start(), late)
    }

    fn fail(&self, error: &StoreError) -> Vec<Late> {
        let mut cell = self.cell.lock();
        if matches!(cell.status, Status::Serving) {
            cell.status = Status::Failed(error.clone());
        }
        std::mem::take(&mut cell.late)
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

    fn acknowledge_at(&mut self, next_offset: Offset, produced: Produced) -> Ack {
        if next_offset <= self.log.high_watermark() {
            return Ack::ready(Ok(produced));
        }
        let (sender, ack) = Ack::pending();
        self.late.push(Late { next_offset, produced, sender });
        ack
    }

    fn take_late(&mut self) -> Vec<Late> {
        if self.late.is_empty() {
            return Vec::new();
        }
        let durable = self.log.high_watermark();
        let (ready, waiting) =
            std::mem::take(&mut self.late).into_iter().partition(|late| late.next_offset <= durable);
        self.late = waiting;
        ready
    }
}

impl Completion {
    /// The batch is durable. Batches of a partition become durable in the order of their places.
    pub(crate) fn durable(self) {
        let (log_start, late) = self.partition.complete(&self.place);
        let base_offset = self.place.base_offset;
        self.sender.send(Ok(Produced { base_offset, append_time: self.append_time, log_start }));
        for late in late {
            late.sender.send(Ok(late.produced));
        }
        self.partition.changed.notify_waiters();
    }

    /// The journal takes nothing more; `code` says whether the batch may be there after a restart.
    pub(crate) fn failed(self, code: ErrorCode, reason: &str) {
        let error = StoreError::new(code, format!("{}: {reason}", self.partition.id));
        for late in self.partition.fail(&error) {
            late.sender.send(Err(error.clone()));
        }
        self.sender.send(Err(error));
        self.partition.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
