use std::io;

use parking_lot::Mutex;
use tidelog_cold::ColdReader;
use tidelog_controller::Operator;
use tidelog_link::Services;
use tidelog_meta::{
    Creation, Embedded, Leader, LeaseId, Live, Mirror, Registration, TypedMeta as _, keys, registration,
};
use tidelog_model::{ClusterId, DirectoryId};
use tidelog_peer::{HandOver, LogReports, PartitionBytes, Ping, Pong, StoreControl, StoreError};
use tidelog_runtime::config::Layers;
use tidelog_wire::{Authority, CertificateRequest, CertificateUse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::*;

/// Reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(20);

/// A store without a journal: it registers, and answers the controller.
struct Played {
    meta: SharedMeta,
    mirror: Arc<Mirror>,
    supervisor: Supervisor,
    lease: watch::Sender<Option<LeaseId>>,
    registration: Mutex<Option<Registration<Live>>>,
}

impl Played {
    async fn open(meta: SharedMeta, supervisor: &Supervisor) -> Arc<Self> {
        let (mirror, following) = Mirror::open(Arc::clone(&meta), None).await.unwrap();
        supervisor.spawn_until_cancelled("image", following);
        let (supervisor, lease) = (supervisor.clone(), watch::Sender::new(None));
        Arc::new(Self { meta, mirror, supervisor, lease, registration: Mutex::default() })
    }
}

struct Control;

#[async_trait]
impl StoreControl for Control {
    async fn ping(&self, _: Ping) -> Result<Pong, StoreError> {
        Ok(Pong { directory: leader().directory, boot: 1, fit: true, resigned: Vec::new() })
    }

    async fn report(&self, _: Vec<tidelog_model::TopicPartition>) -> Result<LogReports, StoreError> {
        Ok(LogReports { directory: leader().directory, boot: 1, logs: Vec::new() })
    }

    async fn hand_over(&self, _: u64, _: Vec<HandOver>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError> {
        Ok(Vec::new())
    }
}

fn leader() -> Leader {
    Leader { node: NodeId(1), directory: DirectoryId::from_bytes([1; 16]), boot: 1 }
}

#[async_trait]
impl ClusterStore for Played {
    fn cluster(&self) -> ClusterId {
        ClusterId::from_bytes([9; 16])
    }

    fn leader(&self) -> Leader {
        leader()
    }

    fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.mirror)
    }

    fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease.subscribe()
    }

    fn services(&self, _: Operator, drain: CancellationToken, replies: ByteBudget) -> Services {
        let control = Some(Arc::new(Control) as _);
        Services { partitions: None, topics: None, control, cluster: None, followers: None, drain, replies }
    }

    async fn join(&self, address: String) -> anyhow::Result<()> {
        let Leader { node, directory, boot } = leader();
        let live = Live {
            node,
            directory,
            boot,
            address,
            rack: None,
            software: SOFTWARE.to_owned(),
            roles: vec![tidelog_meta::Role::Store],
            draining: false,
        };
        let (registration, task) =
            registration::register(Arc::clone(&self.meta), DEADLINE, keys::live(node), live);
        self.supervisor.spawn_until_cancelled("registration", task);
        let (mut leases, lease) = (registration.lease(), self.lease.clone());
        leases.wait_for(Option::is_some).await?;
        self.lease.send_replace(*leases.borrow_and_update());
        self.supervisor.spawn_until_cancelled("lease", async move {
            loop {
                lease.send_replace(*leases.borrow_and_update());
                if leases.changed().await.is_err() {
                    return;
                }
            }
        });
        *self.registration.lock() = Some(registration);
        Ok(())
    }

    fn drain(&self) {
        if let Some(registration) = &*self.registration.lock() {
            registration.replace(|live| Live { draining: true, ..live.clone() });
        }
    }

    async fn close(&self) {
        let registration = self.registration.lock().take();
        if let Some(registration) = registration {
            registration.end().await;
        }
    }
}

