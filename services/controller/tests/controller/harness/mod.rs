//! A cluster whose metadata is real, whose stores are played, and whose clock stands still unless
//! everybody waits for it.

mod meta;
mod stores;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tidelog_controller::{Controller, Operator, Options, Parts, Refusal};
use tidelog_meta::{
    Creation, Embedded, LeaseId, Live, Meta as _, Node, Partition, Replica, Role, SharedMeta, Topic, Txn,
    TypedMeta as _, keys,
};
use tidelog_model::{Clock, DirectoryId, NodeId, TimestampMs, TopicConfig, TopicId, TopicPartition};
use tidelog_peer::{NewTopic, PartitionQuery, PartitionState, PartitionStatus};
use tidelog_runtime::Supervisor;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use meta::{Fault, Steady};
pub(crate) use stores::{Call, Mode, Played};

/// How long anything may take, in the time that is played.
const DEADLINE: Duration = Duration::from_mins(2);

/// Far longer than any test: leases end when a test ends them.
const TTL: Duration = Duration::from_mins(59);

#[derive(Debug, Default)]
struct Counter(AtomicI64);

impl Clock for Counter {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// A store's start: its lease, and what it registered.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) lease: LeaseId,
    pub(crate) live: Live,
}

/// A controller that runs in a store.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) operator: Operator,
    pub(crate) meta: Arc<Steady>,
    pub(crate) stores: Arc<Played>,
    pub(crate) lease: watch::Sender<Option<LeaseId>>,
    pub(crate) supervisor: Supervisor,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) meta: Arc<Steady>,
    /// What the stores do, seen from every controller.
    pub(crate) stores: Arc<Played>,
    pub(crate) started: BTreeMap<u32, Started>,
    pub(crate) options: Options,
    _directory: TempDir,
}

impl Cluster {
    /// Stores that run, without a controller.
    pub(crate) async fn new(nodes: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
        let options = Options { balance: false, ..Options::default() };
        let mut cluster = Self {
            meta: Arc::new(Steady::new(embedded)),
            stores: Arc::new(Played::default()),
            started: BTreeMap::new(),
            options,
            _directory: directory,
        };
        for node in 1..=nodes {
            cluster.start(node).await;
        }
        cluster
    }

    /// Starts a store, for the first time or again, on the disk that it had.
    pub(crate) async fn start(&mut self, node: u32) {
        let boot = self.started.get(&node).map_or(1, |started| started.live.boot + 1);
        let live = Live {
            node: NodeId(node),
            directory: DirectoryId::from_bytes([node as u8; 16]),
            boot,
            address: format!("store-{node}:9441"),
            rack: Some(format!("rack-{node}")),
            software: "test".to_owned(),
            roles: vec![Role::Store],
            draining: false,
        };
        self.stores.start(&live);
        let registered = Node { directory: live.directory, boot };
        let _ = self.meta.txn(Txn::new().put(&keys::node(live.node), &registered)).await.unwrap();
        self.register(live).await;
    }

    /// Binds a registration to a new lease.
    pub(crate) async fn register(&mut self, live: Live) {
        let lease = self.meta.grant(TTL).await.unwrap().id;
        let key = keys::live(live.node);
        let _ = self.meta.txn(Txn::new().put_leased(&key, &live, lease)).await.unwrap();
        self.started.insert(live.node.0, Started { lease, live });
    }

    pub(crate) async fn end_lease(&self, node: u32) {
        self.meta.revoke(self.started[&node].lease).await.unwrap();
    }

    /// A controller in this store, that reaches metadata and stores as everybody does.
    pub(crate) fn seat(&self, node: u32) -> Seat {
        self.seat_with(node, Arc::clone(&self.meta), Arc::clone(&self.stores))
    }

    /// A controller with its own ways to metadata and stores.
    pub(crate) fn seat_with(&self, node: u32, meta: Arc<Steady>, stores: Arc<Played>) -> Seat {
        let supervisor = Supervisor::new();
        let started = &self.started[&node];
        let (lease, receiver) = watch::channel(Some(started.lease));
        let parts = Parts {
            node: NodeId(node),
            boot: started.live.boot,
            meta: Arc::clone(&meta) as SharedMeta,
            stores: Arc::clone(&stores) as _,
            lease: receiver,
            clock: Arc::new(Counter::default()),
            options: self.options,
        };
        let operator = Controller::start(parts, &supervisor);
        Seat { operator, meta, stores, lease, supervisor }
    }

    /// A controller that was elected, in a cluster that has a topic.
    pub(crate) async fn led(nodes: u32, partitions: u32, replicas: u32) -> (Self, Seat, TopicId) {
        let cluster = Self::new(nodes).await;
        let seat = cluster.seat(1);
        let topic = cluster.create(&seat, "web", partitions, replicas).await.unwrap();
        (cluster, seat, topic)
    }

