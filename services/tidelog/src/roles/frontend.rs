//! `tidelog frontend`: where clients connect. It holds nothing that is not elsewhere, and may be killed at
//! any moment.

mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use tidelog_cold::ColdReader;
use tidelog_frontend::Frontend;
use tidelog_journal::Directory;
use tidelog_meta::{Cluster, Mirror, Registration, SharedMeta, keys, registration, value};
use tidelog_model::FrontendId;
use tidelog_runtime::{Metrics, Readiness, Supervisor, SystemClock, http};
use tidelog_wire::{ClusterTls, Credentials};

use super::cold::{self, Cold};
use super::{Process, SOFTWARE, identity, listener};
use crate::cluster::{controller, etcd, member, metrics};
use crate::exit::{Code, Failure};
use crate::settings::{Role, Settings, SettingsArgs};
use routes::Routes;

/// What is waited for at start and refused from at the end.
const PART: &str = "frontend";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let (settings, _) = args.settings.load(Role::Frontend)?;
    super::run::<FrontendProcess>(settings).await
}

/// A frontend that serves.
struct FrontendProcess {
    cluster: Cluster,
    endpoints: String,
    bucket: String,
    data_dir: PathBuf,
    quic: SocketAddr,
    http: SocketAddr,
    supervisor: Supervisor,
    readiness: Readiness,
    registration: Registration<value::Frontend>,
    cold: ColdReader,
    frontend: Frontend,
    /// Holds the lock of the directory with the cache.
    _directory: Directory,
}

/// What a frontend stands on before it serves.
struct Ground {
    tls: ClusterTls,
    credentials: Credentials,
    directory: Directory,
    data_dir: PathBuf,
    meta: SharedMeta,
    cluster: Cluster,
    mirror: Arc<Mirror>,
    http: SocketAddr,
    supervisor: Supervisor,
    readiness: Readiness,
    metrics: Metrics,
}

#[async_trait]
impl Process for FrontendProcess {
    /// HTTP comes first, so that waiting for etcd or for the cluster can be watched.
    async fn start(settings: &Settings, supervisor: Supervisor) -> anyhow::Result<Self> {
        let (readiness, metrics) = (Readiness::default(), Metrics::of_process());
        readiness.not_ready(PART, "starting");
        let routes = http::routes(metrics.clone(), readiness.clone(), &supervisor);
        let http = http::serve(&supervisor, settings.listen_http, routes).await?;
        let tls = member::load(settings, &supervisor)?;
        let directory = Directory::open(&settings.data_dir)?;
        let data_dir = std::path::absolute(&settings.data_dir).context("the data directory")?;
        let identity = identity::load(settings, &data_dir)?;
        let credentials = Credentials::new(identity).context("the certificate")?;
        identity::follow(settings, &credentials, &supervisor);
        let meta = etcd::open(settings, &readiness, PART).await?;
        metrics::observe_meta(&metrics, &meta);
        let cluster = etcd::cluster(&meta, &readiness, PART).await?;
        let mirror = etcd::mirror(&meta, &readiness, PART, &supervisor).await?;
        metrics::observe_cluster(&metrics, &mirror);
        let ground = Ground {
            tls,
            credentials,
            directory,
            data_dir,
            meta,
            cluster,
            mirror,
            http,
            supervisor,
            readiness,
            metrics,
        };
        let routes = routes::open(settings, &ground);
        Self::serve(settings, ground, routes).await
    }

    fn banner(&self) -> String {
        let Self { quic, http, bucket, endpoints, cluster, .. } = self;
        format!(
            "\
Tidelog {version} is ready: a frontend of cluster {id}.

  native    {quic}  (QUIC, and TLS over TCP)
  http      http://{http}  (/healthz /readyz /metrics)
  etcd      {endpoints}
  bucket    {bucket}
  data      {data}  (a cache, and the certificate if none is given)
",
            version = env!("CARGO_PKG_VERSION"),
            id = cluster.id,
            data = self.data_dir.display(),
        )
    }

    /// Clients are sent elsewhere first, then what they began is finished.
    async fn stop(self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        self.readiness.not_ready(PART, "shutting down");
        self.registration.end().await;
        self.frontend.shut_down(within / 2).await;
        self.cold.close().await;
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = self.supervisor.shut_down(left).await;
        tracing::info!("stopped");
        Ok(stopped?)
    }
}

impl FrontendProcess {
    async fn serve(settings: &Settings, ground: Ground, routes: Routes) -> anyhow::Result<Self> {
        let Ground { credentials, directory, data_dir, meta, cluster, mirror, http, .. } = ground;
        let Ground { supervisor, readiness, metrics, .. } = ground;
        let Some(bucket) = settings.bucket.as_ref().map(|url| url.0.clone()) else {
            return Err(Failure::usage("bucket is not set"));
        };
        let (_, cold) = cold::open(settings, &bucket, &data_dir).await?;
        let mut options = listener::options(settings, credentials, cluster.id);
        options.node = settings.node_id.unwrap_or_default();
        let advertised = options.advertised.clone();
        let parts = tidelog_frontend::Parts {
            store: routes.store,
            topics: routes.topics,
            cluster: routes.cluster,
            cold: Arc::new(Cold::new(cold.clone(), Arc::clone(&meta))),
            clock: SystemClock::shared(),
            supervisor: supervisor.clone(),
            metrics,
        };
        let frontend = Frontend::start(options, parts)?;
        let quic = frontend.local_addr();
        let value = described(settings, advertised.unwrap_or_else(|| quic.to_string()), http);
        let key = keys::frontend(FrontendId(uuid::Uuid::new_v4()));
        let ttl = settings.cluster_lease_ttl.duration();
        let (registration, registering) = registration::register(Arc::clone(&meta), ttl, key, value);
        supervisor.spawn_until_cancelled("registration", registering);
        require(&readiness, &registration, &mirror, controller::follow(&meta, &supervisor));
        readiness.ready(PART);
        Ok(Self {
            cluster,
            endpoints: settings.meta_endpoints.join(","),
            bucket,
            data_dir,
            quic,
            http,
            supervisor,
            readiness,
            registration,
            cold,
            frontend,
            _directory: directory,
        })
    }
}

/// What the others are told of this frontend.
fn described(settings: &Settings, address: String, http: SocketAddr) -> value::Frontend {
    let host = address.rsplit_once(':').map_or(&*address, |(host, _)| host);
    let http = listener::seen_from_elsewhere(http, host.trim_start_matches('[').trim_end_matches(']'));
    value::Frontend { address, http, rack: settings.rack(), software: SOFTWARE.to_owned() }
}

/// What has to hold for clients to be sent here.
fn require(
    readiness: &Readiness,
    registration: &Registration<value::Frontend>,
    mirror: &Arc<Mirror>,
    controller: controller::Known,
) {
    let registration = registration.clone();
    readiness.require("registration", move || {
        (!registration.is_held()).then(|| "not registered in etcd: there is no valid lease".to_owned())
    });
    let mirror = Arc::clone(mirror);
    readiness.require("image", move || {
        (!mirror.is_current())
            .then(|| "changes of the cluster were missed; it is being listed again".to_owned())
    });
    readiness.require("controller", move || {
        (!controller.is_known()).then(|| "the cluster has no controller".to_owned())
    });
}

#[cfg(test)]
mod tests;
