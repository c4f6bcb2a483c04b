//! The server's way to connections: both transports on one port number for clients, and a port for the
//! processes of the same cluster.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use quinn::Endpoint;
use thiserror::Error;
use tidelog_model::SharedClock;
use tidelog_proto::{ALPN, ALPN_INTERNAL, v1};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handshake::Offer;
use crate::tls::{self, ClusterTls, Credentials, IdentityError};
use crate::{ByteBudget, CloseCode, Connection, Limits, TransportSettings, quic, socket, tcp};

/// Connections that are open and not yet accepted by the service.
const ACCEPT_QUEUE_MAX: usize = 64;

/// Tries to find a number that is free for both transports, when any will do.
const ANY_PORT_TRIES: usize = 16;

/// What to listen on, as whom, and within which bounds.
#[derive(Clone, Debug)]
pub struct ListenConfig {
    /// Port 0 takes any that is free.
    pub addr: SocketAddr,
    pub port: Port,
    pub limits: Limits,
    pub settings: TransportSettings,
    /// Bounds what all connections together hold in received frames.
    pub budget: ByteBudget,
    /// Bounds what transport windows may add to that, beyond each connection's minimum.
    pub windows: ByteBudget,
    /// The server's name and version, for clients' logs.
    pub software: String,
    /// Sixteen bytes, or none yet.
    pub cluster_id: Bytes,
    pub clock: SharedClock,
}

/// Whom a port is for.
#[derive(Clone, Debug)]
pub enum Port {
    /// Clients, over QUIC and over TCP with TLS on the same number, to whom this certificate is
    /// shown.
    Clients(Credentials),
    /// The processes of the same cluster, over TCP with mutual TLS.
    Cluster(ClusterTls),
}

/// Why a server cannot listen.
#[derive(Debug, Error)]
pub enum ListenError {
    #[error("the address {addr} is in use")]
    InUse { addr: SocketAddr },
    #[error("cannot listen on {addr}: {source}")]
    Bind { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl ListenError {
    pub(crate) fn bind(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { addr },
            _ => Self::Bind { addr, source },
        }
    }
}

/// What every connection passes on its way in.
#[derive(Debug)]
pub(crate) struct Gate {
    pub alpn: &'static [u8],
    pub limits: Limits,
    pub settings: TransportSettings,
    pub budget: ByteBudget,
    pub windows: ByteBudget,
    pub offer: Offer,
    pub connections: Arc<Semaphore>,
    pub sockets: Arc<Semaphore>,
    pub handshakes: Arc<Semaphore>,
    pub sessions: tcp::Sessions,
    /// No new sessions.
    pub stop: CancellationToken,
    /// Nothing at all any more.
    pub closed: CancellationToken,
    pub tasks: TaskTracker,
    ready: mpsc::Sender<Connection>,
}

impl Gate {
    pub(crate) async fn hand_over(&self, connection: Connection) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => connection.close(CloseCode::SHUTTING_DOWN, ""),
            // It fails only when the listener was dropped; the connection closes with it.
            _ = self.ready.send(connection.clone()) => {}
        }
    }
}

