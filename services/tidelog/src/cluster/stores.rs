//! The controller's way to the stores: a connection to each, over their internal ports.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelog_controller::{Stores, Unreachable};
use tidelog_link::{LinkError, Remote, RemoteOptions};
use tidelog_meta::Live;
use tidelog_model::{DirectoryId, NodeId, TopicPartition};
use tidelog_peer::{HandOver, LogReports, PartitionBytes, Ping, Pong};
use tidelog_runtime::Supervisor;
use tidelog_wire::{ByteBudget, ClusterTls, WireError};

/// For answers of all stores together: reports and sizes of a hundred thousand partitions are some
/// megabytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long a sign of life is waited for at most; the controller gives up long before.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections to stores; each belongs to one start of a store at one address. A store that was started
/// again is connected to anew. At most one for each node that was ever called.
#[derive(Debug)]
pub struct LinkStores {
    tls: ClusterTls,
    /// This process's name, for the stores' logs.
    name: String,
    budget: ByteBudget,
    supervisor: Supervisor,
    known: Mutex<HashMap<NodeId, Known>>,
}

#[derive(Debug)]
struct Known {
    directory: DirectoryId,
    boot: u64,
    remote: Remote,
}

impl Known {
    fn is(&self, live: &Live) -> bool {
        (self.directory, self.boot) == (live.directory, live.boot) && self.remote.addr() == live.address
    }
}

impl LinkStores {
    pub fn new(tls: ClusterTls, name: impl Into<String>, supervisor: &Supervisor) -> Self {
        let (budget, supervisor) = (ByteBudget::new(ANSWER_BYTES_MAX), supervisor.clone());
        Self { tls, name: name.into(), budget, supervisor, known: Mutex::default() }
    }

    fn remote(&self, live: &Live) -> Remote {
        let mut known = self.known.lock();
        if let Some(known) = known.get(&live.node).filter(|known| known.is(live)) {
            return known.remote.clone();
        }
        let mut options = RemoteOptions::new(&live.address, self.tls.clone(), self.budget.clone());
        options.client_id.clone_from(&self.name);
        let remote = Remote::new(options, &self.supervisor);
        let entry = Known { directory: live.directory, boot: live.boot, remote: remote.clone() };
        known.insert(live.node, entry);
        remote
    }
}

/// What a failed call says about the store's process.
fn why(error: LinkError) -> Unreachable {
    match error {
        LinkError::Unreachable { source: WireError::Refused { .. }, .. } => {
            Unreachable::Gone(error.to_string())
        }
        LinkError::Refused(answer) => Unreachable::Refused(answer),
        // It answered, if not in a way that is understood.
        LinkError::Bad { .. } => Unreachable::Refused(error.into()),
        LinkError::Unreachable { .. } | LinkError::Lost { .. } | LinkError::TimedOut { .. } => {
            Unreachable::Silent(error.to_string())
        }
    }
}

#[async_trait]
impl Stores for LinkStores {
    async fn ping(&self, store: &Live, ping: Ping) -> Result<Pong, Unreachable> {
        self.remote(store).ping(ping, PING_TIMEOUT).await.map_err(why)
    }

    async fn report(&self, store: &Live, partitions: Vec<TopicPartition>) -> Result<LogReports, Unreachable> {
        self.remote(store).report(partitions).await.map_err(why)
    }

    async fn hand_over(
        &self,
        store: &Live,
        token: u64,
        partitions: Vec<HandOver>,
    ) -> Result<(), Unreachable> {
        self.remote(store).hand_over(token, &partitions).await.map_err(why)
    }

    async fn sizes(&self, store: &Live) -> Result<Vec<PartitionBytes>, Unreachable> {
        self.remote(store).sizes().await.map_err(why)
    }

    async fn closed(&self, store: &Live) {
        let remote = {
            let known = self.known.lock();
            known.get(&store.node).filter(|known| known.is(store)).map(|known| known.remote.clone())
        };
        match remote {
            Some(remote) => remote.closed().await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests;
