use bytes::BytesMut;
use tidelog_meta::{Creation, Embedded, Op, Txn, TypedMeta as _};
use tidelog_model::{
    ClusterId, ErrorCode, Incarnation, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition,
};
use tidelog_peer::{
    Ack, CreateTopic, Fetch, Fetched, Isolation, ListedOffset, OffsetSpec, PartitionDescription,
    PartitionStore, StoreError, TopicInfo, TopicRef, Topics,
};
use tidelog_runtime::config::Layers;
use tidelog_wire::{Authority, CertificateRequest, CertificateUse, Identity};

use super::*;

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// Stores that cannot be reached.
struct Nowhere;

fn nobody<T>() -> Result<T, StoreError> {
    Err(ErrorCode::BrokerNotAvailable.into())
}

#[async_trait]
impl PartitionStore for Nowhere {
    async fn produce(&self, _: TopicPartition, _: BytesMut) -> Result<Ack, StoreError> {
        nobody()
    }

    async fn fetch(&self, _: Fetch) -> Result<Fetched, StoreError> {
        nobody()
    }

    async fn list_offset(
        &self,
        _: TopicPartition,
        _: OffsetSpec,
        _: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        nobody()
    }

    async fn describe(&self, _: TopicPartition) -> Result<PartitionDescription, StoreError> {
        nobody()
    }

    async fn offload(&self, _: TopicId) -> Result<(), StoreError> {
        nobody()
    }

    async fn evict(&self, _: TopicId) -> Result<(), StoreError> {
        nobody()
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        nobody()
    }
}

#[async_trait]
impl Topics for Nowhere {
    async fn create(&self, _: CreateTopic) -> Result<TopicInfo, StoreError> {
        nobody()
    }

    async fn alter(&self, _: TopicRef, _: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        nobody()
    }

    async fn delete(&self, _: TopicRef) -> Result<(), StoreError> {
        nobody()
    }

    async fn get(&self, _: TopicRef) -> Result<TopicInfo, StoreError> {
        nobody()
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        nobody()
    }
}

fn member() -> ClusterTls {
    let authority = Authority::create("tests", 2).unwrap();
    let request = CertificateRequest {
        name: "frontend-1".to_owned(),
        hosts: Vec::new(),
        usage: CertificateUse::Member,
        valid_days: 1,
    };
    ClusterTls::new(authority.issue(&request).unwrap(), authority.certificate_pem()).unwrap()
}

fn cluster() -> Cluster {
    Cluster { id: ClusterId::from_bytes([9; 16]), incarnation: Incarnation(1), created: TimestampMs(1) }
}

fn settings(file: &str) -> Settings {
    let layers = Layers::new().toml("file f", &format!("cache = {{ disk_bytes = 0 }}\n{file}")).unwrap();
    Settings::load(&layers, |_, _| ()).unwrap().0
}

async fn ground(meta: &SharedMeta, directory: &tempfile::TempDir) -> Ground {
    let supervisor = Supervisor::new();
    let readiness = Readiness::default();
    readiness.not_ready(PART, "starting");
    let mirror = etcd::mirror(meta, &readiness, PART, &supervisor).await.unwrap();
    Ground {
        tls: member(),
        credentials: Credentials::new(Identity::self_signed(&["localhost".to_owned()]).unwrap()).unwrap(),
        directory: Directory::open(directory.path().join("data")).unwrap(),
        data_dir: directory.path().join("data"),
        meta: Arc::clone(meta),
        cluster: cluster(),
        mirror,
        http: "0.0.0.0:9444".parse().unwrap(),
        supervisor,
        readiness,
        metrics: Metrics::default(),
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !is_so().await {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_is_ready_while_it_is_registered_and_there_is_a_controller() {
    let directory = tempfile::tempdir().unwrap();
    let meta: SharedMeta =
        Arc::new(Embedded::open(&directory.path().join("meta"), Creation::IfMissing).unwrap());
    let url = format!("file://{}", directory.path().join("bucket").display());
    let settings = settings(&format!(
        "bucket = '{url}'\nlisten = {{ quic = '127.0.0.1:0', advertise = 'front.example:9440' }}\nnode = {{ rack = 'r1' }}"
    ));
    let ground = ground(&meta, &directory).await;
    let routes = Routes { store: Arc::new(Nowhere), topics: Arc::new(Nowhere), cluster: None };
    let process = FrontendProcess::serve(&settings, ground, routes).await.unwrap();
    let registered = async || meta.read_all(&keys::frontends()).await.unwrap().items;
    until("it is registered", async || !registered().await.is_empty()).await;
    let value = registered().await.remove(0).value;
    assert_eq!((value.address.as_str(), value.http.as_str()), ("front.example:9440", "front.example:9444"));
    assert_eq!(value.rack.as_deref(), Some("r1"));

    let missing = || process.readiness.missing();
    until("only the controller is missing", async || missing().len() == 1).await;
    assert_eq!(missing()[0], ("controller", "the cluster has no controller".to_owned()));
    let key = format!("election/{}/1", tidelog_controller::ELECTION);
    let elect = Op::Put { key: key.clone(), value: bytes::Bytes::from_static(b"{}"), lease: None };
    let _ = meta.txn(Txn::new().op(elect)).await.unwrap();
    until("it is ready", async || missing().is_empty()).await;
    let _ = meta.txn(Txn::new().op(Op::Delete { key })).await.unwrap();
    until("the controller is missed", async || !missing().is_empty()).await;

    process.stop(DEADLINE).await.unwrap();
    assert!(registered().await.is_empty());
}

#[tokio::test]
async fn a_cluster_that_is_not_there_yet_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let meta: SharedMeta = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
    let readiness = Readiness::default();
    let waiting = etcd::cluster(&meta, &readiness, PART);
    tokio::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut waiting).await;
    assert!(early.is_err());
    assert!(readiness.missing()[0].1.contains("start its first store"), "{:?}", readiness.missing());
    let _ = meta.txn(Txn::new().put(&keys::cluster(), &cluster())).await.unwrap();
    assert_eq!(tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap(), cluster());
}
