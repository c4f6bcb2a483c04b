//! A store of a cluster on a temporary directory, a bucket in memory and metadata that the tests write.

mod registration;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidelog_cold::{Bucket, CacheConfig, ColdReader};
use tidelog_journal::{Directory, JournalConfig};
use tidelog_meta::conformance::Faulty;
use tidelog_meta::value::{Partition as PartitionRecord, Topic as TopicRecord};
use tidelog_meta::{Creation, Embedded, Leader, Meta as _, Revision, Txn, TypedMeta as _, keys};
use tidelog_model::{
    LeaderEpoch, NodeId, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition,
};
use tidelog_replica::{Config, Role};
use tidelog_runtime::{Metrics, Supervisor, SystemClock};
use tidelog_wire::{Authority, ByteBudget, CertificateRequest, CertificateUse, ClusterTls};

use super::*;
use crate::partition::Partition;

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

const MIB: u64 = 1024 * 1024;

/// What outlives a store: its disk, the bucket, the metadata.
struct Site {
    data: TempDir,
    bucket: Bucket,
    meta: Arc<Faulty>,
    _metadata: TempDir,
}

/// A store that runs.
struct Running {
    store: ClusterStore,
    supervisor: Supervisor,
}

impl Site {
    fn new() -> Self {
        let metadata = tempfile::tempdir().unwrap();
        let meta = Embedded::open(metadata.path(), Creation::IfMissing).unwrap();
        Self {
            data: tempfile::tempdir().unwrap(),
            bucket: Bucket::in_memory(),
            meta: Arc::new(Faulty::new(Arc::new(meta))),
            _metadata: metadata,
        }
    }

    async fn open(&self) -> Running {
        self.try_open(self.data.path()).await.unwrap()
    }

    async fn try_open(&self, data: &Path) -> Result<Running, OpenError> {
        let mut journal = JournalConfig::new(data.join("journal"), SystemClock::shared());
        (journal.file_bytes, journal.budget_bytes) = (MIB, 16 * MIB);
        (journal.group_bytes_max, journal.queue_bytes_max) = (64 << 10, 256 << 10);
        let parts = Parts {
            directory: Directory::open(data).unwrap(),
            meta: Arc::clone(&self.meta) as _,
            journal,
            bucket: self.bucket.clone(),
            cold: ColdReader::new(self.bucket.clone(), CacheConfig::default()).await.unwrap(),
            clock: SystemClock::shared(),
            metrics: Metrics::default(),
        };
        let cluster = ClusterParts {
            mesh: MeshOptions::new(member(), ByteBudget::new(MIB as usize)),
            rack: None,
            software: "tests".to_owned(),
            lease_ttl: Duration::from_mins(1),
            replication: Config::default(),
        };
        let supervisor = Supervisor::new();
        let (store, _) = ClusterStore::open(StoreOptions::default(), parts, cluster, &supervisor).await?;
        Ok(Running { store, supervisor })
    }

    /// Another directory that says to be this one.
    fn copied(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(self.data.path().join("tidelog.json"), copy.path().join("tidelog.json")).unwrap();
        copy
    }

    async fn put(&self, txn: Txn) -> Revision {
        self.meta.txn(txn).await.unwrap().committed().unwrap()
    }

    async fn put_topic(&self, id: TopicId, record: &TopicRecord) -> Revision {
        self.put(Txn::new().put(&keys::topic(id), record)).await
    }

    async fn put_partition(&self, id: TopicPartition, record: &PartitionRecord) -> Revision {
        self.put(Txn::new().put(&keys::partition(id), record)).await
    }
}

impl Running {
    fn me(&self) -> Leader {
        self.store.leader()
    }

    fn node(&self) -> &Arc<Node> {
        &self.store.store.node
    }

    fn partition(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        self.node().catalog.partition(id).ok()
    }

    fn role(&self, id: TopicPartition) -> Option<Role> {
        Some(self.partition(id)?.role())
    }

    fn leads(&self, id: TopicPartition, epoch: u32) -> bool {
        self.role(id) == Some(Role::Leading { epoch: LeaderEpoch(epoch) })
    }

    /// A record under which this start leads and is in sync with these nodes.
    fn led(&self, epoch: u32, others: &[u32]) -> PartitionRecord {
        led_by(self.me(), epoch, others)
    }

    async fn until_leads(&self, id: TopicPartition, epoch: u32) {
        until("it leads", || self.leads(id, epoch)).await;
    }

    /// Ends as a shutdown does.
    async fn stop(self) {
        self.store.close().await;
        self.supervisor.shut_down(DEADLINE).await.unwrap();
    }
}

fn led_by(leader: Leader, epoch: u32, others: &[u32]) -> PartitionRecord {
    let mut replicas = vec![leader.node];
    replicas.extend(others.iter().copied().map(NodeId));
    let mut isr = vec![leader.replica()];
    isr.extend(others.iter().map(|node| other(*node).replica()));
    PartitionRecord {
        epoch: LeaderEpoch(epoch),
        leader: Some(leader),
        replicas,
        isr,
        ..PartitionRecord::default()
    }
}

/// A store that is not there.
fn other(node: u32) -> Leader {
    let directory = tidelog_model::DirectoryId::from_bytes([node as u8; 16]);
    Leader { node: NodeId(node), directory, boot: 1 }
}

fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

fn id(topic_number: u8, partition: u32) -> TopicPartition {
    TopicPartition::new(topic(topic_number), PartitionId(partition))
}

fn topic_record(name: &str, partitions: u32) -> TopicRecord {
    let name = TopicName::new(name).unwrap();
    TopicRecord::new(name, partitions, &TopicConfig::default(), TimestampMs(1))
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

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let waiting = async {
        while !is_so() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}
