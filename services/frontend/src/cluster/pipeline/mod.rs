//! Batches on their way to leaders that may move.
//!
//! Each partition has a queue of batches that are not acknowledged. As long as its leader takes them,
//! a batch is handed to the lane to that store by whoever brings it, and its answer is taken by the task
//! that reads the lane: nobody else is involved. When an answer says that the leader has moved, or the
//! lane ends or is full, a task is started for the partition ([`drive`]) that sends what is unanswered to
//! whoever leads, in order, and ends when that is done. Batches that come meanwhile wait in the queue.

mod drive;
mod queue;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use parking_lot::{Mutex, RwLock};
use tidelog_link::forward::{ForwardLane, LaneRoom};
use tidelog_meta::Image;
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_peer::{Ack, AckSender, AckSink, Produced, StoreError};
use tidelog_wire::{ByteBudget, BytePermit};
use tokio::sync::Notify;
use tokio::time::timeout;

use self::queue::{Outcome, Queue};
use super::Core;
use super::route::{self, NoRoute, Route};

/// What a batch counts for beyond its bytes.
const ENTRY_BYTES: usize = 512;

/// The pipelines of all partitions that batches came for, of topics that exist.
pub(super) struct Pipelines {
    core: Arc<Core>,
    by_partition: RwLock<HashMap<TopicPartition, Arc<Pipeline>>>,
}

/// The batches of one partition.
pub(super) struct Pipeline {
    partition: TopicPartition,
    core: Arc<Core>,
    room: ByteBudget,
    state: Mutex<State>,
    /// An answer came while a task drives.
    progress: Notify,
}

struct State {
    queue: Queue<Room>,
    mode: Mode,
    /// Counts the attempts; the answers of earlier ones mean nothing.
    attempt: u64,
    /// Whom the current attempt goes to.
    sent_to: Option<Route>,
    /// Why the current attempt cannot go on.
    trouble: Option<StoreError>,
}

/// Who sends.
enum Mode {
    /// Nobody: there is nothing to send, and no lane to a leader.
    Idle,
    /// Whoever brings a batch, on this link. Everything in the queue is in flight.
    Direct(Link),
    /// A task.
    Driven,
}

/// A lane to a leader that has taken batches.
#[derive(Clone)]
struct Link {
    lane: Arc<ForwardLane>,
    sink: Arc<Attempt>,
}

/// Takes the answers of one attempt.
struct Attempt {
    pipeline: Weak<Pipeline>,
    number: u64,
}

/// A batch's part of the partition's bound, and of that of all partitions.
type Room = [BytePermit; 2];

impl Pipelines {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, by_partition: RwLock::default() }
    }

    /// The pipeline of a partition that exists.
    pub(super) fn of(&self, partition: TopicPartition) -> Result<Arc<Pipeline>, StoreError> {
        if let Some(pipeline) = self.by_partition.read().get(&partition) {
            return Ok(Arc::clone(pipeline));
        }
        // Whoever makes up names must not make this grow.
        {
            let image = self.core.mirror.image();
            if let Err(none @ NoRoute::Unknown) = route::route(&image, partition) {
                return Err(none.of(&image, partition));
            }
        }
        let mut by_partition = self.by_partition.write();
        let pipeline = by_partition.entry(partition);
        Ok(Arc::clone(pipeline.or_insert_with(|| Arc::new(Pipeline::new(partition, &self.core)))))
    }

    /// Lets go of lanes to leaders that were replaced, and of partitions that are no more.
    pub(super) fn keep_up(&self, image: &Image) {
        let pipelines: Vec<_> = self.by_partition.read().values().cloned().collect();
        let mut gone = HashSet::new();
        for pipeline in pipelines {
            let route = route::route(image, pipeline.partition);
            if pipeline.keep_up(route.as_ref().ok()) && route == Err(NoRoute::Unknown) {
                gone.insert(pipeline.partition);
            }
        }
        if !gone.is_empty() {
            self.by_partition.write().retain(|partition, _| !gone.contains(partition));
        }
    }
}

impl Pipeline {
    fn new(partition: TopicPartition, core: &Arc<Core>) -> Self {
        let state =
            State { queue: Queue::default(), mode: Mode::Idle, attempt: 0, sent_to: None, trouble: None };
        Self {
            partition,
            core: Arc::clone(core),
            room: ByteBudget::new(core.options.partition_bytes),
            state: Mutex::new(state),
            progress: Notify::new(),
        }
    }

