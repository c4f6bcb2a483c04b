//! What the store is told of nodes: by one task, so that nobody is told from within a call, and the
//! newest only, so that a node that comes and goes cannot fill a queue.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tidelog_model::NodeId;
use tokio::sync::Notify;

use super::Shared;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notice {
    Here,
    Gone,
}

/// One notice for each node at most.
#[derive(Debug, Default)]
pub(super) struct Notices {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    newest: HashMap<NodeId, Notice>,
    order: VecDeque<NodeId>,
}

impl Notices {
    pub(super) fn here(&self, node: NodeId) {
        self.put(node, Notice::Here);
    }

    pub(super) fn gone(&self, node: NodeId) {
        self.put(node, Notice::Gone);
    }

    fn put(&self, node: NodeId, notice: Notice) {
        let mut waiting = self.waiting.lock();
        if waiting.newest.insert(node, notice).is_none() {
            waiting.order.push_back(node);
            drop(waiting);
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Option<(NodeId, Notice)> {
        let mut waiting = self.waiting.lock();
        let node = waiting.order.pop_front()?;
        waiting.newest.remove(&node).map(|notice| (node, notice))
    }
}

/// Tells, until it is dropped.
pub(super) async fn tell(shared: &Shared) {
    loop {
        while let Some((node, notice)) = shared.notices.take() {
            let Some(replicas) = shared.replicas() else { continue };
            match notice {
                Notice::Here => replicas.follower_here(node),
                Notice::Gone => replicas.follower_gone(node),
            }
            // A notice may be long work for a store with many partitions.
            tokio::task::yield_now().await;
        }
        shared.notices.wake.notified().await;
    }
}
