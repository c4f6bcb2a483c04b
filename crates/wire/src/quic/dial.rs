//! The client's side of a QUIC connection.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use quinn::{ConnectionError, Endpoint, TokioRuntime};
use tidelog_proto::ALPN;

use super::{Link, client_config, endpoint_config, stream};
use crate::connect::ConnectOptions;
use crate::connection::{Held, Link as AnyLink};
use crate::handshake::introduce;
use crate::session::{SessionParts, SessionTask, start_session};
use crate::{Connection, Peer, Transport, WireError, socket};

/// TLS alert 120, as QUIC carries it: no application protocol in common (RFC 9001, 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 + 120;

/// TLS alerts, as QUIC carries them.
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;

pub(crate) async fn dial(options: &ConnectOptions, addr: SocketAddr) -> Result<Connection, WireError> {
    let endpoint = endpoint(options, addr)?;
    let config =
        client_config(&options.trust, ALPN, &options.settings).map_err(|error| options.tls_error(&error))?;
    let connection = endpoint
        .connect_with(config, addr, options.name())
        .map_err(|error| options.connect_error(&error))?
        .await
        .map_err(|error| handshake_error(options, &error))?;
    let halves = connection.open_bi().await.map_err(|error| WireError::from_quic(&error))?;
    let mut session = stream(halves, options.frames, options.budget.clone());
    let reply = introduce(&mut session, &options.introduction()).await?;
    let peer = Peer {
        addr,
        version: reply.version,
        software: reply.software,
        client_id: String::new(),
        cluster_id: reply.cluster_id,
        limits: reply.limits.unwrap_or_default(),
    };
    let link = Link {
        connection,
        limits: options.frames,
        budget: options.budget.clone(),
        windows: None,
        _endpoint: Some(endpoint),
    };
    let (parts, notices) = SessionParts::new();
    let task = SessionTask::new(session, Transport::Quic, &parts, notices, &options.settings);
    start_session(task);
    Ok(Connection::new(AnyLink::Quic(link), peer, parts, Held::default()))
}

/// A socket and an endpoint for one connection.
pub(crate) fn endpoint(options: &ConnectOptions, addr: SocketAddr) -> Result<Endpoint, WireError> {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = socket::udp(any, &options.settings).map_err(|error| options.connect_error(&error))?;
    Endpoint::new(endpoint_config(&options.settings), None, socket, Arc::new(TokioRuntime))
        .map_err(|error| options.connect_error(&error))
}

pub(crate) fn handshake_error(options: &ConnectOptions, error: &ConnectionError) -> WireError {
    match error {
        ConnectionError::TransportError(failed) if TLS_ALERTS.contains(&u64::from(failed.code)) => {
            options.tls_error(&failed.reason)
        }
        ConnectionError::ConnectionClosed(close)
            if u64::from(close.error_code) == NO_APPLICATION_PROTOCOL =>
        {
            WireError::Protocol { addr: options.addr.clone() }
        }
        ConnectionError::ConnectionClosed(close) if TLS_ALERTS.contains(&u64::from(close.error_code)) => {
            options.tls_error(close)
        }
        ConnectionError::TimedOut => options.connect_error(&"no answer"),
        other => WireError::from_quic(other),
    }
}