/// A server's port.
#[derive(Debug)]
pub struct Listener {
    addr: SocketAddr,
    /// Of a port for clients.
    quic: Option<Endpoint>,
    ready: mpsc::Receiver<Connection>,
    sessions: tcp::Sessions,
    stop: CancellationToken,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    /// Binds the port (both transports of a port for clients on one number) and begins to take
    /// connections in. Call it within a tokio runtime.
    pub fn bind(config: ListenConfig) -> Result<Self, ListenError> {
        let Bound { quic: endpoint, tcp, acceptor, alpn } = bind(&config)?;
        let tcp_addr = tcp.local_addr().map_err(|error| ListenError::bind(config.addr, error))?;
        let listener = TcpListener::from_std(tcp).map_err(|error| ListenError::bind(config.addr, error))?;
        let (ready_sender, ready) = mpsc::channel(ACCEPT_QUEUE_MAX);
        let (stop, closed) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let limits = config.limits;
        let sessions = tcp::Sessions::default();
        let gate = Arc::new(Gate {
            alpn,
            limits,
            settings: config.settings,
            budget: config.budget,
            windows: config.windows,
            offer: Offer {
                software: config.software,
                cluster_id: config.cluster_id,
                limits: stated(&limits, &config.settings),
                clock: config.clock,
            },
            connections: semaphore(limits.connections),
            sockets: semaphore(limits.sockets),
            handshakes: semaphore(limits.handshakes),
            sessions: sessions.clone(),
            stop: stop.clone(),
            closed: closed.clone(),
            tasks: tasks.clone(),
            ready: ready_sender,
        });
        if let Some(endpoint) = &endpoint {
            tasks.spawn(quic::serve(endpoint.clone(), Arc::clone(&gate)));
        }
        tasks.spawn(tcp::serve(listener, acceptor, gate));
        Ok(Self { addr: tcp_addr, quic: endpoint, ready, sessions, stop, closed, tasks })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection, after its handshake; `None` once [`Listener::stop`] was called.
    pub async fn accept(&mut self) -> Option<Connection> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            connection = self.ready.recv() => connection,
        }
    }

    /// Takes no more sessions in. Those that are open go on, and can open streams.
    pub fn stop(&self) {
        self.stop.cancel();
        if let Some(endpoint) = &self.quic {
            endpoint.set_server_config(None);
        }
    }

    /// Closes what is left and waits until nothing runs any more.
    pub async fn close(mut self, code: CloseCode, reason: &str) {
        self.stop();
        self.closed.cancel();
        self.ready.close();
        while let Some(connection) = self.ready.recv().await {
            connection.close(code, reason);
        }
        self.sessions.close(code, reason);
        if let Some(endpoint) = &self.quic {
            endpoint.close(code.varint(), reason.as_bytes());
            endpoint.wait_idle().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A port that was bound.
struct Bound {
    quic: Option<Endpoint>,
    tcp: std::net::TcpListener,
    acceptor: TlsAcceptor,
    alpn: &'static [u8],
}

fn bind(config: &ListenConfig) -> Result<Bound, ListenError> {
    match &config.port {
        Port::Clients(credentials) => {
            let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(credentials, ALPN)?));
            let (endpoint, tcp) = bind_both(config, credentials)?;
            Ok(Bound { quic: Some(endpoint), tcp, acceptor, alpn: ALPN })
        }
        Port::Cluster(member) => {
            let acceptor = TlsAcceptor::from(Arc::new(member.server_config(ALPN_INTERNAL)?));
            let tcp = bind_tcp(config)?;
            Ok(Bound { quic: None, tcp, acceptor, alpn: ALPN_INTERNAL })
        }
    }
}

fn bind_tcp(config: &ListenConfig) -> Result<std::net::TcpListener, ListenError> {
    socket::tcp_listener(config.addr).map_err(|error| ListenError::bind(config.addr, error))
}

fn bind_both(
    config: &ListenConfig,
    credentials: &Credentials,
) -> Result<(Endpoint, std::net::TcpListener), ListenError> {
    let mut tries = if config.addr.port() == 0 { ANY_PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = bind_tcp(config)?;
        let addr = tcp.local_addr().map_err(|error| ListenError::bind(config.addr, error))?;
        match quic::bind(config, credentials, addr) {
            Ok(endpoint) => return Ok((endpoint, tcp)),
            Err(ListenError::InUse { .. }) if tries > 0 => {}
            Err(error) => return Err(error),
        }
    }
}

/// The limits as the hello reply states them.
fn stated(limits: &Limits, settings: &TransportSettings) -> v1::Limits {
    let clamp = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    v1::Limits {
        header_bytes_max: clamp(limits.frames.header_bytes),
        payload_bytes_max: clamp(limits.frames.payload_bytes),
        streams_max: clamp(limits.streams),
        idle_timeout_ms: u32::try_from(settings.idle_timeout.as_millis()).unwrap_or(u32::MAX),
    }
}

fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}