    /// Gives a batch its place behind those that came before, and sends it if nothing is in the way.
    pub(super) async fn produce(self: &Arc<Self>, batch: BytesMut) -> Result<Ack, StoreError> {
        let batch_bytes = batch.len();
        let room = self.room(batch_bytes).await?;
        let (sender, ack) = Ack::pending();
        let mut state = self.state.lock();
        let State { queue, mode, .. } = &mut *state;
        queue.push(batch.freeze(), sender, room);
        let resume = match mode {
            Mode::Driven => return Ok(ack),
            Mode::Idle => None,
            Mode::Direct(link) => {
                let room = link.lane.try_room(batch_bytes);
                if room.is_some_and(|room| self.hand_over(queue, link, room)) {
                    return Ok(ack);
                }
                Some(link.clone())
            }
        };
        *mode = Mode::Driven;
        drop(state);
        self.start(resume);
        Ok(ack)
    }

    /// Hands the next batch to a lane; false when there is none, or the lane has ended.
    fn hand_over(&self, queue: &mut Queue<Room>, link: &Link, room: LaneRoom) -> bool {
        let Some((number, batch)) = queue.next() else { return false };
        let answer = AckSender::to_sink(link.sink.clone(), number);
        let Err(answer) = link.lane.send(room, self.partition, batch, answer) else { return true };
        answer.withdraw();
        queue.unsend(number);
        false
    }

    /// Waits for room, which is what slows senders down.
    async fn room(&self, batch_bytes: usize) -> Result<Room, StoreError> {
        let bytes = batch_bytes + ENTRY_BYTES;
        let room = async { [self.room.acquire(bytes).await, self.core.produce_room.acquire(bytes).await] };
        let within = self.core.options.room_timeout;
        timeout(within, room).await.map_err(|_| {
            let (name, waiting) = (self.core.name(self.partition), self.state.lock().queue.len());
            let message =
                format!("{name}: no room within {within:?}, while {waiting} batches wait for its leader");
            StoreError::new(ErrorCode::ThrottlingQuotaExceeded, message)
        })
    }

    /// Starts the task that drives; `resume` when nothing is wrong with that link but that it is full.
    fn start(self: &Arc<Self>, resume: Option<Link>) {
        // Otherwise the process is ending, and who waits is told by that.
        if tokio::runtime::Handle::try_current().is_ok() {
            let driving = drive::drive(Arc::clone(self), resume);
            self.core.tasks.spawn_until_cancelled("router-produce", driving);
        }
    }

    /// The answer to a batch, on the task that read it.
    fn answered(self: &Arc<Self>, attempt: u64, number: u64, answer: Result<Produced, StoreError>) {
        let mut state = self.state.lock();
        if state.attempt != attempt {
            return;
        }
        if let Outcome::Trouble(error) = state.queue.answered(number, answer) {
            state.trouble.get_or_insert(error);
            if let Mode::Direct(_) = state.mode {
                state.mode = Mode::Driven;
                drop(state);
                return self.start(None);
            }
        }
        if let Mode::Driven = state.mode {
            drop(state);
            self.progress.notify_waiters();
        }
    }

    /// Another store leads, or none: what is in flight to the former one is not left to itself. Returns
    /// whether nothing is under way.
    fn keep_up(self: &Arc<Self>, route: Option<&Route>) -> bool {
        let mut state = self.state.lock();
        let same = |known: &Route| route.is_some_and(|route| route.store == known.store);
        match state.mode {
            Mode::Driven => false,
            Mode::Idle => true,
            Mode::Direct(_) if state.sent_to.as_ref().is_some_and(same) => false,
            Mode::Direct(_) if state.queue.is_empty() => {
                state.mode = Mode::Idle;
                true
            }
            Mode::Direct(_) => {
                state.mode = Mode::Driven;
                drop(state);
                self.start(None);
                false
            }
        }
    }
}

impl AckSink for Attempt {
    fn answered(&self, number: u64, answer: Result<Produced, StoreError>) {
        if let Some(pipeline) = self.pipeline.upgrade() {
            pipeline.answered(self.number, number, answer);
        }
    }
}

impl fmt::Debug for Pipelines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipelines")
            .field("partitions", &self.by_partition.read().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("partition", &self.partition).finish_non_exhaustive()
    }
}
