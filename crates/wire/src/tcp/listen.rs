//! The server's side of TCP sessions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_model::ErrorCode;
use tidelog_proto::v1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use super::{Attached, stream};
use crate::connection::{Held, Link};
use crate::handshake::{judge, refusal, welcome};
use crate::limits::FrameLimits;
use crate::listener::Gate;
use crate::session::{SessionEnd, SessionParts, SessionTask};
use crate::stream::StreamGuard;
use crate::{CloseCode, Connection, Frame, FrameKind, Peer, Stream, Transport, WireError, socket, tls};

/// Random, so that nobody can guess another's session.
const TOKEN_BYTES: usize = 32;

/// Streams that were attached and not yet accepted by the service.
const ATTACHED_QUEUE_MAX: usize = 64;

/// Wait before accepting again when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Token = [u8; TOKEN_BYTES];

/// The sessions that streams can attach to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<Token, Session>>>);

#[derive(Clone, Debug)]
struct Session {
    streams: mpsc::Sender<Stream>,
    slots: Arc<Semaphore>,
    end: SessionEnd,
}

impl Sessions {
    /// Ends every session.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        for session in self.0.lock().values() {
            session.end.close(code, reason);
        }
    }
}

/// Takes the session out of the table when the connection is gone.
#[derive(Debug)]
pub(crate) struct Registered {
    sessions: Sessions,
    token: Token,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.sessions.0.lock().remove(&self.token);
    }
}

/// Takes connections in until the gate closes. Once it has stopped, only streams of old sessions pass.
#[expect(clippy::disallowed_methods, reason = "a back-off: descriptors come free in their own time")]
pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, gate: Arc<Gate>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.closed.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (tcp, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept TCP connections");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Past either bound the connection is simply dropped: nothing is owed to it before TLS.
        let Ok(socket) = Arc::clone(&gate.sockets).try_acquire_owned() else { continue };
        let Ok(handshake) = Arc::clone(&gate.handshakes).try_acquire_owned() else { continue };
        let (gate_of_task, acceptor) = (Arc::clone(&gate), acceptor.clone());
        gate.tasks.spawn(async move {
            let within = gate_of_task.limits.handshake_timeout;
            let shake = shake(tcp, peer, acceptor, &gate_of_task, socket);
            let result = timeout(within, shake).await.unwrap_or(Err(WireError::HandshakeTimeout));
            drop(handshake);
            match result {
                Ok(Some(connection)) => gate_of_task.hand_over(connection).await,
                Ok(None) => {}
                Err(error) => debug!(%peer, %error, "a TCP handshake failed"),
            }
        });
    }
}

/// TLS, then the first frame: a new session, or a stream for an old one.
async fn shake(
    tcp: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    gate: &Gate,
    socket: OwnedSemaphorePermit,
) -> Result<Option<Connection>, WireError> {
    let lost = |error: std::io::Error| WireError::Lost(error.to_string());
    socket::tune_tcp(&tcp, &gate.settings).map_err(lost)?;
    let mut tls = acceptor.accept(tcp).await.map_err(lost)?;
    let (_, session) = tls.get_mut();
    if session.alpn_protocol() != Some(gate.alpn) {
        return Err(WireError::Protocol { addr: peer.to_string() });
    }
    session.set_buffer_limit(Some(gate.settings.tls_buffer_bytes));
    let limits = FrameLimits::handshake(gate.limits.handshake_timeout);
    let mut stream = stream(TlsStream::from(tls), limits, gate.budget.clone());
    let first = match stream.recv.expect().await {
        Ok(frame) => frame,
        Err(error) => return refuse(stream, error.to_error_frame()).await,
    };
    if first.kind == FrameKind::Attach {
        attach(&first, stream, gate, socket).await?;
        return Ok(None);
    }
    if gate.stop.is_cancelled() {
        return refuse(stream, refusal(ErrorCode::ShuttingDown, ErrorCode::ShuttingDown.to_string(), None))
            .await;
    }
    let Ok(place) = Arc::clone(&gate.connections).try_acquire_owned() else {
        let message = "the server has too many connections".to_owned();
        return refuse(stream, refusal(ErrorCode::ThrottlingQuotaExceeded, message, None)).await;
    };
    match judge(&first) {
        Ok(greeted) => {
            stream.join(&SessionEnd::default(), StreamGuard::new(vec![socket]), limits);
            let token = new_token()?;
            let (streams, attached) = mpsc::channel(ATTACHED_QUEUE_MAX);
            let (parts, notices) = SessionParts::new();
            let session = Session {
                streams,
                slots: Arc::new(Semaphore::new(gate.limits.streams)),
                end: parts.end.clone(),
            };
            gate.sessions.0.lock().insert(token, session);
            let registered = Registered { sessions: gate.sessions.clone(), token };
            welcome(&mut stream, &gate.offer, greeted.version, Bytes::copy_from_slice(&token)).await?;
            let task = SessionTask::new(stream, Transport::Tcp, &parts, notices, &gate.settings);
            gate.tasks.spawn(task.run());
            let peer = Peer {
                addr: peer,
                version: greeted.version,
                software: greeted.software,
                client_id: greeted.client_id,
                cluster_id: Bytes::new(),
                limits: v1::Limits::default(),
            };
            let link = Attached { streams: Mutex::new(attached), _registered: registered };
            let held = Held { _place: Some(place) };
            Ok(Some(Connection::new(Link::TcpServer(link), peer, parts, held)))
        }
        Err(error) => refuse(stream, error).await,
    }
}

async fn attach(
    frame: &Frame,
    mut stream: Stream,
    gate: &Gate,
    socket: OwnedSemaphorePermit,
) -> Result<(), WireError> {
    let attach: v1::Attach = frame.decode(FrameKind::Attach)?;
    let token = Token::try_from(attach.session_token.as_ref()).ok();
    let session = token.and_then(|token| gate.sessions.0.lock().get(&token).cloned());
    let Some(session) = session else {
        let message = "no such session: it has ended, or the token is wrong".to_owned();
        refuse(stream, refusal(ErrorCode::AuthenticationFailed, message, None)).await?;
        return Ok(());
    };
    let Ok(slot) = Arc::clone(&session.slots).try_acquire_owned() else {
        refuse(stream, WireError::TooManyStreams.to_error_frame()).await?;
        return Ok(());
    };
    stream.join(&session.end, StreamGuard::new(vec![socket, slot]), gate.limits.frames);
    // Failing means that the session ended meanwhile.
    session.streams.send(stream).await.map_err(|_| WireError::LocallyClosed)
}

async fn refuse<T>(stream: Stream, error: v1::Error) -> Result<T, WireError> {
    stream.fail(&error, CloseCode::PROTOCOL_VIOLATION).await;
    Err(error.into())
}

fn new_token() -> Result<Token, WireError> {
    let mut token = [0; TOKEN_BYTES];
    let random = tls::provider().secure_random;
    random.fill(&mut token).map_err(|_| WireError::Lost("no randomness for a session token".to_owned()))?;
    Ok(token)
}
