//! A lane: the partitions that share one producer session, and which of them are due.
//!
//! Senders put records into a partition's queue under the partition's lock, and a partition that has
//! something to send onto the lane's agenda. The lane's task takes partitions off the agenda in turn.
//! The locks nest nowhere.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tidelog_model::{PartitionId, TopicId};
use tokio::sync::Notify;

use super::memory::Memory;
use super::queue::{Content, Departure, Identity, Next, Overdue, PartitionQueue, Readiness, Rules, Settled};
use super::ticket::{Acked, BatchState, Ticket};
use crate::Error;
use crate::client::topic::Topic;

/// One partition of one topic, as a producer sees it.
#[derive(Debug)]
pub(super) struct Partition {
    pub(super) topic: Arc<Topic>,
    pub(super) id: PartitionId,
    lane: Arc<Lane>,
    /// Nobody will find it any more to send to it.
    retired: AtomicBool,
    cell: Mutex<Cell>,
}

#[derive(Debug)]
struct Cell {
    queue: PartitionQueue,
    /// On the agenda already.
    ready: bool,
    /// The earliest time at which the agenda holds it.
    timer: Option<Instant>,
}

/// A batch on its way to the session.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) partition: Arc<Partition>,
    pub(super) number: u64,
    pub(super) records: u32,
    pub(super) bytes: Bytes,
}

/// What a partition's turn came to.
#[derive(Debug)]
pub(super) enum Turn {
    Send(Outgoing),
    Nothing,
    NeedsIdentity(Arc<Partition>, Identity),
}

impl Partition {
    pub(super) fn new(
        topic: Arc<Topic>,
        id: PartitionId,
        lane: &Arc<Lane>,
        rules: Rules,
        identity: Option<Identity>,
    ) -> Arc<Self> {
        let cell = Cell { queue: PartitionQueue::new(rules, identity), ready: false, timer: None };
        let partition = Arc::new(Self {
            topic,
            id,
            lane: Arc::clone(lane),
            retired: AtomicBool::new(false),
            cell: Mutex::new(cell),
        });
        lane.partitions.lock().push(Arc::clone(&partition));
        partition
    }

    pub(super) fn topic_id(&self) -> TopicId {
        self.topic.id
    }

    /// Puts a record into the open batch.
    pub(super) fn push(
        self: &Arc<Self>,
        content: &Content<'_>,
        charge: usize,
        memory: &Memory,
    ) -> Result<Ticket, Error> {
        let mut cell = self.cell.lock();
        // Seen under the lock: what is pushed before the lane is abandoned is abandoned with it.
        if self.lane.closed.load(Ordering::Acquire) {
            return Err(Error::Closed("producer"));
        }
        let pushed = cell.queue.push(content, charge, Instant::now, |bytes| memory.buffer(bytes));
        let (state, index, changed) = pushed.map_err(Error::Encode)?;
        if changed {
            self.schedule(cell, Instant::now());
        }
        Ok(Ticket::new(state, self.id, index))
    }

    /// Puts the partition onto the agenda, if it has something to send and does not stand there already.
    fn schedule(self: &Arc<Self>, mut cell: MutexGuard<'_, Cell>, now: Instant) {
        if cell.ready {
            return;
        }
        match cell.queue.readiness(now, false) {
            Readiness::Idle => {}
            Readiness::Send(_) | Readiness::NeedsIdentity(_) => {
                cell.ready = true;
                drop(cell);
                self.lane.add_ready(Arc::clone(self));
            }
            Readiness::At(due) if cell.timer.is_some_and(|timer| timer <= due) => {}
            Readiness::At(due) => {
                cell.timer = Some(due);
                drop(cell);
                self.lane.add_timer(due, Arc::clone(self));
            }
        }
    }

    /// The next look-up of its topic will not find it.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Takes the partition's turn: it is off the agenda, and back on it if there is more to come.
    fn turn(self: Arc<Self>, now: Instant, hurry: bool) -> Turn {
        let mut cell = self.cell.lock();
        cell.ready = false;
        if hurry || cell.timer.is_some_and(|timer| timer <= now) {
            cell.timer = None;
        }
        let departure = match cell.queue.next(now, hurry) {
            Next::Send(departure) => departure,
            Next::Nothing => {
                self.schedule(cell, now);
                return Turn::Nothing;
            }
            Next::NeedsIdentity(old) => {
                drop(cell);
                return Turn::NeedsIdentity(self, old);
            }
        };
        // Checksum and compression happen outside the lock: senders go on filling the next batch.
        drop(cell);
        let Departure { number, records, work } = departure;
        let bytes = work.run();
        let mut cell = self.cell.lock();
        cell.queue.departed(number, bytes.clone());
        self.schedule(cell, now);
        Turn::Send(Outgoing { partition: self, number, records, bytes })
    }

    pub(super) fn answered(self: &Arc<Self>, number: u64, answer: Result<Acked, Error>) -> Option<Settled> {
        let now = Instant::now();
        let mut cell = self.cell.lock();
        let settled = cell.queue.answered(number, answer, now);
        self.schedule(cell, now);
        settled
    }

