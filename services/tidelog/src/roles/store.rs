//! `tidelog store`: the hot tier of a cluster: journal, replicas, and the controller when it is elected.

mod leaving;
mod open;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use tidelog_cold::ColdReader;
use tidelog_controller::{Controller, Options};
use tidelog_journal::Directory;
use tidelog_link::{LinkServer, LinkServerOptions};
use tidelog_meta::SharedMeta;
use tidelog_model::NodeId;
use tidelog_runtime::{CancellationToken, Metrics, Readiness, Supervisor, SystemClock, http};
use tidelog_wire::{ByteBudget, ClusterTls, TransportSettings};

use super::{Process, SOFTWARE, cold, journal};
use crate::cluster::stores::LinkStores;
use crate::cluster::{etcd, member, metrics};
use crate::exit::{Code, Failure};
use crate::settings::{Role, Settings, SettingsArgs};
use open::{ClusterStore, Joining};

/// What is waited for at start and refused from at the end.
const PART: &str = "store";

/// How long the controller and the internal port may take to end, each.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let (settings, _) = args.settings.load(Role::Store)?;
    super::run::<StoreProcess>(settings).await
}

/// A store that serves.
struct StoreProcess {
    endpoints: String,
    bucket: String,
    data_dir: PathBuf,
    address: String,
    http: SocketAddr,
    supervisor: Supervisor,
    readiness: Readiness,
    store: Arc<dyn ClusterStore>,
    cold: ColdReader,
    controller: Supervisor,
    link: LinkServer,
    /// Set when nothing new is taken from frontends.
    drain: CancellationToken,
}

/// What a store process is made of around its store.
struct Around {
    tls: ClusterTls,
    meta: SharedMeta,
    bucket: String,
    cold: ColdReader,
    data_dir: PathBuf,
    http: SocketAddr,
    supervisor: Supervisor,
    readiness: Readiness,
    metrics: Metrics,
}

#[async_trait]
impl Process for StoreProcess {
    /// HTTP comes first, so that a long recovery can be watched.
    async fn start(settings: &Settings, supervisor: Supervisor) -> anyhow::Result<Self> {
        let (readiness, metrics) = (Readiness::default(), Metrics::of_process());
        readiness.not_ready(PART, "starting");
        let routes = http::routes(metrics.clone(), readiness.clone(), &supervisor);
        let http = http::serve(&supervisor, settings.listen_http, routes).await?;
        let (Some(node), Some(url)) = (settings.node_id.map(NodeId), &settings.bucket) else {
            return Err(Failure::usage("node.id and bucket are not set"));
        };
        let tls = member::load(settings, &supervisor)?;
        let directory = Directory::open(&settings.data_dir)?;
        let data_dir = std::path::absolute(&settings.data_dir).context("the data directory")?;
        let meta = etcd::open(settings, &readiness, PART).await?;
        metrics::observe_meta(&metrics, &meta);
        let (bucket, cold) = cold::open(settings, &url.0, &data_dir).await?;
        let parts = tidelog_store::Parts {
            directory,
            meta: Arc::clone(&meta),
            journal: journal::config(settings, &data_dir),
            bucket,
            cold: cold.clone(),
            clock: SystemClock::shared(),
            metrics: metrics.clone(),
        };
        let joining = Joining {
            options: journal::store_options(settings, node),
            lease_ttl: settings.cluster_lease_ttl.duration(),
            rack: settings.rack(),
            software: SOFTWARE,
            tls: tls.clone(),
        };
        readiness.not_ready(PART, "recovering the journal");
        let store = open::open_store(joining, parts, &supervisor).await?;
        let bucket = url.0.clone();
        let around = Around { tls, meta, bucket, cold, data_dir, http, supervisor, readiness, metrics };
        Self::serve(settings, around, store).await
    }

