//! The store of a cluster, as its process needs it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tidelog_controller::{ClusterTopics, Operator};
use tidelog_link::{MeshOptions, Services};
use tidelog_meta::{Leader, LeaseId, Mirror};
use tidelog_model::ClusterId;
use tidelog_replica::Faults;
use tidelog_runtime::{CancellationToken, Supervisor, crash};
use tidelog_store::{ClusterParts, Parts, StoreOptions};
use tidelog_wire::{ByteBudget, ClusterTls};
use tokio::sync::watch;

use crate::roles::journal;

/// A store that takes part in its cluster.
#[async_trait]
pub trait ClusterStore: Send + Sync {
    fn cluster(&self) -> ClusterId;

    /// This start of it.
    fn leader(&self) -> Leader;

    /// The cluster as it knows it.
    fn mirror(&self) -> Arc<Mirror>;

    /// The lease that it is registered under, while it may act on it.
    fn lease(&self) -> watch::Receiver<Option<LeaseId>>;

    /// What it does for others. Topics are created by the controller, whom `operator` reaches. `drain` ends
    /// what frontends send; `replies` bounds what is on its way to them.
    fn services(&self, operator: Operator, drain: CancellationToken, replies: ByteBudget) -> Services;

    /// Registers where others reach it, and stays registered: from here on it follows and leads.
    async fn join(&self, address: String) -> anyhow::Result<()>;

    /// Tells the cluster that it is to lead nothing and hold nothing new.
    fn drain(&self);

    /// Ends its registration, waits until what it took is durable, and closes the journal.
    async fn close(&self);
}

/// How a store joins its cluster.
pub struct Joining {
    pub options: StoreOptions,
    pub lease_ttl: Duration,
    pub rack: Option<String>,
    pub software: &'static str,
    /// For connections to other stores.
    pub tls: ClusterTls,
}

/// Memory for what other stores answer; batches are not among it.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

/// Opens the store; it is not registered yet.
pub async fn open_store(
    joining: Joining,
    parts: Parts,
    supervisor: &Supervisor,
) -> anyhow::Result<Arc<dyn ClusterStore>> {
    let Joining { options, lease_ttl, rack, software, tls } = joining;
    let mut mesh = MeshOptions::new(tls, ByteBudget::new(ANSWERS_BYTES));
    mesh.client_id = format!("store-{}", options.node);
    let cluster = ClusterParts {
        mesh,
        rack,
        software: software.to_owned(),
        lease_ttl,
        replication: tidelog_replica::Config { faults: faults()?, ..tidelog_replica::Config::default() },
    };
    let begun = Instant::now();
    let (store, report) = tidelog_store::ClusterStore::open(options, parts, cluster, supervisor).await?;
    journal::log_recovery(&report, begun.elapsed());
    Ok(Arc::new(store))
}

/// The deliberate bug that a test switched on, in a build with failpoints; in any other there is none.
fn faults() -> anyhow::Result<Faults> {
    let mut faults = Faults::default();
    match crash::told("store::replica-fault").as_deref() {
        None => {}
        Some("hw_from_leader_only") => faults.hw_from_leader_only = true,
        Some(other) => anyhow::bail!("store::replica-fault: there is no bug {other:?}"),
    }
    if faults != Faults::default() {
        tracing::error!(?faults, "a deliberate bug is switched on: acknowledged records may be lost");
    }
    Ok(faults)
}

#[async_trait]
impl ClusterStore for tidelog_store::ClusterStore {
    fn cluster(&self) -> ClusterId {
        self.cluster()
    }

    fn leader(&self) -> Leader {
        self.leader()
    }

    fn mirror(&self) -> Arc<Mirror> {
        self.mirror()
    }

    fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease()
    }

    fn services(&self, operator: Operator, drain: CancellationToken, replies: ByteBudget) -> Services {
        let store = Arc::new(self.store().clone());
        let topics = ClusterTopics::new(operator.clone(), Arc::clone(&store) as _);
        Services {
            partitions: Some(store),
            topics: Some(Arc::new(topics)),
            control: Some(self.control()),
            cluster: Some(Arc::new(operator)),
            followers: Some(Arc::new(self.mesh().clone())),
            drain,
            replies,
        }
    }

    async fn join(&self, address: String) -> anyhow::Result<()> {
        Ok(self.join(address).await?)
    }

    fn drain(&self) {
        self.drain();
    }

    async fn close(&self) {
        self.close().await;
    }
}
