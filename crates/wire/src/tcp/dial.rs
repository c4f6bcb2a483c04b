//! The client's side of a TCP session.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tidelog_proto::v1;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, TlsStream};

use super::stream;
use crate::budget::ByteBudget;
use crate::connect::ConnectOptions;
use crate::connection::{Held, Link};
use crate::handshake::introduce;
use crate::limits::{FrameLimits, Limits, TransportSettings};
use crate::session::{SessionEnd, SessionParts, SessionTask, start_session};
use crate::stream::StreamGuard;
use crate::{Connection, FrameKind, Peer, Stream, Transport, WireError, socket, tls};

/// Opens the further connections of a session.
#[derive(Debug)]
pub(crate) struct Dialer {
    addr: SocketAddr,
    /// As the user wrote it, for errors.
    addr_given: String,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    token: Bytes,
    slots: Arc<Semaphore>,
    limits: FrameLimits,
    budget: ByteBudget,
    settings: TransportSettings,
    timeout: Duration,
    end: SessionEnd,
}

pub(crate) async fn dial(options: &ConnectOptions, addr: SocketAddr) -> Result<Connection, WireError> {
    let config = tls::client_config(&options.trust, options.trust.alpn())
        .map_err(|error| options.tls_error(&error))?;
    let config = Arc::new(config);
    let name = ServerName::try_from(options.name().to_owned()).map_err(|error| options.tls_error(&error))?;
    let tls = tls_connect(addr, &options.addr, name.clone(), &config, &options.settings).await?;
    let mut session = stream(tls, options.frames, options.budget.clone());
    let reply = introduce(&mut session, &options.introduction()).await?;
    let limits = reply.limits.unwrap_or_default();
    let streams = match limits.streams_max {
        0 => Limits::default().streams,
        stated => (stated as usize).min(Semaphore::MAX_PERMITS),
    };
    let (parts, notices) = SessionParts::new();
    let task = SessionTask::new(session, Transport::Tcp, &parts, notices, &options.settings);
    let dialer = Dialer {
        addr,
        addr_given: options.addr.clone(),
        name,
        tls: config,
        token: reply.session_token,
        slots: Arc::new(Semaphore::new(streams)),
        limits: options.frames,
        budget: options.budget.clone(),
        settings: options.settings,
        timeout: options.timeout,
        end: parts.end.clone(),
    };
    start_session(task);
    let peer = Peer {
        addr,
        version: reply.version,
        software: reply.software,
        client_id: String::new(),
        cluster_id: reply.cluster_id,
        limits,
    };
    Ok(Connection::new(Link::TcpClient(dialer), peer, parts, Held::default()))
}

impl Dialer {
    pub(crate) async fn open(&self) -> Result<Stream, WireError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| WireError::LocallyClosed)?;
        let connecting =
            tls_connect(self.addr, &self.addr_given, self.name.clone(), &self.tls, &self.settings);
        let tls = timeout(self.timeout, connecting).await.map_err(|_| WireError::HandshakeTimeout)??;
        let mut stream = stream(tls, self.limits, self.budget.clone());
        stream.join(&self.end, StreamGuard::new(vec![slot]), self.limits);
        // It leaves with the stream's first frame.
        stream.send.push(FrameKind::Attach, &v1::Attach { session_token: self.token.clone() }, &[]);
        Ok(stream)
    }
}

/// A TLS connection that speaks our protocol.
pub(crate) async fn tls_connect(
    addr: SocketAddr,
    addr_given: &str,
    name: ServerName<'static>,
    config: &Arc<ClientConfig>,
    settings: &TransportSettings,
) -> Result<TlsStream<TcpStream>, WireError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::ConnectionRefused => WireError::Refused { addr: addr_given.to_owned() },
        _ => WireError::Connect { addr: addr_given.to_owned(), reason: error.to_string() },
    };
    let tcp = TcpStream::connect(addr).await.map_err(failed)?;
    socket::tune_tcp(&tcp, settings).map_err(failed)?;
    let mut tls = TlsConnector::from(Arc::clone(config))
        .connect(name, tcp)
        .await
        .map_err(|error| handshake_error(addr_given, &error))?;
    let (_, session) = tls.get_mut();
    if session.alpn_protocol() != config.alpn_protocols.first().map(Vec::as_slice) {
        return Err(WireError::Protocol { addr: addr_given.to_owned() });
    }
    session.set_buffer_limit(Some(settings.tls_buffer_bytes));
    Ok(tls.into())
}

fn handshake_error(addr: &str, error: &io::Error) -> WireError {
    let addr = addr.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            WireError::Protocol { addr }
        }
        Some(tls) => WireError::Tls { addr, reason: tls.to_string() },
        None => WireError::Connect { addr, reason: error.to_string() },
    }
}
