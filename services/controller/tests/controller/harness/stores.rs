//! Stores that are played: what they answer, and when they do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelog_controller::{Stores, Unreachable};
use tidelog_meta::Live;
use tidelog_model::{DirectoryId, LeaderEpoch, Offset, TopicPartition};
use tidelog_peer::{HandOver, LogReport, LogReports, PartitionBytes, Ping, Pong};
use tokio::sync::{Notify, watch};

/// How a store behaves towards the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Up,
    /// It takes calls and never answers.
    Silent,
    /// Nobody listens.
    Gone,
}

#[derive(Debug)]
struct Store {
    mode: Mode,
    directory: DirectoryId,
    boot: u64,
    fit: bool,
    resigned: Vec<(TopicPartition, LeaderEpoch)>,
    /// Last epoch and end of every log that has its own; the others are empty.
    logs: BTreeMap<TopicPartition, (u32, u64)>,
    sizes: Vec<PartitionBytes>,
    closed: Arc<Notify>,
}

/// A call that a controller made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Report { node: u32, partitions: usize },
    HandOver { node: u32, partitions: usize },
}

#[derive(Debug, Default)]
pub(crate) struct Played {
    stores: Mutex<BTreeMap<u32, Store>>,
    calls: Mutex<Vec<Call>>,
    /// While true, no store answers what its logs hold.
    gate: watch::Sender<bool>,
}

impl Played {
    pub(crate) fn start(&self, live: &Live) {
        let store = Store {
            mode: Mode::Up,
            directory: live.directory,
            boot: live.boot,
            fit: true,
            resigned: Vec::new(),
            logs: BTreeMap::new(),
            sizes: Vec::new(),
            closed: Arc::default(),
        };
        self.stores.lock().insert(live.node.0, store);
    }

    /// The same stores, seen by another controller: it can be cut off by itself.
    pub(crate) fn another(&self) -> Arc<Self> {
        let another = Self::default();
        for (node, store) in &*self.stores.lock() {
            let copy = Store {
                resigned: vec![],
                sizes: vec![],
                logs: store.logs.clone(),
                closed: Arc::default(),
                ..*store
            };
            another.stores.lock().insert(*node, copy);
        }
        Arc::new(another)
    }

    fn change(&self, node: u32, change: impl FnOnce(&mut Store)) {
        change(self.stores.lock().get_mut(&node).unwrap());
    }

    pub(crate) fn mode(&self, node: u32, mode: Mode) {
        self.change(node, |store| store.mode = mode);
    }

    /// The process ends: nobody listens, and connections close.
    pub(crate) fn kill(&self, node: u32) {
        self.change(node, |store| {
            store.mode = Mode::Gone;
            store.closed.notify_waiters();
        });
    }

    /// A connection closes for no reason.
    pub(crate) fn close(&self, node: u32) {
        self.change(node, |store| store.closed.notify_waiters());
    }

    pub(crate) fn fit(&self, node: u32, fit: bool) {
        self.change(node, |store| store.fit = fit);
    }

    pub(crate) fn resign(&self, node: u32, partition: TopicPartition, epoch: LeaderEpoch) {
        self.change(node, |store| store.resigned.push((partition, epoch)));
    }

    pub(crate) fn log(&self, node: u32, partition: TopicPartition, epoch: u32, end: u64) {
        self.change(node, |store| {
            store.logs.insert(partition, (epoch, end));
        });
    }

    pub(crate) fn sizes(&self, node: u32, sizes: Vec<PartitionBytes>) {
        self.change(node, |store| store.sizes = sizes);
    }

    pub(crate) fn is_up(&self, node: u32) -> bool {
        self.stores.lock().get(&node).is_some_and(|store| store.mode == Mode::Up)
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    pub(crate) fn hold_reports(&self, hold: bool) {
        self.gate.send_replace(hold);
    }

    async fn answer<T>(&self, live: &Live, answer: impl FnOnce(&Store) -> T) -> Result<T, Unreachable> {
        let mode = self.stores.lock().get(&live.node.0).map_or(Mode::Gone, |store| store.mode);
        match mode {
            Mode::Up => Ok(answer(&self.stores.lock()[&live.node.0])),
            Mode::Silent => std::future::pending().await,
            Mode::Gone => Err(Unreachable::Gone(live.address.clone())),
        }
    }
}

#[async_trait]
impl Stores for Played {
    async fn ping(&self, store: &Live, _: Ping) -> Result<Pong, Unreachable> {
        let pong = |store: &Store| Pong {
            directory: store.directory,
            boot: store.boot,
            fit: store.fit,
            resigned: store.resigned.clone(),
        };
        self.answer(store, pong).await
    }

    async fn report(&self, store: &Live, partitions: Vec<TopicPartition>) -> Result<LogReports, Unreachable> {
        self.calls.lock().push(Call::Report { node: store.node.0, partitions: partitions.len() });
        let _ = self.gate.subscribe().wait_for(|held| !held).await;
        let reports = |store: &Store| {
            let log = |partition| {
                let (epoch, end) = store.logs.get(&partition).copied().unwrap_or((0, 0));
                LogReport { partition, last_epoch: LeaderEpoch(epoch), log_end: Offset(end) }
            };
            let logs = partitions.into_iter().map(log).collect();
            LogReports { directory: store.directory, boot: store.boot, logs }
        };
        self.answer(store, reports).await
    }

    async fn hand_over(&self, store: &Live, _: u64, partitions: Vec<HandOver>) -> Result<(), Unreachable> {
        self.calls.lock().push(Call::HandOver { node: store.node.0, partitions: partitions.len() });
        self.answer(store, |_| ()).await
    }

    async fn sizes(&self, store: &Live) -> Result<Vec<PartitionBytes>, Unreachable> {
        self.answer(store, |store| store.sizes.clone()).await
    }

    async fn closed(&self, store: &Live) {
        let closed = self.stores.lock().get(&store.node.0).map(|store| Arc::clone(&store.closed));
        match closed {
            Some(closed) => closed.notified().await,
            None => std::future::pending().await,
        }
    }
}
