//! A cluster without controller and replication: the test does their work.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tidelog_format::batch::{BatchBuilder, BatchOptions};
use tidelog_frontend::{Router, RouterOptions};
use tidelog_link::{LinkServer, LinkServerOptions, Services};
use tidelog_meta::{
    Creation, Embedded, Leader, Live, Meta as _, Mirror, Partition, Replica, Topic, Txn, TypedMeta as _,
    election, keys,
};
use tidelog_model::{
    Clock, ClusterId, DirectoryId, NodeId, PartitionId, ProducerEpoch, ProducerId, Sequence, TimestampMs,
    TopicConfig, TopicId, TopicName, TopicPartition,
};
use tidelog_runtime::{CancellationToken, Supervisor};
use tidelog_wire::{
    Authority, ByteBudget, CertificateRequest, CertificateUse, ClusterTls, TransportSettings,
};
use tokio::time::timeout;

use crate::store::{Logs, Played};
use crate::watched::Watched;

/// Long enough for anything on loopback; reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(30);

const MIB: usize = 1024 * 1024;

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }
}

pub(crate) struct World {
    pub(crate) meta: Arc<Watched>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) router: Router,
    pub(crate) mirror: Arc<Mirror>,
    /// The router's alone.
    pub(crate) tasks: Supervisor,
    stores: Mutex<BTreeMap<NodeId, Started>>,
    tls: ClusterTls,
    supervisor: Supervisor,
    _directory: tempfile::TempDir,
}

/// A store, its port while its process runs, and how often it was started.
type Started = (Arc<Played>, Option<LinkServer>, u64);

impl World {
    /// With so many stores, numbered from 1, each in a rack of its own.
    pub(crate) async fn with(stores: u32) -> Self {
        Self::with_options(stores, |_| {}).await
    }

    pub(crate) async fn with_options(stores: u32, change: impl FnOnce(&mut RouterOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let meta = Embedded::open(&directory.path().join("meta"), Creation::IfMissing).unwrap();
        let meta = Arc::new(Watched::new(Arc::new(meta)));
        let supervisor = Supervisor::new();
        let (mirror, following) = Mirror::open(meta.clone(), None).await.unwrap();
        supervisor.spawn_until_cancelled("mirror", following);
        let tls = member();
        let mut options = RouterOptions::new(tls.clone(), ByteBudget::new(64 * MIB));
        change(&mut options);
        let tasks = supervisor.child();
        let router = Router::start(options, Arc::clone(&mirror), meta.clone(), &tasks);
        let (logs, stores_by_node) = (Arc::default(), Mutex::default());
        let world = Self {
            meta,
            logs,
            router,
            mirror,
            tasks,
            stores: stores_by_node,
            tls,
            supervisor,
            _directory: directory,
        };
        for node in 1..=stores {
            world.start_store(node).await;
        }
        world
    }

    /// Starts a store, or starts it again.
    pub(crate) async fn start_store(&self, node: u32) {
        let id = NodeId(node);
        let boot = self.stores.lock().get(&id).map_or(1, |(.., boot)| boot + 1);
        let store = Played::new(id, Arc::clone(&self.logs));
        let services = Services {
            cluster: None,
            partitions: Some(store.clone()),
            topics: Some(store.clone()),
            control: None,
            followers: None,
            drain: CancellationToken::new(),
            replies: ByteBudget::new(64 * MIB),
        };
        let options = LinkServerOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: self.tls.clone(),
            cluster: ClusterId::from_bytes([1; 16]),
            software: "tests/1".to_owned(),
            frames: ByteBudget::new(64 * MIB),
            settings: TransportSettings::default(),
            clock: Arc::new(FixedClock),
        };
        let server = LinkServer::start(options, services, &self.supervisor).unwrap();
        let live = Live {
            node: id,
            directory: directory(id),
            boot,
            address: server.local_addr().to_string(),
            rack: Some(format!("rack-{node}")),
            software: String::new(),
            roles: Vec::new(),
            draining: false,
        };
        self.stores.lock().insert(id, (store, Some(server), boot));
        self.commit(Txn::new().put(&keys::live(id), &live)).await;
    }

    /// Its process ends; its lease does not yet.
    pub(crate) async fn kill(&self, node: u32) {
        let server = self.stores.lock().get_mut(&NodeId(node)).unwrap().1.take().unwrap();
        server.shut_down(DEADLINE).await;
    }

    /// Its lease ends.
    pub(crate) async fn expire(&self, node: u32) {
        self.commit(Txn::new().delete(&keys::live(NodeId(node)))).await;
    }

    pub(crate) fn store(&self, node: u32) -> Arc<Played> {
        Arc::clone(&self.stores.lock()[&NodeId(node)].0)
    }

    pub(crate) async fn commit(&self, txn: Txn) {
        within(self.meta.txn(txn)).await.unwrap().committed().expect("nobody else writes");
    }

    /// A topic, whose partitions nobody leads.
    pub(crate) async fn topic(&self, name: &str, partitions: u32) -> Vec<TopicPartition> {
        let id = TopicId(uuid::Uuid::new_v4());
        self.put_topic(id, name, partitions).await;
        let partitions: Vec<_> =
            (0..partitions).map(|number| TopicPartition::new(id, PartitionId(number))).collect();
        within(self.until(|world| world.mirror.image().topic(id).is_some())).await;
        partitions
    }