    pub(super) fn adopt(self: &Arc<Self>, identity: Identity) -> Vec<Settled> {
        let now = Instant::now();
        let mut cell = self.cell.lock();
        let settled = cell.queue.adopt(identity);
        self.schedule(cell, now);
        settled
    }

    /// Seals the open batch and adds every batch without an outcome to `unsettled`.
    fn flush(self: &Arc<Self>, unsettled: &mut Vec<Arc<BatchState>>) {
        let now = Instant::now();
        let mut cell = self.cell.lock();
        cell.queue.seal();
        unsettled.extend(cell.queue.unsettled().cloned());
        self.schedule(cell, now);
    }
}

/// The partitions of one session and the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Every partition that ever had a record.
    partitions: Mutex<Vec<Arc<Partition>>>,
    agenda: Mutex<Agenda>,
    /// Something was put onto the agenda.
    wake: Notify,
    /// The session does not answer and is to be made anew.
    restart: Notify,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Agenda {
    ready: VecDeque<Arc<Partition>>,
    timers: BinaryHeap<Reverse<Timer>>,
}

#[derive(Debug)]
struct Timer {
    due: Instant,
    partition: Arc<Partition>,
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl Eq for Timer {}
impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl Lane {
    fn add_ready(&self, partition: Arc<Partition>) {
        self.agenda.lock().ready.push_back(partition);
        self.wake.notify_one();
    }

    fn add_timer(&self, due: Instant, partition: Arc<Partition>) {
        let mut agenda = self.agenda.lock();
        let earliest = agenda.timers.peek().is_none_or(|Reverse(first)| due < first.due);
        agenda.timers.push(Reverse(Timer { due, partition }));
        drop(agenda);
        if earliest {
            self.wake.notify_one();
        }
    }

    /// Looks at the agenda again.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// The next turn that is due. `hurry`: if none is, the batch that has lingered longest is.
    pub(super) fn next_turn(&self, now: Instant, hurry: bool) -> Option<Turn> {
        let mut early = false;
        let partition = {
            let mut agenda = self.agenda.lock();
            while agenda.timers.peek().is_some_and(|Reverse(timer)| timer.due <= now) {
                let Some(Reverse(timer)) = agenda.timers.pop() else { break };
                agenda.ready.push_back(timer.partition);
            }
            match agenda.ready.pop_front() {
                Some(partition) => partition,
                None if hurry => {
                    early = true;
                    agenda.timers.pop()?.0.partition
                }
                None => return None,
            }
        };
        Some(partition.turn(now, early))
    }

    /// Waits until something may be due.
    pub(super) async fn due(&self) {
        let timer = self.agenda.lock().timers.peek().map(|Reverse(timer)| timer.due);
        match timer {
            Some(due) => {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                }
            }
            None => self.wake.notified().await,
        }
    }

    /// Resolves when the session is to be made anew.
    pub(super) async fn restarted(&self) {
        self.restart.notified().await;
    }

    /// The session is gone.
    pub(super) fn disconnected(&self, error: &Error) -> Vec<Settled> {
        let now = Instant::now();
        self.each(|partition| {
            let mut cell = partition.cell.lock();
            let settled = cell.queue.disconnected(error);
            partition.schedule(cell, now);
            settled
        })
    }

    /// Gives up what has waited for too long.
    pub(super) fn expire(&self) -> Vec<Settled> {
        let now = Instant::now();
        // With one reference left, nobody can send to it, and it has no batch that waits.
        let unused = |p: &Arc<Partition>| p.retired.load(Ordering::Acquire) && Arc::strong_count(p) == 1;
        self.partitions.lock().retain(|p| !unused(p) || p.cell.lock().queue.unsettled().next().is_some());
        self.each(|partition| {
            let mut cell = partition.cell.lock();
            let Overdue { settled, unanswered } = cell.queue.expire(now);
            if unanswered {
                self.restart.notify_one();
            }
            partition.schedule(cell, now);
            settled
        })
    }

    /// Gives everything up; nothing is taken any more.
    pub(super) fn abandon(&self, error: &Error) -> Vec<Settled> {
        self.closed.store(true, Ordering::Release);
        let settled = self.each(|partition| partition.cell.lock().queue.abandon(error));
        // Partitions and lane hold each other until here.
        self.partitions.lock().clear();
        *self.agenda.lock() = Agenda::default();
        settled
    }

    /// Makes everything due, and adds every batch without an outcome to `unsettled`.
    pub(super) fn flush(&self, unsettled: &mut Vec<Arc<BatchState>>) {
        let partitions = self.partitions.lock().clone();
        for partition in partitions {
            partition.flush(unsettled);
        }
    }

    fn each(&self, mut step: impl FnMut(&Arc<Partition>) -> Vec<Settled>) -> Vec<Settled> {
        let partitions = self.partitions.lock().clone();
        partitions.iter().flat_map(&mut step).collect()
    }
}
