//! The server's side of QUIC connections.
//!
//! Every client proves its address first, with a stateless retry: one more round trip for connections
//! that live long, and a spoofed address takes no place among the handshakes and gets less than it
//! sent. (Without it quinn can exceed RFC 9000's factor of three by part of a packet.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming, TokioRuntime};
use tidelog_proto::ALPN;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use super::windows::Windows;
use super::{Link, endpoint_config, reset, server_config, stream};
use crate::connection::{Held, Link as AnyLink};
use crate::handshake::{judge, welcome};
use crate::limits::FrameLimits;
use crate::listener::{Gate, ListenConfig, ListenError};
use crate::session::{SessionParts, SessionTask};
use crate::tls::Credentials;
use crate::{CloseCode, Connection, Peer, Transport, WireError, socket};

/// How long a refused client may take to read why.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn bind(
    config: &ListenConfig,
    credentials: &Credentials,
    addr: SocketAddr,
) -> Result<Endpoint, ListenError> {
    let server = server_config(credentials, ALPN, &config.limits, &config.settings)?;
    let socket = socket::udp(addr, &config.settings).map_err(|error| ListenError::bind(addr, error))?;
    let mut endpoint = endpoint_config(&config.settings);
    reset::outlive_restarts(&mut endpoint, &credentials.identity());
    Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime))
        .map_err(|error| ListenError::bind(addr, error))
}

/// Takes connections in until the gate closes.
pub(crate) async fn serve(endpoint: Endpoint, gate: Arc<Gate>) {
    loop {
        let incoming = tokio::select! {
            biased;
            () = gate.stop.cancelled() => break,
            incoming = endpoint.accept() => incoming,
        };
        let Some(incoming) = incoming else { break };
        if incoming.may_retry() {
            // An error would mean that the address is proved already, which was just ruled out.
            let _ = incoming.retry();
            continue;
        }
        let Ok(handshake) = Arc::clone(&gate.handshakes).try_acquire_owned() else {
            incoming.ignore();
            continue;
        };
        let Ok(place) = Arc::clone(&gate.connections).try_acquire_owned() else {
            debug!(peer = %incoming.remote_address(), "refused: too many connections");
            incoming.refuse();
            continue;
        };
        let gate_of_task = Arc::clone(&gate);
        gate.tasks.spawn(async move {
            let peer = incoming.remote_address();
            let connection = admit(incoming, &gate_of_task, place).await;
            drop(handshake);
            match connection {
                Ok(connection) => gate_of_task.hand_over(connection).await,
                Err(error) => debug!(%peer, %error, "a QUIC handshake failed"),
            }
        });
    }
}

async fn admit(
    incoming: Incoming,
    gate: &Gate,
    place: OwnedSemaphorePermit,
) -> Result<Connection, WireError> {
    let within = gate.limits.handshake_timeout;
    let connecting = incoming.accept().map_err(|error| WireError::from_quic(&error))?;
    let connection = timeout(within, connecting)
        .await
        .map_err(|_| WireError::HandshakeTimeout)?
        .map_err(|error| WireError::from_quic(&error))?;
    let greeted = timeout(within, greet(connection.clone(), gate, place)).await;
    greeted.unwrap_or_else(|_| {
        let code = CloseCode::HANDSHAKE_TIMEOUT;
        connection.close(code.varint(), code.to_string().as_bytes());
        Err(WireError::HandshakeTimeout)
    })
}

/// Hello and its reply, on a connection that TLS has secured.
async fn greet(
    connection: quinn::Connection,
    gate: &Gate,
    place: OwnedSemaphorePermit,
) -> Result<Connection, WireError> {
    let halves = connection.accept_bi().await.map_err(|error| WireError::from_quic(&error))?;
    let limits = FrameLimits::handshake(gate.limits.handshake_timeout);
    let mut session = stream(halves, limits, gate.budget.clone());
    let hello = match session.recv.expect().await {
        Ok(frame) => judge(&frame),
        Err(error) => Err(error.to_error_frame()),
    };
    let greeted = match hello {
        Ok(greeted) => greeted,
        Err(error) => {
            let code = close_code(&error);
            let _ = timeout(REFUSAL_TIMEOUT, session.fail(&error, code)).await;
            connection.close(code.varint(), error.message.as_bytes());
            return Err(error.into());
        }
    };
    welcome(&mut session, &gate.offer, greeted.version, bytes::Bytes::new()).await?;
    let held = Held { _place: Some(place) };
    let peer = Peer {
        addr: connection.remote_address(),
        version: greeted.version,
        software: greeted.software,
        client_id: greeted.client_id,
        cluster_id: bytes::Bytes::new(),
        limits: tidelog_proto::v1::Limits::default(),
    };
    let link = Link {
        connection,
        limits: gate.limits.frames,
        budget: gate.budget.clone(),
        windows: Some(Windows::new(gate.windows.clone(), &gate.settings)),
        _endpoint: None,
    };
    let (parts, notices) = SessionParts::new();
    let task = SessionTask::new(session, Transport::Quic, &parts, notices, &gate.settings);
    gate.tasks.spawn(task.run());
    Ok(Connection::new(AnyLink::Quic(link), peer, parts, held))
}

fn close_code(error: &tidelog_proto::v1::Error) -> CloseCode {
    use tidelog_model::ErrorCode;
    match ErrorCode::from_code(error.code) {
        Some(ErrorCode::UnsupportedVersion) => CloseCode::VERSION,
        Some(ErrorCode::AuthenticationFailed) => CloseCode::AUTHENTICATION,
        Some(ErrorCode::RequestTimedOut) => CloseCode::HANDSHAKE_TIMEOUT,
        _ => CloseCode::PROTOCOL_VIOLATION,
    }
}
