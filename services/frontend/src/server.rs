//! A frontend's life: start, accept, drain, end.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_model::SharedClock;
use tidelog_peer::{ClusterAdmin, PartitionStore, Topics};
use tidelog_runtime::{CancellationToken, Metrics, Supervisor};
use tidelog_wire::{ByteBudget, CloseCode, ListenConfig, Listener, Port};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::connection::serve;
use crate::edge::Edge;
use crate::metrics::{FrontendMetrics, observe};
use crate::subscription::Reads;
use crate::{ColdSource, FrontendOptions, StartError};

/// What a frontend works with.
#[derive(Clone)]
pub struct Parts {
    pub store: Arc<dyn PartitionStore>,
    pub topics: Arc<dyn Topics>,
    /// The cluster's controller, wherever it is; `None` in a process that is all there is.
    pub cluster: Option<Arc<dyn ClusterAdmin>>,
    pub cold: Arc<dyn ColdSource>,
    pub clock: SharedClock,
    pub supervisor: Supervisor,
    pub metrics: Metrics,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// A frontend that serves.
pub struct Frontend {
    addr: SocketAddr,
    drain: CancellationToken,
    connections: Supervisor,
    listener: oneshot::Receiver<Listener>,
}

impl fmt::Debug for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frontend").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Frontend {
    /// Listens and serves until [`Frontend::shut_down`]. Call it within a tokio runtime.
    pub fn start(options: FrontendOptions, parts: Parts) -> Result<Self, StartError> {
        options.check()?;
        let cluster_id = options.cluster_id.map(|id| Bytes::copy_from_slice(id.as_bytes()));
        let budget = ByteBudget::new(options.frame_budget_bytes);
        let windows = ByteBudget::new(options.window_budget_bytes);
        let reads = ByteBudget::new(options.read_budget_bytes);
        let listener = Listener::bind(ListenConfig {
            addr: options.listen,
            port: Port::Clients(options.credentials.clone()),
            limits: options.limits,
            settings: options.settings,
            budget: budget.clone(),
            windows: windows.clone(),
            software: options.software.clone(),
            cluster_id: cluster_id.unwrap_or_default(),
            clock: Arc::clone(&parts.clock),
        })?;
        let addr = listener.local_addr();
        let drain = CancellationToken::new();
        for (name, help, budget) in [
            ("frontend_frame_bytes", "Bytes of received frames that are held", &budget),
            ("frontend_window_bytes", "Bytes granted to transport windows beyond the minimum", &windows),
            ("frontend_read_bytes", "Bytes of records on their way to clients beyond the minimum", &reads),
        ] {
            observe(&parts.metrics, name, help, budget);
        }
        let edge = Arc::new(Edge {
            metrics: FrontendMetrics::register(&parts.metrics),
            reads: Reads::new(reads),
            advertised: options.advertised.clone().unwrap_or_else(|| addr.to_string()),
            store: parts.store,
            topics: parts.topics,
            cluster: parts.cluster,
            cold: parts.cold,
            clock: parts.clock,
            drain: drain.clone(),
            options,
        });
        let connections = parts.supervisor.child();
        let (give_back, listener_back) = oneshot::channel();
        let accept = accept_all(listener, edge, connections.clone(), give_back);
        parts.supervisor.spawn("frontend-accept", accept);
        info!(%addr, "the frontend listens on QUIC and on TCP with TLS");
        Ok(Self { addr, drain, connections, listener: listener_back })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Takes no more connections, lets what was begun finish for so long, then closes everything.
    pub async fn shut_down(self, within: Duration) {
        self.drain.cancel();
        if let Err(unfinished) = self.connections.join(within).await {
            warn!(%unfinished, "connections are cut off");
        }
        self.connections.cancel();
        // The accept loop gives it back, unless it was torn down with the process.
        if let Ok(listener) = self.listener.await {
            listener.close(CloseCode::SHUTTING_DOWN, "the server is shutting down").await;
        }
    }
}

async fn accept_all(
    mut listener: Listener,
    edge: Arc<Edge>,
    connections: Supervisor,
    give_back: oneshot::Sender<Listener>,
) {
    loop {
        let connection = tokio::select! {
            biased;
            () = edge.drain.cancelled() => break,
            () = connections.cancelled() => break,
            connection = listener.accept() => connection,
        };
        let Some(connection) = connection else { break };
        let task = serve(connection, Arc::clone(&edge), connections.clone());
        connections.spawn_until_cancelled("frontend-connection", task);
    }
    listener.stop();
    // Nobody waits for it when the process ends without a drain.
    let _ = give_back.send(listener);
}