    pub(crate) async fn create(
        &self,
        seat: &Seat,
        name: &str,
        partitions: u32,
        replication_factor: u32,
    ) -> Result<TopicId, Refusal> {
        seat.is_controller().await;
        let created = seat.operator.create_topic(topic(name, partitions, replication_factor)).await;
        created.map(|topic| topic.id)
    }

    pub(crate) async fn meta_topic(&self, topic: TopicId) -> Topic {
        self.meta.read(&keys::topic(topic)).await.unwrap().unwrap().value
    }

    /// What a leader does with a replica that does not follow.
    pub(crate) async fn eject(&self, partition: TopicPartition, node: NodeId) {
        let key = keys::partition(partition);
        let mut record = self.meta.read(&key).await.unwrap().unwrap().value;
        record.isr.retain(|replica| replica.node != node);
        let _ = self.meta.txn(Txn::new().put(&key, &record)).await.unwrap();
    }

    pub(crate) async fn records(&self) -> BTreeMap<TopicPartition, Partition> {
        let all = self.meta.read_all(&keys::partitions()).await.unwrap().items;
        all.into_iter().map(|item| (keys::parse_partition(&item.key).unwrap(), item.value)).collect()
    }

    /// Whom the metadata calls leader of how many partitions.
    pub(crate) async fn leaders(&self) -> BTreeMap<u32, usize> {
        let mut leaders = BTreeMap::new();
        for leader in self.records().await.values().filter_map(|record| record.leader) {
            *leaders.entry(leader.node.0).or_default() += 1;
        }
        leaders
    }

    /// What leaders do: whoever follows and is up becomes in sync.
    pub(crate) async fn catch_up(&self) {
        for stored in self.meta.read_all(&keys::partitions()).await.unwrap().items {
            let mut record = stored.value.clone();
            for node in &stored.value.replicas {
                let Some(started) = self.started.get(&node.0) else { continue };
                let replica = Replica { node: *node, directory: started.live.directory };
                if self.stores.is_up(node.0) && !record.isr.contains(&replica) {
                    record.isr.push(replica);
                }
            }
            if record != stored.value {
                let id = keys::parse_partition(&stored.key).unwrap();
                let key = keys::partition(id);
                let _ = self
                    .meta
                    .txn(Txn::new().when_unchanged(&key, stored.mod_revision).put(&key, &record))
                    .await;
            }
        }
    }

    /// Waits, in played time, until something is so; how long it took.
    pub(crate) async fn until<F: Future<Output = bool>>(
        &self,
        what: &str,
        mut is_so: impl FnMut() -> F,
    ) -> Duration {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !is_so().await {
            assert!(began.elapsed() < DEADLINE, "never: {what}; {:?}", self.records().await);
            tick.tick().await;
        }
        began.elapsed()
    }

    pub(crate) async fn until_node_leads_nothing(&self, node: u32) -> Duration {
        self.until("it leads nothing", async || !self.leaders().await.contains_key(&node)).await
    }

    /// Lets played time pass; nothing is waited for.
    pub(crate) async fn let_pass(&self, time: Duration) {
        let mut tick = tokio::time::interval(time);
        tick.tick().await;
        tick.tick().await;
    }
}

pub(crate) fn topic(name: &str, partitions: u32, replication_factor: u32) -> NewTopic {
    let (name, config) = (name.parse().unwrap(), TopicConfig::default());
    NewTopic { name, partitions, replication_factor: Some(replication_factor), config }
}

/// The partitions of one topic.
pub(crate) fn of(topic: TopicId) -> PartitionQuery {
    PartitionQuery { topic: Some(topic), ..PartitionQuery::default() }
}

impl Seat {
    /// Waits until this is the controller.
    pub(crate) async fn is_controller(&self) {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while let Err(refusal) = self.operator.status().await {
            assert!(began.elapsed() < DEADLINE, "never controller: {refusal}");
            tick.tick().await;
        }
    }

    pub(crate) async fn states(&self) -> Vec<PartitionState> {
        self.partitions().await.into_iter().map(|partition| partition.state).collect()
    }

    pub(crate) async fn partitions(&self) -> Vec<PartitionStatus> {
        self.all(PartitionQuery::default()).await
    }

    /// Every page of an answer.
    pub(crate) async fn all(&self, mut query: PartitionQuery) -> Vec<PartitionStatus> {
        let mut all: Vec<PartitionStatus> = Vec::new();
        loop {
            let page = self.operator.partitions(query).await.unwrap();
            all.extend(page.items);
            if !page.more {
                return all;
            }
            query.after = all.last().map(PartitionStatus::id);
        }
    }
}
