//! One peer: whether it can be reached, and what waits for it.

use std::sync::Arc;

use parking_lot::Mutex;
use tidelog_model::{NodeId, Offset, TopicPartition};
use tidelog_runtime::CancellationToken;
use tokio::sync::{Notify, watch};

use super::PeerAddress;
use super::counts::Counters;
use super::notices::Notices;
use super::outgoing::{Outgoing, Turn};

/// A peer, shared by those who send to it and the task that keeps its lane open.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) address: watch::Sender<PeerAddress>,
    /// Cancelled when the node is none of the cluster any more, and with the mesh.
    pub(super) over: CancellationToken,
    state: Mutex<State>,
    /// Something is there to be sent.
    pub(super) wake: Notify,
    notices: Arc<Notices>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct State {
    reach: Reach,
    out: Outgoing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// An attempt is under way whose outcome will be told. What is sent meanwhile is dropped.
    Trying,
    Open,
    /// It was told that the node is gone.
    Gone,
    Removed,
}

impl Link {
    pub(super) fn new(
        node: NodeId,
        address: PeerAddress,
        over: CancellationToken,
        notices: Arc<Notices>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            node,
            address: watch::Sender::new(address),
            over,
            state: Mutex::new(State { reach: Reach::Trying, out: Outgoing::default() }),
            wake: Notify::new(),
            notices,
            counters,
        }
    }

    pub(super) fn set_address(&self, address: PeerAddress) {
        self.address.send_if_modified(|current| {
            let changes = *current != address;
            *current = address;
            changes
        });
    }

    /// Puts something into the queue of the open lane; `put` says whether it made a new turn. Notices
    /// are given under the lock: the last one says how it is.
    pub(super) fn enqueue(&self, put: impl FnOnce(&mut Outgoing) -> bool) {
        let mut state = self.state.lock();
        match state.reach {
            Reach::Open => {
                if put(&mut state.out) {
                    drop(state);
                    self.wake.notify_one();
                }
            }
            Reach::Trying => self.counters.dropped_message(),
            Reach::Gone | Reach::Removed => {
                self.counters.dropped_message();
                self.notices.gone(self.node);
            }
        }
    }

    /// The next turn of the open lane.
    pub(super) fn next(&self) -> Option<Turn> {
        self.state.lock().out.next()
    }

    pub(super) fn done(&self, partition: TopicPartition, next: Offset) {
        self.state.lock().out.done(partition, next);
    }

    pub(super) fn opened(&self) {
        let mut state = self.state.lock();
        if state.reach != Reach::Removed {
            state.reach = Reach::Open;
            self.notices.here(self.node);
        }
    }

    /// The lane ended; what comes of it is about to be found out.
    pub(super) fn closed(&self) {
        let mut state = self.state.lock();
        if state.reach == Reach::Open {
            state.reach = Reach::Trying;
        }
        // What was dropped is asked for again once there is a lane.
        state.out = Outgoing::default();
    }

    /// The node cannot be reached; says whether that is new.
    pub(super) fn gone(&self) -> bool {
        let mut state = self.state.lock();
        let changes = matches!(state.reach, Reach::Trying | Reach::Open);
        if changes {
            state.reach = Reach::Gone;
            self.notices.gone(self.node);
        }
        changes
    }

    /// The node is none of the cluster any more.
    pub(super) fn remove(&self) {
        let mut state = self.state.lock();
        if state.reach != Reach::Gone {
            self.notices.gone(self.node);
        }
        state.reach = Reach::Removed;
        state.out = Outgoing::default();
        drop(state);
        self.over.cancel();
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().reach == Reach::Open
    }

    /// Partitions with something to send.
    pub(super) fn queued(&self) -> usize {
        self.state.lock().out.len()
    }
}