    fn banner(&self) -> String {
        let Self { address, http, bucket, endpoints, .. } = self;
        let leader = self.store.leader();
        format!(
            "\
Tidelog {version} is ready: store {node} of cluster {id}, start {boot}.

  internal  {address}  (TCP with mutual TLS, for the cluster's own processes)
  http      http://{http}  (/healthz /readyz /metrics)
  etcd      {endpoints}
  bucket    {bucket}
  data      {data}
",
            version = env!("CARGO_PKG_VERSION"),
            node = leader.node,
            id = self.store.cluster(),
            boot = leader.boot,
            data = self.data_dir.display(),
        )
    }

    /// Others lead first, as far as there are any who can; then what was begun is finished.
    async fn stop(self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        self.readiness.not_ready(PART, "shutting down");
        self.store.drain();
        leaving::until_leads_nothing(&self.store.mirror(), self.store.leader(), within / 2).await;
        if let Err(unfinished) = self.controller.shut_down(CLOSE_WITHIN).await {
            tracing::warn!(%unfinished, "the controller did not end in time");
        }
        self.drain.cancel();
        self.link.shut_down(CLOSE_WITHIN).await;
        self.store.close().await;
        self.cold.close().await;
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = self.supervisor.shut_down(left).await;
        tracing::info!("stopped");
        Ok(stopped?)
    }
}

impl StoreProcess {
    /// Serves, and joins the cluster once others can reach it.
    async fn serve(
        settings: &Settings,
        around: Around,
        store: Arc<dyn ClusterStore>,
    ) -> anyhow::Result<Self> {
        let Around { tls, meta, bucket, cold, data_dir, http, supervisor, readiness, metrics } = around;
        metrics::observe_cluster(&metrics, &store.mirror());
        let leader = store.leader();
        let (controller, drain) = (supervisor.child(), CancellationToken::new());
        let name = format!("store-{}", leader.node);
        let parts = tidelog_controller::Parts {
            node: leader.node,
            boot: leader.boot,
            meta,
            stores: Arc::new(LinkStores::new(tls.clone(), name, &controller)),
            lease: store.lease(),
            clock: SystemClock::shared(),
            options: Options::default(),
        };
        let operator = Controller::start(parts, &controller);
        let replies = ByteBudget::new(settings.listen_read_bytes.as_usize());
        let options = LinkServerOptions {
            listen: settings.cluster_listen,
            tls,
            cluster: store.cluster(),
            software: SOFTWARE.to_owned(),
            frames: ByteBudget::new(settings.listen_frame_bytes.as_usize()),
            settings: TransportSettings::default(),
            clock: SystemClock::shared(),
        };
        let services = store.services(operator, drain.clone(), replies);
        let joined = async {
            let link = LinkServer::start(options, services, &supervisor)?;
            let advertised = settings.cluster_advertise.as_ref().map(|endpoint| endpoint.0.clone());
            let address = advertised.unwrap_or_else(|| link.local_addr().to_string());
            store.join(address.clone()).await?;
            anyhow::Ok((link, address))
        };
        let (link, address) = match joined.await {
            Ok(joined) => joined,
            Err(error) => {
                // The journal is left as after any orderly end.
                store.close().await;
                return Err(error);
            }
        };
        require(&readiness, &store);
        readiness.ready(PART);
        let endpoints = settings.meta_endpoints.join(",");
        Ok(Self {
            endpoints,
            bucket,
            data_dir,
            address,
            http,
            supervisor,
            readiness,
            store,
            cold,
            controller,
            link,
            drain,
        })
    }
}

/// What has to hold for the store to be of use to its cluster.
fn require(readiness: &Readiness, store: &Arc<dyn ClusterStore>) {
    let lease = store.lease();
    readiness.require("registration", move || {
        let reason = "not registered in etcd: there is no valid lease, and it leads nothing";
        lease.borrow().is_none().then(|| reason.to_owned())
    });
    let mirror = store.mirror();
    readiness.require("image", move || {
        (!mirror.is_current())
            .then(|| "changes of the cluster were missed; it is being listed again".to_owned())
    });
}

#[cfg(test)]
mod tests;
