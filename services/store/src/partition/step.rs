//! Stepping a partition's replica, and carrying out what it says.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::batch::BatchHeader;
use tidelog_format::pointer::Pointer;
use tidelog_format::state::{EpochEntry, PartitionState, ProducerEntry};
use tidelog_meta::Revision;
use tidelog_model::{ErrorCode, LeaderEpoch, Offset, TimestampMs};
use tidelog_peer::StoreError;
use tidelog_replica::{Action, EpochStart, Event, Generation, Instant, Latest, Marks, Span};

use super::append::Waiting;
use super::epochs::Leadership;
use super::outside::{Proposal, Reset};
use super::{Cell, Partition, Status};
use crate::tiered::Tiered;

/// The clock that replicas are told the time by: monotonic, from the start of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks(std::time::Instant);

impl Ticks {
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(&self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// What a partition wants written, in the order in which it is to be written. Room for it was reserved
/// before.
pub(crate) trait Sink {
    /// A leadership begins to write.
    fn epoch_start(&mut self, entry: EpochEntry);
    /// A batch at its place.
    fn batch(&mut self, header: &BatchHeader, bytes: Bytes, done: Written);
    /// Everything from `end` on is void.
    fn truncate(&mut self, epoch: LeaderEpoch, end: Offset, done: CutWritten);
}

/// For events after which nothing is ever written.
pub(crate) struct NoSink;

impl Sink for NoSink {
    fn epoch_start(&mut self, entry: EpochEntry) {
        unreachable!("no leadership begins without room in the journal: {entry:?}");
    }

    fn batch(&mut self, header: &BatchHeader, _: Bytes, _: Written) {
        unreachable!("no batch is taken without room in the journal: {header:?}");
    }

    fn truncate(&mut self, _: LeaderEpoch, end: Offset, _: CutWritten) {
        unreachable!("no log is cut without room in the journal: at {end}");
    }
}

/// The duty to say what became of a batch that the journal was given.
pub(crate) struct Written {
    pub(super) partition: Arc<Partition>,
    pub(super) generation: Generation,
    pub(super) next: Offset,
}

/// The duty to say that a cut is synced.
pub(crate) struct CutWritten {
    pub(crate) partition: Arc<Partition>,
    pub(crate) generation: Generation,
}

/// A batch that a leader pushed; its checksum was verified.
#[derive(Clone, Debug)]
pub(crate) struct PushedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
    pub(crate) now: TimestampMs,
}

/// What is done once the partition's lock was given back.
#[derive(Default)]
pub(super) struct After {
    acknowledged: Vec<Waiting>,
    failed: Vec<(Waiting, StoreError)>,
    /// The bucket has everything below.
    covered: Option<Offset>,
    /// Readers are to look again.
    changed: bool,
}

impl Written {
    /// The batch is synced. Batches of a partition become durable in the order of their places.
    pub(crate) fn durable(self) {
        let event = Event::LocalDurable { generation: self.generation, up_to: self.next };
        self.partition.step(event, None, &mut NoSink);
    }

    /// The journal takes nothing more; `code` says whether the batch may be there after a restart.
    pub(crate) fn failed(self, code: ErrorCode, reason: &str) {
        let error = StoreError::new(code, format!("{}: {reason}", self.partition.id));
        self.partition.journal_failed(&error);
    }
}

impl Partition {
    /// Brings the replica one event and carries out what follows. `batch` comes with the push that
    /// announces it.
    pub(crate) fn step(self: &Arc<Self>, event: Event, batch: Option<PushedBatch>, sink: &mut dyn Sink) {
        let mut cell = self.cell.lock();
        // Its replica is not the real one yet, and reads the record when it is.
        if matches!(cell.status, Status::Recovering(_)) {
            return;
        }
        let mut actions = std::mem::take(&mut cell.actions);
        cell.replica.step(self.ticks.now(), event, &mut actions);
        let after = self.carry_out(&mut cell, &mut actions, batch, sink);
        cell.actions = actions;
        drop(cell);
        self.finish(after);
    }

    /// The latest committed offset, if it can be told linearizably at this moment.
    pub(crate) fn latest(self: &Arc<Self>) -> Latest {
        let mut cell = self.cell.lock();
        let mut actions = std::mem::take(&mut cell.actions);
        let latest = cell.replica.latest(self.ticks.now(), &mut actions);
        let after = self.carry_out(&mut cell, &mut actions, None, &mut NoSink);
        cell.actions = actions;
        drop(cell);
        self.finish(after);
        latest
    }

