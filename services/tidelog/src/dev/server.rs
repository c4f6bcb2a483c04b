//! The parts of a server, in the order in which they start and stop.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidelog::Context as ClientContext;
use tidelog_cold::{Bucket, BucketOptions, CacheConfig, ColdReader, DiskCache};
use tidelog_frontend::{Frontend, FrontendOptions};
use tidelog_journal::{Directory, JournalConfig, RecoveryReport};
use tidelog_meta::{Creation, Embedded};
use tidelog_runtime::{Metrics, Readiness, Supervisor, SystemClock, http};
use tidelog_store::{Store, StoreOptions};
use tidelog_wire::{Credentials, Identity};

use super::cold::Cold;
use super::identity;
use crate::settings::Settings;

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

impl Server {
    /// Starts everything; when this returns, clients can work. HTTP comes first, so that a long
    /// recovery can be watched.
    pub async fn start(settings: &Settings, supervisor: Supervisor) -> anyhow::Result<Self> {
        let (readiness, metrics) = (Readiness::default(), Metrics::of_process());
        readiness.not_ready(PART, "starting");
        let routes = http::routes(metrics.clone(), readiness.clone());
        let http = http::serve(&supervisor, settings.listen_http, routes).await?;

        let directory = Directory::open(&settings.data_dir)?;
        let data_dir = std::path::absolute(&settings.data_dir).context("the data directory")?;
        let identity = identity::load(settings, &data_dir)?;
        let credentials = Credentials::new(identity.clone()).context("the certificate")?;
        identity::follow(settings, &credentials, &supervisor);
        let meta = Arc::new(open_meta(&data_dir)?);
        watch_meta(&supervisor, &meta);
        let url = bucket_url(settings, &data_dir)?;
        let (bucket, cold) = open_bucket(settings, &url, &data_dir).await?;
        let parts = tidelog_store::Parts {
            directory,
            meta: Arc::clone(&meta) as _,
            journal: journal_config(settings, &data_dir),
            bucket,
            cold: cold.clone(),
            clock: SystemClock::shared(),
            metrics: metrics.clone(),
        };
        let begun = Instant::now();
        let (store, report) = Store::open(store_options(settings), parts, &supervisor).await?;
        log_recovery(&report, begun.elapsed());

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

    /// Stops in the opposite order: what was begun is finished, what was written is synced and sealed.
    pub async fn stop(self, within: Duration) -> anyhow::Result<()> {
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

async fn open_bucket(
    settings: &Settings,
    url: &str,
    data_dir: &Path,
) -> anyhow::Result<(Bucket, ColdReader)> {
    let options = BucketOptions { checksum: settings.s3_checksum.0, ..BucketOptions::default() };
    let bucket = Bucket::open(url, &options).await.context("the bucket cannot be opened")?;
    let cache = CacheConfig {
        memory_bytes: settings.cache_memory_bytes.as_usize(),
        disk: Some(settings.cache_disk_bytes.0)
            .filter(|bytes| *bytes > 0)
            .map(|bytes| DiskCache { directory: data_dir.join("cache"), bytes }),
        ..CacheConfig::default()
    };
    let cold = ColdReader::new(bucket.clone(), cache).await.context("the cache of the bucket")?;
    Ok((bucket, cold))
}

fn journal_config(settings: &Settings, data_dir: &Path) -> JournalConfig {
    let mut config = JournalConfig::new(data_dir.join("journal"), SystemClock::shared());
    config.file_bytes = settings.journal_file_bytes.0;
    config.budget_bytes = settings.journal_budget_bytes.0;
    config.group_bytes_max = settings.journal_group_bytes.as_usize();
    config.queue_bytes_max = settings.journal_queue_bytes.as_usize();
    config.tail_cache_bytes = settings.journal_tail_cache_bytes.as_usize();
    config.index_cache_bytes = settings.journal_index_cache_bytes.as_usize();
    config.local_age_ms = settings.journal_local_age.map(tidelog_runtime::config::Span::as_ms);
    config.direct = settings.journal_direct.0;
    config.on_damage = settings.journal_on_damage.0;
    config.reader_threads = settings.journal_reader_threads;
    config
}

fn store_options(settings: &Settings) -> StoreOptions {
    StoreOptions {
        room_timeout: settings.journal_room_timeout.duration(),
        offload_memory_bytes: settings.offload_memory_bytes.as_usize(),
        offload_requests: settings.offload_requests,
        offload_bytes_per_second: settings
            .offload_bytes_per_second
            .and_then(|bytes| NonZeroU64::new(bytes.0)),
        ..StoreOptions::default()
    }
}

fn start_frontend(
    settings: &Settings,
    store: &Store,
    cold: Cold,
    credentials: Credentials,
    supervisor: &Supervisor,
    metrics: Metrics,
) -> anyhow::Result<Frontend> {
    let mut options = FrontendOptions::new(settings.listen_quic, credentials);
    options.allow_unauthenticated = settings.listen_anonymous;
    options.cluster_id = Some(store.cluster());
    options.node = store.node().0;
    options.limits.connections = settings.listen_connections;
    options.frame_budget_bytes = settings.listen_frame_bytes.as_usize();
    options.window_budget_bytes = settings.listen_window_bytes.as_usize();
    options.read_budget_bytes = settings.listen_read_bytes.as_usize();
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
    let (endpoint, fingerprint) = (reachable(quic).to_string(), identity.fingerprint().to_string());
    let url = format!("tidelog://{endpoint}?fingerprint={fingerprint}");
    let mut context = ClientContext::new(endpoint);
    context.fingerprint = Some(fingerprint);
    context.http = Some(format!("http://{}", reachable(http)));
    match ClientContext::default_path().and_then(|path| context.save(&path).map(|()| path)) {
        Ok(path) => Reach::Context(path),
        Err(error) => {
            tracing::warn!(%error, "the context could not be written; commands need --bootstrap");
            Reach::Url(url)
        }
    }
}

/// Where this machine reaches a listener on all addresses.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn log_recovery(report: &RecoveryReport, took: Duration) {
    let RecoveryReport { files, bytes, replayed_frames, secured_bytes, .. } = *report;
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(took_ms, files, bytes, replayed_frames, secured_bytes, "the store is open");
    if let Some((path, position)) = &report.torn {
        let path = path.display();
        tracing::warn!(%path, position, "the newest journal file ends in an incomplete write, which was cut off");
    }
    for path in &report.reindexed {
        tracing::warn!(path = %path.display(), "the index of a journal file was made anew");
    }
    for damage in &report.damage {
        let (path, position) = (damage.path.display(), damage.position);
        tracing::error!(%path, position, reason = damage.reason, in_bucket = damage.is_covered, "damage in the journal");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_an_address_that_can_be_reached() {
        assert_eq!(reachable("0.0.0.0:9440".parse().unwrap()).to_string(), "127.0.0.1:9440");
        assert_eq!(reachable("[::]:1".parse().unwrap()).to_string(), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1".parse().unwrap()).to_string(), "10.0.0.1:1");
    }
}