    pub(crate) async fn put_topic(&self, id: TopicId, name: &str, partitions: u32) {
        let name = TopicName::new(name).unwrap();
        let topic = Topic::new(name, partitions, &TopicConfig::default(), TimestampMs(7));
        self.commit(Txn::new().put(&keys::topic(id), &topic)).await;
    }

    /// A topic whose partitions this store leads.
    pub(crate) async fn led_topic(&self, name: &str, partitions: u32, node: u32) -> Vec<TopicPartition> {
        let partitions = self.topic(name, partitions).await;
        for chunk in partitions.chunks(100) {
            self.elect_all(chunk, Some(node)).await;
        }
        let led = |id: &TopicPartition| self.mirror.image().partition(*id).is_some();
        within(self.until(|_| partitions.iter().all(led))).await;
        partitions
    }

    /// Makes a store the leader: first it knows, then everyone.
    pub(crate) async fn elect(&self, partition: TopicPartition, node: u32) {
        self.elect_all(&[partition], Some(node)).await;
    }

    pub(crate) async fn elect_all(&self, partitions: &[TopicPartition], node: Option<u32>) {
        for id in partitions {
            self.logs.with(*id, |log| log.leader = node.map(NodeId));
        }
        self.announce(partitions, node).await;
    }

    /// The metadata says that a store leads, whatever that store knows.
    pub(crate) async fn announce(&self, partitions: &[TopicPartition], node: Option<u32>) {
        let stores: Vec<(NodeId, u64)> =
            self.stores.lock().iter().map(|(node, (.., boot))| (*node, *boot)).collect();
        let leader = node.map(|node| {
            let (node, boot) = *stores.iter().find(|(known, _)| known.0 == node).unwrap();
            Leader { node, directory: directory(node), boot }
        });
        let mut txn = Txn::new();
        for id in partitions {
            let before = self.meta.read(&keys::partition(*id)).await.unwrap();
            let before = before.map(|stored| stored.value).unwrap_or_default();
            let isr = stores.iter().map(|(node, _)| Replica { node: *node, directory: directory(*node) });
            let replicas = stores.iter().map(|(node, _)| *node).collect();
            let epoch = before.epoch.next();
            let record = Partition { epoch, leader, replicas, isr: isr.collect(), ..Partition::default() };
            txn = txn.put(&keys::partition(*id), &record);
        }
        self.commit(txn).await;
    }

    /// Wins the controller's election for a store, after everyone who won it before is out.
    pub(crate) async fn elect_controller(&self, node: u32) {
        while let Some(leader) = election::leader(&*self.meta, election::CONTROLLER).await.unwrap() {
            election::depose(&*self.meta, election::CONTROLLER, &leader).await.unwrap();
        }
        let boot = self.stores.lock()[&NodeId(node)].2;
        let incumbent = election::Incumbent { node: NodeId(node), boot };
        let lease = self.meta.grant(Duration::from_mins(10)).await.unwrap().id;
        let campaign = election::campaign(&*self.meta, election::CONTROLLER, lease, incumbent.encode());
        within(campaign).await.unwrap();
    }

    /// Waits until the image is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut versions = self.mirror.versions();
        while !wanted(self) {
            within(versions.changed()).await.unwrap();
        }
    }

    pub(crate) async fn stop(self) {
        let servers: Vec<_> =
            self.stores.lock().values_mut().filter_map(|(_, server, _)| server.take()).collect();
        self.tasks.cancel();
        for server in servers {
            server.shut_down(DEADLINE).await;
        }
        self.supervisor.shut_down(DEADLINE).await.unwrap();
        assert_eq!(self.supervisor.verdict(), None);
    }
}

pub(crate) fn directory(node: NodeId) -> DirectoryId {
    DirectoryId::from_bytes([node.0 as u8; 16])
}

fn member() -> ClusterTls {
    let authority = Authority::create("tests", 2).unwrap();
    let request = CertificateRequest {
        name: "store-1".to_owned(),
        hosts: Vec::new(),
        usage: CertificateUse::Member,
        valid_days: 1,
    };
    ClusterTls::new(authority.issue(&request).unwrap(), authority.certificate_pem()).unwrap()
}

/// A batch of one record, numbered by its producer.
pub(crate) fn stamped(producer: i64, sequence: i32) -> BytesMut {
    build(Some((ProducerId(producer), ProducerEpoch(0), Sequence(sequence))), b"v")
}

/// The same, of a mebibyte.
pub(crate) fn large(producer: i64, sequence: i32) -> BytesMut {
    build(Some((ProducerId(producer), ProducerEpoch(0), Sequence(sequence))), &vec![7; MIB])
}

/// A batch of one record that names no producer.
pub(crate) fn plain(value: &str) -> BytesMut {
    build(None, value.as_bytes())
}

fn build(producer: Option<(ProducerId, ProducerEpoch, Sequence)>, value: &[u8]) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    builder.push(TimestampMs(1), None, Some(value), &[]).unwrap();
    builder.finish()
}