    /// The bucket's state was read for a log that is to begin anew. `done` is to be called when what the
    /// journal has of the old one is void, durably. `false` when another cut came since.
    pub(crate) fn begin_anew(self: &Arc<Self>, reset: Reset, state: &PartitionState) -> bool {
        let mut cell = self.cell.lock();
        if cell.replica.generation() != reset.generation {
            return false;
        }
        cell.log.reset(reset.to, state, reset.history);
        true
    }

    /// What the metadata store says of the bucket, read by a new leader.
    pub(crate) fn found_pointer(self: &Arc<Self>, epoch: LeaderEpoch, tiered: Tiered) {
        let marks = {
            let mut cell = self.cell.lock();
            if cell.replica.report().leading != Some(epoch) {
                return;
            }
            let log_start = cell.log.log_start();
            let mut marks = cell.replica.marks();
            marks.tiered_end = marks.tiered_end.max(tiered.end(log_start));
            marks.log_start = marks.log_start.max(tiered.pointer().map_or(log_start, |p| p.log_start));
            cell.tiered = Some(tiered);
            marks
        };
        self.step(Event::Marks(marks), None, &mut NoSink);
        self.changed.notify_waiters();
    }

    /// The journal has nothing below any more.
    pub(crate) fn moved_local_start(self: &Arc<Self>, local_start: Offset) {
        let marks = self.cell.lock().replica.marks();
        let marks = Marks { local_start: marks.local_start.max(local_start), ..marks };
        self.step(Event::Marks(marks), None, &mut NoSink);
    }

    /// This leader's pointer was committed.
    pub(crate) fn published(
        self: &Arc<Self>,
        pointer: Pointer,
        revision: Revision,
        producers: &[ProducerEntry],
    ) {
        let marks = {
            let mut cell = self.cell.lock();
            if let Some(tiered) = &mut cell.tiered {
                tiered.commit(pointer, revision, producers);
            }
            let marks = cell.replica.marks();
            Marks { tiered_end: marks.tiered_end.max(pointer.tiered_end), ..marks }
        };
        self.step(Event::Marks(marks), None, &mut NoSink);
    }

    /// Carries out actions in their order, and takes what the replica knows now into the log's state.
    pub(super) fn carry_out(
        self: &Arc<Self>,
        cell: &mut Cell,
        actions: &mut Vec<Action>,
        mut batch: Option<PushedBatch>,
        sink: &mut dyn Sink,
    ) -> After {
        let mut after = After::default();
        for action in actions.drain(..) {
            self.act(cell, action, &mut batch, sink, &mut after);
        }
        let durable = cell.replica.durable();
        while cell.unsynced.front().is_some_and(|batch| batch.span.next <= durable) {
            cell.unsynced.pop_front();
        }
        let settled = durable.min(cell.replica.high_watermark());
        if settled > cell.log.settled() {
            cell.log.settle(settled);
            after.acknowledged = cell.take_settled();
            after.changed = true;
        }
        let marks = cell.replica.marks();
        cell.log.set_log_start(marks.log_start);
        if marks.tiered_end > cell.covered {
            cell.covered = marks.tiered_end;
            after.covered = Some(marks.tiered_end);
        }
        after
    }

