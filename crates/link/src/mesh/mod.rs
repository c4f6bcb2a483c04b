//! The other stores of the cluster, as one store sees them: a replication lane to each of them for the
//! partitions that are led here, and the lanes that they open for the partitions that are followed here.
//!
//! The hazard is where it is called from: under a partition's lock, by all partitions at once, about
//! peers that may take nothing for a while. So every call enqueues under a short lock and returns;
//! nothing of the store is called from within one; and what waits is bounded by the number of
//! partitions, never by how much there is to send. One task for each lane takes turns through the
//! partitions and asks the store for their batches only when the transport has taken the ones before.
//!
//! What cannot be sent is dropped: the protocol repeats itself.

mod answers;
mod counts;
mod dial;
mod follow;
mod link;
mod notices;
mod outgoing;
mod turns;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tidelog_model::{NodeId, Offset, TopicPartition};
use tidelog_replica::{Ack, Attempt, Instance, Lead, Pushed, Refusal};
use tidelog_runtime::{Supervisor, Unfinished};
use tidelog_wire::{ByteBudget, ClusterTls, TransportSettings};

use crate::limits::{MESH_CONNECT_TIMEOUT, MESH_RETRY_MAX, MESH_RETRY_MIN};
use answers::Leaders;
use counts::Counters;
use link::Link;
use notices::Notices;
use outgoing::Range;

pub use counts::MeshCounts;

/// A store, as its mesh calls it. The mesh calls from tasks of its own, never from within a call that
/// is made to it. What is not async must not block.
#[async_trait]
pub trait Replicas: Send + Sync + 'static {
    /// A lane to this node is open. Told again when it was opened again.
    fn follower_here(&self, node: NodeId);

    /// This node cannot be reached, or is none of the cluster. Told when that begins, and again in
    /// answer to what cannot be sent to it.
    fn follower_gone(&self, node: NodeId);

    fn on_ack(&self, partition: TopicPartition, ack: Ack);

    fn on_refusal(&self, partition: TopicPartition, refusal: Refusal);

    /// The next batches of a push, ascending, with the header of each; empty when there is nothing (any
    /// more) to send. Reads memory or the journal. At least one batch if there is one, then up to
    /// `max_bytes`.
    ///
    /// Dropped when the lane ends.
    async fn batches(
        &self,
        partition: TopicPartition,
        attempt: Attempt,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
    ) -> Vec<(Pushed, Bytes)>;

    /// A leader's message; the leader's next one comes after it. Dropped when the lane ends.
    async fn on_lead(&self, partition: TopicPartition, lead: Lead);

    /// As [`Self::on_lead`]. Waits for room in the journal: that is the lane's back-pressure, and holds
    /// what the frame takes of the port's budget.
    async fn on_pushed(&self, partition: TopicPartition, pushed: Pushed, batch: Option<Bytes>);
}

/// How the mesh reaches others, and what it may cost.
#[derive(Clone, Debug)]
pub struct MeshOptions {
    pub tls: ClusterTls,
    /// This store's name, for the peers' logs.
    pub client_id: String,
    /// For received frames, all peers together: they carry no batches.
    pub budget: ByteBudget,
    pub settings: TransportSettings,
    /// From the first packet to the open lane.
    pub connect_timeout: Duration,
    /// A peer that cannot be reached is tried after `retry_min`, then twice as long, up to `retry_max`.
    pub retry_min: Duration,
    pub retry_max: Duration,
}

impl MeshOptions {
    pub fn new(tls: ClusterTls, budget: ByteBudget) -> Self {
        Self {
            tls,
            client_id: String::new(),
            budget,
            settings: TransportSettings::default(),
            connect_timeout: MESH_CONNECT_TIMEOUT,
            retry_min: MESH_RETRY_MIN,
            retry_max: MESH_RETRY_MAX,
        }
    }
}

/// Where a store is, and which start of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// `host:port` of its internal port.
    pub address: String,
    pub instance: Instance,
}

/// All other stores. Cheap to clone; clones are the same mesh.
///
/// As [`Followers`](crate::Followers) it serves the lanes that leaders open.
#[derive(Clone)]
pub struct Mesh(Arc<Shared>);

struct Shared {
    options: MeshOptions,
    me: Instance,
    tasks: Supervisor,
    replicas: OnceLock<Weak<dyn Replicas>>,
    peers: RwLock<HashMap<NodeId, Arc<Link>>>,
    leaders: Leaders,
    notices: Arc<Notices>,
    counters: Arc<Counters>,
}