struct Scene {
    meta: SharedMeta,
    directory: tempfile::TempDir,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let meta = Embedded::open(&directory.path().join("meta"), Creation::IfMissing).unwrap();
    Scene { meta: Arc::new(meta), directory }
}

impl Scene {
    async fn serve(&self, settings: &str) -> anyhow::Result<StoreProcess> {
        let layers = Layers::new().toml("file f", settings).unwrap();
        let (settings, _) = Settings::load(&layers, |_, _| ()).unwrap();
        let (supervisor, readiness, metrics) = (Supervisor::new(), Readiness::default(), Metrics::default());
        readiness.not_ready(PART, "starting");
        let routes = http::routes(metrics.clone(), readiness.clone(), &supervisor);
        let http = http::serve(&supervisor, "127.0.0.1:0".parse().unwrap(), routes).await.unwrap();
        let data_dir = self.directory.path().to_owned();
        let url = format!("file://{}", data_dir.join("bucket").display());
        let (_, cold): (_, ColdReader) = cold::open(&settings, &url, &data_dir).await.unwrap();
        let store = Played::open(Arc::clone(&self.meta), &supervisor).await;
        let (tls, meta, bucket) = (member(), Arc::clone(&self.meta), url);
        let around = Around { tls, meta, bucket, cold, data_dir, http, supervisor, readiness, metrics };
        StoreProcess::serve(&settings, around, store).await
    }

    async fn live(&self) -> Option<Live> {
        Some(self.meta.read(&keys::live(NodeId(1))).await.unwrap()?.value)
    }
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

async fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
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
async fn a_store_registers_is_elected_and_leaves_nothing_behind() {
    let scene = scene();
    let settings = "cluster = { listen = '127.0.0.1:0' }\ncache = { disk_bytes = 0 }";
    let process = scene.serve(settings).await.unwrap();
    let http = process.http;
    let live = scene.live().await.unwrap();
    assert_eq!((live.address.as_str(), live.draining), (process.address.as_str(), false));
    assert!(process.banner().contains(&process.address), "{}", process.banner());
    assert!(get(http, "/readyz").await.unwrap().contains(" 200 "));
    assert!(get(http, "/metrics").await.unwrap().contains("tidelog_cluster_stores"));
    let elected = async || {
        let leader =
            tidelog_meta::election::leader(&*scene.meta, tidelog_controller::ELECTION).await.unwrap();
        leader.is_some()
    };
    until("it is controller", elected).await;

    process.stop(DEADLINE).await.unwrap();
    assert_eq!(scene.live().await, None);
    assert!(!elected().await);
    get(http, "/healthz").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_a_lease_is_not_ready_until_it_has_another() {
    let scene = scene();
    let settings = "cluster = { listen = '127.0.0.1:0', advertise = 'store-1.example:9441' }\ncache = { disk_bytes = 0 }";
    let process = scene.serve(settings).await.unwrap();
    assert_eq!(scene.live().await.unwrap().address, "store-1.example:9441");
    let (lease, mut changes) = (process.store.lease().borrow().unwrap(), process.store.lease());
    let missing = process.readiness.clone();
    changes.mark_unchanged();
    let seen = tokio::spawn(async move {
        changes.wait_for(Option::is_none).await.unwrap();
        missing.missing()
    });
    // The played lease lasts far longer than the test: only the holder can tell.
    scene.meta.revoke(lease).await.unwrap();
    assert_eq!(scene.live().await, None);
    until("it is registered again", async || scene.live().await.is_some()).await;
    until("it is ready again", async || process.readiness.missing().is_empty()).await;
    let while_without = seen.await.unwrap();
    assert!(while_without.is_empty() || while_without[0].0 == "registration", "{while_without:?}");
    process.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_the_start_and_is_named() {
    let scene = scene();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let settings = format!("cluster = {{ listen = '{address}' }}\ncache = {{ disk_bytes = 0 }}");
    let Err(error) = scene.serve(&settings).await else { panic!("it should not start") };
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert_eq!(scene.live().await, None);
}
