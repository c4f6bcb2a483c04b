//! The serving end: whoever is let in by the port's certificates may make every call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_model::{ClusterId, ErrorCode, SharedClock};
use tidelog_peer::{ClusterAdmin, PartitionStore, StoreControl, StoreError, Topics};
use tidelog_runtime::{CancellationToken, Supervisor};
use tidelog_wire::{
    ByteBudget, CloseCode, ClusterTls, Connection, FrameKind, Limits, ListenConfig, ListenError, Listener,
    Port, Stream, TransportSettings, WireError,
};
use tokio::time::timeout;
use tracing::debug;

use crate::convert::error_message;
use crate::forward::{SessionCounters, SessionRules};
use crate::limits::{CALL_TIMEOUT_MAX, FORWARD_BATCHES_MAX, FORWARD_BYTES_MAX, FRAMES};
use crate::replication::Followers;
use crate::{calls, forward, replication};

/// What this process does for others; a call of a service that it does not have is refused.
#[derive(Clone)]
pub struct Services {
    pub partitions: Option<Arc<dyn PartitionStore>>,
    pub topics: Option<Arc<dyn Topics>>,
    pub control: Option<Arc<dyn StoreControl>>,
    /// The controller that may be in this process.
    pub cluster: Option<Arc<dyn ClusterAdmin>>,
    pub followers: Option<Arc<dyn Followers>>,
    /// Set when the process takes nothing new: forward lanes end after what they were given.
    pub drain: CancellationToken,
    /// For records on their way out, all connections together.
    pub replies: ByteBudget,
}

/// Where and how to serve.
#[derive(Clone, Debug)]
pub struct LinkServerOptions {
    /// Port 0 takes any that is free.
    pub listen: SocketAddr,
    pub tls: ClusterTls,
    pub cluster: ClusterId,
    /// Name and version, for the peers' logs.
    pub software: String,
    /// For received frames, all connections together: batches on their way to the journal.
    pub frames: ByteBudget,
    pub settings: TransportSettings,
    pub clock: SharedClock,
}

/// An internal port that is served.
#[derive(Debug)]
pub struct LinkServer {
    addr: SocketAddr,
    closing: CancellationToken,
    tasks: Supervisor,
}

impl LinkServer {
    /// Listens and serves until [`Self::shut_down`]. Call it within a tokio runtime.
    pub fn start(
        options: LinkServerOptions,
        services: Services,
        supervisor: &Supervisor,
    ) -> Result<Self, ListenError> {
        let listener = Listener::bind(ListenConfig {
            addr: options.listen,
            port: Port::Cluster(options.tls),
            limits: Limits { frames: FRAMES, ..Limits::default() },
            settings: options.settings,
            budget: options.frames,
            windows: ByteBudget::new(0),
            software: options.software,
            cluster_id: Bytes::copy_from_slice(options.cluster.as_bytes()),
            clock: options.clock,
        })?;
        let addr = listener.local_addr();
        let tasks = supervisor.child();
        let closing = CancellationToken::new();
        let (connections, until) = (tasks.clone(), closing.clone());
        tasks.spawn("link-accept", accept(listener, Arc::new(services), connections, until));
        Ok(Self { addr, closing, tasks })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes every connection; peers see it at once.
    pub async fn shut_down(self, within: Duration) {
        self.closing.cancel();
        if let Err(unfinished) = self.tasks.shut_down(within).await {
            tracing::warn!(%unfinished, "the internal port did not close in time");
        }
    }
}

async fn accept(
    mut listener: Listener,
    services: Arc<Services>,
    tasks: Supervisor,
    closing: CancellationToken,
) {
    loop {
        let connection = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            connection = listener.accept() => connection,
        };
        let Some(connection) = connection else { break };
        tasks.spawn_until_cancelled(
            "link-connection",
            serve(connection, Arc::clone(&services), tasks.clone()),
        );
    }
    listener.close(CloseCode::SHUTTING_DOWN, "the process is shutting down").await;
}

async fn serve(connection: Connection, services: Arc<Services>, tasks: Supervisor) {
    let peer = connection.peer();
    debug!(peer = %peer.addr, client = peer.client_id, "a peer connected");
    loop {
        match connection.accept().await {
            Ok(Some(stream)) => {
                let task = dispatch(stream, connection.clone(), Arc::clone(&services));
                tasks.spawn_until_cancelled("link-stream", task);
            }
            Ok(None) => break,
            Err(error) => {
                debug!(peer = %peer.addr, %error, "a peer's connection ended");
                break;
            }
        }
    }
}

/// `connection` stays open as long as one of its streams is served.
async fn dispatch(mut stream: Stream, _connection: Connection, services: Arc<Services>) {
    let first = timeout(FRAMES.frame_timeout, stream.recv.expect()).await;
    let first = match first {
        Ok(Ok(first)) => first,
        Ok(Err(error)) => return stream.give_up(&error).await,
        Err(_) => return stream.give_up(&WireError::FrameTimeout).await,
    };
    match first.kind {
        FrameKind::Call => calls::serve(stream, first, services).await,
        FrameKind::OpenReplication if let Some(followers) = &services.followers => {
            replication::serve(stream, &first, followers.as_ref()).await;
        }
        FrameKind::OpenProducer if let Some(store) = &services.partitions => {
            forward::serve(stream, &first, store.as_ref(), &services.rules()).await;
        }
        kind => {
            let message = format!("a stream that begins with {kind:?} is not served here");
            let error = StoreError::new(ErrorCode::UnsupportedVersion, message);
            stream.fail(&error_message(error), CloseCode::UNEXPECTED_FRAME).await;
        }
    }
}

/// Whether a batch is waited for is decided where its client is.
impl Services {
    fn rules(&self) -> SessionRules {
        SessionRules {
            in_flight_bytes: FORWARD_BYTES_MAX,
            in_flight_batches: FORWARD_BATCHES_MAX,
            timeout: CALL_TIMEOUT_MAX,
            stall_timeout: None,
            drain: self.drain.clone(),
            counters: Arc::new(Uncounted),
        }
    }
}

/// The store counts what reaches it.
struct Uncounted;

impl SessionCounters for Uncounted {
    fn received(&self, _: usize) {}
    fn refused(&self) {}
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}