impl Mesh {
    /// A mesh without peers. Its tasks end with the supervisor, or by [`Self::shut_down`]. Call it, and
    /// [`Self::set_peers`], within a tokio runtime.
    pub fn new(options: MeshOptions, me: Instance, supervisor: &Supervisor) -> Self {
        let shared = Arc::new(Shared {
            options,
            me,
            tasks: supervisor.child(),
            replicas: OnceLock::new(),
            peers: RwLock::default(),
            leaders: Leaders::default(),
            notices: Arc::default(),
            counters: Arc::default(),
        });
        let telling = Arc::clone(&shared);
        shared.tasks.spawn_until_cancelled("mesh-notices", async move { notices::tell(&telling).await });
        Self(shared)
    }

    /// Whose lanes these are. Once, before anything else.
    ///
    /// # Panics
    /// When it is called again.
    pub fn attach(&self, replicas: Weak<dyn Replicas>) {
        assert!(self.0.replicas.set(replicas).is_ok(), "a mesh belongs to one store");
    }

    /// Who there is. A node that is missing is gone; one at another address, or of a later start, is
    /// connected to at once. This store itself is left out.
    pub fn set_peers(&self, peers: HashMap<NodeId, PeerAddress>) {
        let mut links = self.0.peers.write();
        links.retain(|node, link| {
            let stays = peers.contains_key(node);
            if !stays {
                link.remove();
            }
            stays
        });
        for (node, address) in peers {
            if node == self.0.me.node() {
                continue;
            }
            match links.get(&node) {
                Some(link) => link.set_address(address),
                None => drop(links.insert(node, dial::start(&self.0, node, address))),
            }
        }
    }

    /// Replaces a Lead that waits, and makes what waits of earlier attempts void.
    pub fn lead(&self, to: NodeId, partition: TopicPartition, lead: Lead) {
        self.put(to, |link| link.enqueue(|out| out.lead(partition, lead)));
    }

    /// Replaces a heartbeat that waits.
    pub fn beat(&self, to: NodeId, partition: TopicPartition, beat: Pushed) {
        self.put(to, |link| link.enqueue(|out| out.beat(partition, beat)));
    }

    /// Goes on with a push of the same attempt that is under way; replaces one of another.
    pub fn push(&self, to: NodeId, partition: TopicPartition, attempt: Attempt, from: Offset, up_to: Offset) {
        let range = Range { attempt, from, up_to };
        self.put(to, |link| link.enqueue(|out| out.push(partition, range)));
    }

    /// Replaces an acknowledgement that waits. Dropped when that leader has no lane here.
    pub fn ack(&self, to: NodeId, partition: TopicPartition, ack: Ack) {
        self.0.answer(to, |answers| answers.ack(partition, ack));
    }

    /// Replaces a refusal that waits. Dropped when that leader has no lane here.
    pub fn refuse(&self, to: NodeId, partition: TopicPartition, refusal: Refusal) {
        self.0.answer(to, |answers| answers.refuse(partition, refusal));
    }

    pub fn counts(&self) -> MeshCounts {
        let mut counts = self.0.counters.counts();
        for link in self.0.peers.read().values() {
            counts.peers += 1;
            counts.open_lanes += u64::from(link.is_open());
            counts.queued_partitions += link.queued() as u64;
        }
        counts
    }

    /// The peers with an open lane, for reports.
    pub fn reachable(&self) -> HashSet<NodeId> {
        let links = self.0.peers.read();
        links.iter().filter(|(_, link)| link.is_open()).map(|(node, _)| *node).collect()
    }

    /// Closes every lane, those of leaders too; nothing is sent or told any more. The port that serves
    /// this mesh is closed before: leaders would come back at once.
    pub async fn shut_down(&self, within: Duration) -> Result<(), Unfinished> {
        self.0.tasks.shut_down(within).await
    }

    /// The peers stay locked meanwhile: what is told of a node keeps the order of what happens to it.
    fn put(&self, to: NodeId, put: impl FnOnce(&Link)) {
        let links = self.0.peers.read();
        match links.get(&to) {
            Some(link) => put(link),
            None => self.0.notices.gone(to),
        }
    }
}

impl Shared {
    /// `None` before the store is attached and when it is no more.
    fn replicas(&self) -> Option<Arc<dyn Replicas>> {
        self.replicas.get()?.upgrade()
    }

    fn answer(&self, to: NodeId, put: impl FnOnce(&answers::Answers)) {
        if !self.leaders.with(to, put) {
            self.counters.dropped_answer();
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh").field("me", &self.0.me).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
