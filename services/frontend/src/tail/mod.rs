//! One tail for all who follow it: what a store has to say that is new, it says to this process once.
//!
//! Fetches at a partition's end that may have the same answer are one call to the store, a *flight*;
//! everyone gets the same bytes. The newest answers stay a moment in a ring, for those who are a little
//! behind. Who is further behind than that asks the store alone, and comes back to the shared tail when
//! it has caught up.
//!
//! The hazard: records that a store would no longer serve. The ring has committed records only, and is
//! given up whenever it might not be what the log is: after an error, and when an end goes back.
//!
//! Worth its memory where the store is another process. Within one process a fetch is a function call
//! that finds the same bytes in the journal's own cache of the tail, so nothing is put before it there.

mod flight;
mod followed;
mod pieces;
mod ring;
mod state;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;
use tidelog_model::{ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tidelog_peer::{
    Ack, Fetch, Fetched, Isolation, ListedOffset, OffsetSpec, PartitionDescription, PartitionStore,
    StoreError,
};
use tidelog_runtime::{Metrics, Supervisor};
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::metrics::{TailMetrics, observe_with};
use followed::{Answer, Place, Way};
use state::{Keep, State};

/// How often old answers are looked for.
const SWEEP: Duration = Duration::from_secs(1);

/// What recent answers may take up.
#[derive(Clone, Copy, Debug)]
pub struct TailOptions {
    /// Of one partition.
    pub partition_bytes: usize,
    /// Of all partitions together; the oldest go first.
    pub total_bytes: usize,
    /// How long an answer stays. It goes up to a second later.
    pub keep: Duration,
}

impl Default for TailOptions {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        // The largest batch of a topic with the default settings has a place in a ring.
        Self { partition_bytes: 2 * MIB, total_bytes: 32 * MIB, keep: Duration::from_secs(5) }
    }
}

/// A store whose tails are shared by all who read them through this. Cheap to clone; clones share.
///
/// Everything but [`PartitionStore::fetch`] goes on to the store as it is.
#[derive(Clone)]
pub struct SharedTail(Arc<Inner>);

struct Inner {
    store: Arc<dyn PartitionStore>,
    /// Taken for moments only: never while a call to the store is made or dropped.
    state: Mutex<State>,
    metrics: TailMetrics,
}

impl std::fmt::Debug for SharedTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedTail").finish_non_exhaustive()
    }
}

impl SharedTail {
    /// Call it within a tokio runtime: a task of `supervisor` drops what is old.
    pub fn new(
        store: Arc<dyn PartitionStore>,
        options: TailOptions,
        metrics: &Metrics,
        supervisor: &Supervisor,
    ) -> Self {
        let (state, numbers) = (Mutex::new(State::new(options)), TailMetrics::register(metrics));
        let inner = Arc::new(Inner { store, state, metrics: numbers });
        let watched = |read: fn(&State) -> usize| {
            let inner = Arc::downgrade(&inner);
            move || inner.upgrade().map_or(0, |inner| read(&inner.state.lock()))
        };
        observe_with(
            metrics,
            "frontend_tail_held_bytes",
            "Memory of recent answers",
            watched(State::held_bytes),
        );
        observe_with(
            metrics,
            "frontend_tail_partitions",
            "Partitions whose tail is shared",
            watched(State::partitions),
        );
        supervisor.spawn_until_cancelled("tail-sweep", sweep(Arc::downgrade(&inner)));
        Self(inner)
    }
}

/// Ends with the tail.
async fn sweep(inner: Weak<Inner>) {
    let mut turns = tokio::time::interval(SWEEP);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.state.lock().sweep(Instant::now());
    }
}

impl Inner {
    /// Decides, and begins what has to be begun, in one step: of many who come at once, one begins.
    fn way(self: &Arc<Self>, fetch: &Fetch) -> Way {
        let mut state = self.state.lock();
        let way = match state.get(fetch.partition) {
            Some(followed) => followed.way(fetch),
            None if fetch.max_wait.is_some() => Way::Begin,
            None => Way::Alone,
        };
        match way {
            Way::Begin => {
                let (flight, until) = self.begin(&mut state, fetch);
                self.metrics.asked.inc();
                Way::Join(flight, until)
            }
            Way::Join(..) => {
                self.metrics.joined.inc();
                way
            }
            Way::Here(Fetched::Batches { ref batches, .. }) => {
                let bytes = batches.iter().map(|batch| batch.len() as u64).sum();
                self.metrics.served_bytes.inc_by(bytes);
                way
            }
            way => way,
        }
    }

    /// Asks the store for this reader only.
    async fn alone(&self, fetch: Fetch) -> Answer {
        self.metrics.asked.inc();
        let asked = self.state.lock().ask(fetch.partition, Place::of(&fetch));
        let mut answer = self.store.fetch(fetch).await;
        let mut state = self.state.lock();
        state.learn(&asked, &mut answer, Keep::Never);
        state.meet(&asked, &mut answer);
        answer
    }

    /// Nothing came while this reader waited; others go on waiting.
    async fn in_vain(&self, fetch: Fetch) -> Answer {
        let marks = self.state.lock().get(fetch.partition).and_then(|followed| followed.marks);
        match marks {
            Some(marks) => Ok(Fetched::Nothing { marks }),
            None => self.alone(Fetch { max_wait: None, ..fetch }).await,
        }
    }
}

#[async_trait]
impl PartitionStore for SharedTail {
    async fn produce(&self, partition: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        self.0.store.produce(partition, batch).await
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        let deadline = fetch.max_wait.map(|wait| Instant::now() + wait);
        loop {
            let max_wait = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let (flight, until) = match self.0.way(&Fetch { max_wait, ..fetch }) {
                Way::Here(found) => return Ok(found),
                Way::Join(flight, until) => (flight, until),
                Way::Begin | Way::Alone => return self.0.alone(Fetch { max_wait, ..fetch }).await,
            };
            // The flight of who waits as long ends in time by itself.
            let sooner = deadline.filter(|deadline| until.is_some_and(|until| *deadline < until));
            let answer = match sooner {
                Some(deadline) => match timeout_at(deadline, flight).await {
                    Ok(answer) => answer,
                    Err(_) => return self.0.in_vain(fetch).await,
                },
                None => flight.await,
            };
            match answer? {
                // Who began it wanted to wait less.
                Fetched::Nothing { .. } if deadline > until && deadline > Some(Instant::now()) => {}
                Fetched::Batches { batches, marks } => {
                    let batches = pieces::share(&batches, fetch.max_bytes);
                    return Ok(Fetched::Batches { batches, marks });
                }
                answer => return Ok(answer),
            }
        }
    }

    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        self.0.store.list_offset(partition, spec, isolation).await
    }

    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError> {
        self.0.store.describe(partition).await
    }

    async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        self.0.store.offload(topic).await
    }

    async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        self.0.store.evict(topic).await
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        self.0.store.init_producer().await
    }
}
