//! The store of a cluster, as its process needs it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidelog_controller::Operator;
use tidelog_link::Services;
use tidelog_meta::{Leader, LeaseId, Mirror};
use tidelog_model::ClusterId;
use tidelog_runtime::{CancellationToken, Supervisor};
use tidelog_store::{Parts, StoreOptions};
use tidelog_wire::{ByteBudget, ClusterTls};
use tokio::sync::watch;

use crate::exit::{Code, Failure};

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
#[expect(dead_code, reason = "it is what `open_store` opens a store with")]
pub struct Joining {
    pub options: StoreOptions,
    pub lease_ttl: Duration,
    pub rack: Option<String>,
    pub software: &'static str,
    /// For connections to other stores.
    pub tls: ClusterTls,
}

/// Opens the store; it is not registered yet.
pub async fn open_store(
    _joining: Joining,
    _parts: Parts,
    _supervisor: &Supervisor,
) -> anyhow::Result<Arc<dyn ClusterStore>> {
    Err(Failure::error(Code::Failed, "this build has no stores of a cluster"))
}
