//! The parts of a server, in the order in which they start and stop.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use tidelog::Context as ClientContext;
use tidelog_cold::ColdReader;
use tidelog_frontend::Frontend;
use tidelog_journal::Directory;
use tidelog_meta::{Creation, Embedded, SharedMeta};
use tidelog_model::NodeId;
use tidelog_runtime::{Metrics, Readiness, Supervisor, SystemClock, http};
use tidelog_store::Store;
use tidelog_wire::{Credentials, Identity};

use super::banner;
use crate::cluster::metrics::observe_meta;
use crate::roles::cold::{self, Cold};
use crate::roles::{Process, identity, journal, listener};
use crate::settings::Settings;

/// The only node that there is.
const NODE: NodeId = NodeId(1);

/// What everything waits for at start and refuses from at the end.
const PART: &str = "server";

/// A server that serves.
pub struct Server {
    pub data_dir: PathBuf,
    pub bucket: String,
    pub quic: SocketAddr,
    pub http: SocketAddr,
    pub reach: Reach,
    supervisor: Supervisor,
    readiness: Readiness,
    meta: Arc<Embedded>,
    store: Store,
    cold: ColdReader,
    frontend: Frontend,
}

#[async_trait]
impl Process for Server {
    /// HTTP comes first, so that a long recovery can be watched.
    async fn start(settings: &Settings, supervisor: Supervisor) -> anyhow::Result<Self> {
        let (readiness, metrics) = (Readiness::default(), Metrics::of_process());
        readiness.not_ready(PART, "starting");
        let routes = http::routes(metrics.clone(), readiness.clone(), &supervisor);
        let http = http::serve(&supervisor, settings.listen_http, routes).await?;

        let directory = Directory::open(&settings.data_dir)?;
        let data_dir = std::path::absolute(&settings.data_dir).context("the data directory")?;
        let identity = identity::load(settings, &data_dir)?;
        let credentials = Credentials::new(identity.clone()).context("the certificate")?;
        identity::follow(settings, &credentials, &supervisor);
        let meta = Arc::new(open_meta(&data_dir)?);
        watch_meta(&supervisor, &meta);
        observe_meta(&metrics, &(Arc::clone(&meta) as SharedMeta));
        let url = bucket_url(settings, &data_dir)?;
        let (bucket, cold) = cold::open(settings, &url, &data_dir).await?;
        let parts = tidelog_store::Parts {
            directory,
            meta: Arc::clone(&meta) as _,
            journal: journal::config(settings, &data_dir),
            bucket,
            cold: cold.clone(),
            clock: SystemClock::shared(),
            metrics: metrics.clone(),
        };
        let begun = Instant::now();
        let (store, report) = Store::open(journal::store_options(settings, NODE), parts, &supervisor).await?;
        journal::log_recovery(&report, begun.elapsed());

        let source = Cold::new(cold.clone(), Arc::clone(&meta) as _);
        let frontend = match start_frontend(settings, &store, source, credentials, &supervisor, metrics) {
            Ok(frontend) => frontend,
            Err(error) => {
                // The journal is left as after any orderly end.
                store.close().await;
                return Err(error);
            }
        };
        let quic = frontend.local_addr();
        let reach = write_context(quic, http, &identity);
        readiness.ready(PART);
        let bucket = url;
        Ok(Self { data_dir, bucket, quic, http, reach, supervisor, readiness, meta, store, cold, frontend })
    }

    fn banner(&self) -> String {
        banner::text(self)
    }

    /// Stops in the opposite order: what was begun is finished, what was written is synced and sealed.
    async fn stop(self, within: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + within;
        self.readiness.not_ready(PART, "shutting down");
        // Clients get half of the time; the other half is the disk's.
        self.frontend.shut_down(within / 2).await;
        self.store.close().await;
        self.cold.close().await;
        let left = deadline.saturating_duration_since(Instant::now());
        let stopped = self.supervisor.shut_down(left).await;
        tokio::task::block_in_place(|| self.meta.close());
        tracing::info!("stopped");
        Ok(stopped?)
    }
}

/// Metadata may begin empty only where there is no journal yet: a journal without its metadata is a
/// loss, and must not look like a new server.
fn open_meta(data_dir: &Path) -> anyhow::Result<Embedded> {
    let journal = data_dir.join("journal");
    let used = std::fs::read_dir(&journal).is_ok_and(|mut entries| entries.next().is_some());
    let creation = if used { Creation::Never } else { Creation::IfMissing };
    Ok(tokio::task::block_in_place(|| Embedded::open(&data_dir.join("meta"), creation))?)
}

fn watch_meta(supervisor: &Supervisor, meta: &Arc<Embedded>) {
    let (meta, token) = (Arc::clone(meta), supervisor.token());
    supervisor.spawn_fallible("metadata", async move {
        match token.run_until_cancelled(meta.failed()).await {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    });
}

fn bucket_url(settings: &Settings, data_dir: &Path) -> anyhow::Result<String> {
    if let Some(url) = &settings.bucket {
        return Ok(url.0.clone());
    }
    let directory = data_dir.join("bucket");
    let url = url::Url::from_directory_path(&directory);
    let url = url.map_err(|()| anyhow::anyhow!("{} cannot be written as a URL", directory.display()))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn start_frontend(
    settings: &Settings,
    store: &Store,
    cold: Cold,
    credentials: Credentials,
    supervisor: &Supervisor,
    metrics: Metrics,
) -> anyhow::Result<Frontend> {
    let mut options = listener::options(settings, credentials, store.cluster());
    options.node = store.node().0;
    let store = Arc::new(store.clone());
    let parts = tidelog_frontend::Parts {
        store: store.clone(),
        topics: store,
        cluster: None,
        cold: Arc::new(cold),
        clock: SystemClock::shared(),
        supervisor: supervisor.clone(),
        metrics,
    };
    Ok(Frontend::start(options, parts)?)
}

/// How commands on this machine find the server.
pub enum Reach {
    /// By themselves: the context is here.
    Context(PathBuf),
    /// By this URL: the context could not be written.
    Url(String),
}

/// Leaves the address and the certificate's fingerprint where commands on this machine look for them.
fn write_context(quic: SocketAddr, http: SocketAddr, identity: &Identity) -> Reach {
    let (endpoint, fingerprint) = (listener::reachable(quic).to_string(), identity.fingerprint().to_string());
    let url = format!("tidelog://{endpoint}?fingerprint={fingerprint}");
    let mut context = ClientContext::new(endpoint);
    context.fingerprint = Some(fingerprint);
    context.http = Some(format!("http://{}", listener::reachable(http)));
    match ClientContext::default_path().and_then(|path| context.save(&path).map(|()| path)) {
        Ok(path) => Reach::Context(path),
        Err(error) => {
            tracing::warn!(%error, "the context could not be written; commands need --bootstrap");
            Reach::Url(url)
        }
    }
}
