//! Meshes of stores that only write down what they are told, each with its own port.

mod lanes;
mod pressure;
mod reach;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_model::{NodeId, Offset, TopicPartition};
use tidelog_replica::{Ack, Attempt, Instance, Lead, Pushed, Refusal};
use tidelog_runtime::Supervisor;
use tidelog_wire::{ByteBudget, ClusterTls};
use tokio::sync::{Semaphore, mpsc};

use super::values::{RECORDS, push};
use super::{DEADLINE, MIB, nobody, partition, serving, within};
use crate::{LinkServer, Mesh, MeshOptions, PeerAddress, Replicas, Services};

/// What a store was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Here(NodeId),
    Gone(NodeId),
    Ack(TopicPartition, Ack),
    Refusal(TopicPartition, Refusal),
    Lead(TopicPartition, Lead),
    Pushed(TopicPartition, Pushed, Option<Bytes>),
}

/// Has batches of equal size without end for each partition.
struct Played {
    told: mpsc::UnboundedSender<Told>,
    batch: Bytes,
    /// Bytes that the mesh was given to send.
    given_bytes: AtomicUsize,
    /// Reads of [`ON_DISK`] take one each, and so do pushed batches that are taken; closed: no limit.
    disk: Semaphore,
    room: Semaphore,
    /// As a store that calls its mesh under it.
    lock: Mutex<()>,
}

/// The partition whose batches are read from a slow disk.
const ON_DISK: u32 = 1_000_000;

impl Played {
    fn tell(&self, told: Told) {
        let _lock = self.lock.lock();
        // A test that ends does not listen any more.
        let _ = self.told.send(told);
    }
}

#[async_trait]
impl Replicas for Played {
    fn follower_here(&self, node: NodeId) {
        self.tell(Told::Here(node));
    }

    fn follower_gone(&self, node: NodeId) {
        self.tell(Told::Gone(node));
    }

    fn on_ack(&self, partition: TopicPartition, ack: Ack) {
        self.tell(Told::Ack(partition, ack));
    }

    fn on_refusal(&self, partition: TopicPartition, refusal: Refusal) {
        self.tell(Told::Refusal(partition, refusal));
    }

    async fn batches(
        &self,
        id: TopicPartition,
        attempt: Attempt,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
    ) -> Vec<(Pushed, Bytes)> {
        if id == partition(ON_DISK)
            && let Ok(read) = self.disk.acquire().await
        {
            read.forget();
        }
        let wanted = (from.0..up_to.0).step_by(RECORDS as usize);
        let batches = (max_bytes / self.batch.len()).max(1);
        let read: Vec<_> =
            wanted.take(batches).map(|base| (push(attempt.0, base), self.batch.clone())).collect();
        self.given_bytes.fetch_add(read.len() * self.batch.len(), Ordering::Relaxed);
        read
    }

    async fn on_lead(&self, partition: TopicPartition, lead: Lead) {
        self.tell(Told::Lead(partition, lead));
    }

    async fn on_pushed(&self, partition: TopicPartition, pushed: Pushed, batch: Option<Bytes>) {
        if let Ok(room) = self.room.acquire().await {
            room.forget();
        }
        self.tell(Told::Pushed(partition, pushed, batch));
    }
}

/// What all stores of a cluster have in common, and what differs from test to test.
#[derive(Clone)]
struct Cluster {
    tls: ClusterTls,
    batch_bytes: usize,
    frames_bytes: usize,
    /// Whether stores take what is pushed.
    takes: bool,
}

impl Cluster {
    fn new() -> Self {
        Self { tls: super::member(), batch_bytes: 100, frames_bytes: 64 * MIB, takes: true }
    }

    fn start(&self, me: Instance) -> Store {
        self.start_at(me, "127.0.0.1:0".parse().unwrap())
    }

    fn start_at(&self, me: Instance, listen: SocketAddr) -> Store {
        let supervisor = Supervisor::new();
        let (sender, told) = mpsc::unbounded_channel();
        let played = Arc::new(Played {
            told: sender,
            batch: Bytes::from(vec![7; self.batch_bytes]),
            given_bytes: AtomicUsize::new(0),
            disk: Semaphore::new(0),
            room: Semaphore::new(0),
            lock: Mutex::default(),
        });
        if self.takes {
            played.room.close();
        }
        let mesh = Mesh::new(MeshOptions::new(self.tls.clone(), ByteBudget::new(MIB)), me, &supervisor);
        let replicas: Arc<dyn Replicas> = played.clone();
        mesh.attach(Arc::downgrade(&replicas));
        let services = Services { followers: Some(Arc::new(mesh.clone())), ..nobody() };
        let options = serving(listen, &self.tls, self.frames_bytes);
        let server = LinkServer::start(options, services, &supervisor).unwrap();
        Store { me, mesh, played, told, server, supervisor }
    }

    /// A leader and a follower, with a lane between them.
    async fn pair(&self) -> (Store, Store) {
        let mut leader = self.start(super::instance(1));
        let follower = self.start(super::instance(2));
        leader.sees(&[follower.address()]);
        assert_eq!(leader.next().await, Told::Here(NodeId(2)));
        (leader, follower)
    }
}

struct Store {
    me: Instance,
    mesh: Mesh,
    played: Arc<Played>,
    told: mpsc::UnboundedReceiver<Told>,
    server: LinkServer,
    supervisor: Supervisor,
}

impl Store {
    fn address(&self) -> PeerAddress {
        PeerAddress { address: self.server.local_addr().to_string(), instance: self.me }
    }

    fn sees(&self, peers: &[PeerAddress]) {
        let peers: HashMap<_, _> = peers.iter().map(|peer| (peer.instance.node(), peer.clone())).collect();
        self.mesh.set_peers(peers);
    }

    fn push(&self, n: u32, attempt: u32, from: u64, up_to: u64) {
        self.mesh.push(NodeId(2), partition(n), Attempt(attempt), Offset(from), Offset(up_to));
    }

    async fn next(&mut self) -> Told {
        within(self.told.recv()).await.expect("the store is there")
    }

    /// The next batch: its partition and where it begins.
    async fn next_batch(&mut self) -> (u32, u64) {
        match self.next().await {
            Told::Pushed(partition, pushed, Some(_)) => {
                (partition.partition.0, pushed.span.expect("it has a batch").base.0)
            }
            other => panic!("{other:?} is no batch"),
        }
    }

    /// Ends everything, and says where it was.
    async fn stop(self) -> SocketAddr {
        let addr = self.server.local_addr();
        self.server.shut_down(DEADLINE).await;
        self.mesh.shut_down(DEADLINE).await.unwrap();
        self.supervisor.shut_down(DEADLINE).await.unwrap();
        assert_eq!(self.supervisor.verdict(), None);
        addr
    }
}