    fn act(
        self: &Arc<Self>,
        cell: &mut Cell,
        action: Action,
        batch: &mut Option<PushedBatch>,
        sink: &mut dyn Sink,
        after: &mut After,
    ) {
        let outside = &self.outside;
        match action {
            Action::WriteEpochStart { epoch, start, .. } => {
                let leadership = Leadership { incarnation: self.incarnation, epoch };
                cell.log.begin_epoch(leadership, start);
                sink.epoch_start(EpochEntry { incarnation: self.incarnation, epoch, start });
            }
            Action::Write { span, generation } => {
                let PushedBatch { header, bytes, now } = batch.take().expect("a push brings its batch");
                self.write(cell, span, generation, (&header, bytes), now, sink);
            }
            Action::Truncate { to, generation } => {
                cell.cut(to, after);
                let done = CutWritten { partition: Arc::clone(self), generation };
                sink.truncate(cell.replica.report().known_epoch, to, done);
            }
            Action::Reset { to, generation, history } => {
                cell.cut(Offset::ZERO, after);
                let entry =
                    |EpochStart { epoch, start }| EpochEntry { incarnation: self.incarnation, epoch, start };
                let history = history.into_iter().map(entry).collect();
                outside.reset(self, Reset { to, generation, history });
            }
            Action::Compare { span } => outside.compare(self, span),
            Action::SendLead { to, lead } => outside.send_lead(to, self.id, lead),
            Action::Push { to, attempt, from, up_to } => outside.push(to, self.id, attempt, from, up_to),
            Action::SendBeat { to, beat } => outside.send_beat(to, self.id, beat),
            Action::SendAck { to, ack } => outside.send_ack(to, self.id, ack),
            Action::SendRefusal { to, refusal } => outside.send_refusal(to, self.id, refusal),
            // What is settled is taken from the replica after all actions.
            Action::Advance { .. } | Action::Rewound { .. } => {}
            Action::FailPending { epoch, from } => {
                let message = format!("{}: leadership under epoch {epoch} ended first", self.id);
                let error = StoreError::new(ErrorCode::NotEnoughReplicasAfterAppend, message);
                let failed = cell.take_beyond(from);
                after.failed.extend(failed.into_iter().map(|waiting| (waiting, error.clone())));
            }
            Action::ProposeIsr { ticket, revision, isr } => {
                outside.propose_isr(self, Proposal { ticket, revision, isr });
            }
            Action::ReadBack => outside.read_back(self),
            Action::ReadTiered => outside.read_tiered(self),
            Action::BecameLeader { epoch, .. } => {
                cell.held_until = None;
                after.changed = true;
                outside.became_leader(self, epoch);
            }
            Action::BecameFollower { .. } => after.changed = true,
            Action::StepDown { epoch, reason } => {
                cell.tiered = None;
                after.changed = true;
                outside.stepped_down(self.id, epoch, reason);
            }
            Action::Raise(alarm) => {
                outside.raise(self.id, cell.replica.report().known_epoch, alarm);
            }
        }
    }

    /// This replica takes part in nothing more, for as long as the process lives, and says why; `false`
    /// when it did not before.
    pub(crate) fn leave(self: &Arc<Self>, status: Status) -> bool {
        {
            let mut cell = self.cell.lock();
            if !matches!(cell.status, Status::Serving | Status::Recovering(_)) {
                return false;
            }
            cell.status = status;
        }
        // What is under way may be committed by others: its outcome is unknown.
        self.step(Event::LocalLost, None, &mut NoSink);
        self.changed.notify_waiters();
        true
    }

    /// The journal fails: so does everything that waits for it.
    fn journal_failed(self: &Arc<Self>, error: &StoreError) {
        let mut cell = self.cell.lock();
        if matches!(cell.status, Status::Serving) {
            cell.status = Status::Failed(error.clone());
        }
        let mut after = After { changed: true, ..After::default() };
        let settled = cell.log.settled();
        let failed = cell.take_beyond(settled);
        after.failed.extend(failed.into_iter().map(|waiting| (waiting, error.clone())));
        drop(cell);
        self.finish(after);
        self.step(Event::LocalLost, None, &mut NoSink);
    }

    /// Answers and wakes, without the partition's lock.
    pub(super) fn finish(&self, after: After) {
        if let Some(tiered_end) = after.covered {
            self.outside.covered(self.id, tiered_end);
        }
        for waiting in after.acknowledged {
            waiting.sender.send(Ok(waiting.produced));
        }
        for (waiting, error) in after.failed {
            waiting.sender.send(Err(error));
        }
        if after.changed {
            self.changed.notify_waiters();
        }
    }
}

impl Cell {
    /// Nothing from `end` on exists here any more.
    fn cut(&mut self, end: Offset, after: &mut After) {
        self.log.truncate(end);
        self.unsynced.retain(|batch: &super::push::Unsynced| batch.span.next <= end);
        after.changed = true;
    }
}

/// A batch as it travels between replicas.
pub(crate) fn span_of(header: &BatchHeader) -> Span {
    Span { epoch: header.leader_epoch, base: header.base_offset, next: header.next_offset(), crc: header.crc }
}
