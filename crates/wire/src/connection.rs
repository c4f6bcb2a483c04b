//! A connection: the same on both transports.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::session::{SessionEnd, SessionParts};
use crate::{CloseCode, SessionWindow, Stream, WireError, quic, tcp};

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Quic,
    /// TCP with TLS, one TLS connection for each stream.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        })
    }
}

/// The other side, as the handshake showed it.
#[derive(Clone, Debug)]
pub struct Peer {
    pub addr: SocketAddr,
    /// The protocol version that was agreed on.
    pub version: u32,
    /// Its software and version.
    pub software: String,
    /// How a client names itself; empty for a server.
    pub client_id: String,
    /// A server's cluster; empty for a client, or before the cluster has an id.
    pub cluster_id: Bytes,
    /// What a server accepts. Zeroes for a client.
    pub limits: v1::Limits,
}

/// An open connection, after the handshake. Clones share it; it closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Link,
    transport: Transport,
    peer: Peer,
    end: SessionEnd,
    going_away: CancellationToken,
    notices: mpsc::Sender<v1::GoAway>,
    _held: Held,
}

/// What a connection occupies until it is gone.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Its place among the connections.
    pub _place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
pub(crate) enum Link {
    Quic(quic::Link),
    TcpClient(tcp::Dialer),
    TcpServer(tcp::Attached),
}

impl Connection {
    pub(crate) fn new(link: Link, peer: Peer, session: SessionParts, held: Held) -> Self {
        let transport = match link {
            Link::Quic(_) => Transport::Quic,
            Link::TcpClient(_) | Link::TcpServer(_) => Transport::Tcp,
        };
        let SessionParts { end, going_away, notices } = session;
        Self(Arc::new(Inner { link, transport, peer, end, going_away, notices, _held: held }))
    }

    /// Opens a stream; waits while as many are open as the server allows. Only clients open streams.
    ///
    /// The server learns of it with the first frame.
    pub async fn open(&self) -> Result<Stream, WireError> {
        let open = async {
            match &self.0.link {
                Link::Quic(link) => link.open().await,
                Link::TcpClient(dialer) => dialer.open().await,
                Link::TcpServer(_) => Err(WireError::TooManyStreams),
            }
        };
        tokio::select! {
            biased;
            error = self.0.end.ended() => Err(error),
            stream = open => stream,
        }
    }

    /// The next stream that the client opened; `None` once it has closed the connection properly.
    pub async fn accept(&self) -> Result<Option<Stream>, WireError> {
        let accept = async {
            match &self.0.link {
                Link::Quic(link) => link.accept().await,
                Link::TcpServer(attached) => attached.accept().await,
                Link::TcpClient(_) => Err(self.0.end.ended().await),
            }
        };
        let result = tokio::select! {
            biased;
            error = self.0.end.ended() => Err(error),
            stream = accept => stream,
        };
        match result {
            Ok(stream) => Ok(Some(stream)),
            Err(WireError::Closed { code: CloseCode::NONE, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Closes the connection with everything on it, at once. What was sent and not acknowledged by the
    /// peer may be lost.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.0.close(code, reason);
    }

    /// Waits until the connection is over and says why.
    pub async fn closed(&self) -> WireError {
        self.0.end.ended().await
    }

    pub fn is_closed(&self) -> bool {
        self.0.end.is_over()
    }

    /// Tells a client to open no more streams here and to be gone within `drain_ms`.
    pub fn go_away(&self, drain_ms: u32, reason: &str) {
        // A full queue holds a good-bye already.
        let _ = self.0.notices.try_send(v1::GoAway { drain_ms, reason: reason.to_owned() });
    }

    /// Resolves when the server has said that it is going away.
    pub async fn going_away(&self) {
        self.0.going_away.cancelled().await;
    }

    pub fn is_going_away(&self) -> bool {
        self.0.going_away.is_cancelled()
    }

    pub fn transport(&self) -> Transport {
        self.0.transport
    }

    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Lets the client send batches at full speed on one more stream: raises the receive window by what
    /// that stream may have unread, if the budget for windows can spare it. The server's to call, when
    /// a producer session begins; the answer lives as long as the session.
    pub fn widen_receive(&self) -> SessionWindow {
        let window = match &self.0.link {
            Link::Quic(link) => link.widen_receive(),
            Link::TcpClient(_) | Link::TcpServer(_) => None,
        };
        window.unwrap_or_else(SessionWindow::of_socket)
    }

    /// Lets the connection carry batches to the client at full speed.
    pub fn widen_send(&self) {
        if let Link::Quic(link) = &self.0.link {
            link.widen_send();
        }
    }

    /// The round trip as QUIC measures it.
    pub fn round_trip(&self) -> Option<std::time::Duration> {
        match &self.0.link {
            Link::Quic(link) => Some(link.round_trip()),
            _ => None,
        }
    }
}

impl Inner {
    fn close(&self, code: CloseCode, reason: &str) {
        self.end.close(code, reason);
        if let Link::Quic(link) = &self.link {
            link.close(code, reason);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close(CloseCode::NONE, "");
    }
}
