//! TCP with TLS: one TLS connection for each stream.
//!
//! Each stream then has the kernel's own flow control, and none waits for another. The first
//! connection is the session stream; its hello yields a token, with which the others attach.

mod dial;
mod listen;

use std::future::poll_fn;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsStream;

use crate::budget::ByteBudget;
use crate::limits::FrameLimits;
use crate::receiver::RecvHalf;
use crate::sender::SendHalf;
use crate::session::SessionEnd;
use crate::stream::StreamGuard;
use crate::{FrameReceiver, FrameSender, Stream, WireError};

pub(crate) use dial::{Dialer, dial, tls_connect};
pub(crate) use listen::{Sessions, serve};

/// A server's end of a session: streams as clients attach them.
#[derive(Debug)]
pub(crate) struct Attached {
    streams: Mutex<mpsc::Receiver<Stream>>,
    _registered: listen::Registered,
}

impl Attached {
    pub(crate) async fn accept(&self) -> Result<Stream, WireError> {
        let stream = poll_fn(|cx| self.streams.lock().poll_recv(cx)).await;
        stream.ok_or(WireError::LocallyClosed)
    }
}

pub(crate) fn stream(tls: TlsStream<TcpStream>, limits: FrameLimits, budget: ByteBudget) -> Stream {
    let (read, write) = tokio::io::split(tls);
    let end = SessionEnd::default();
    let guard = StreamGuard::default();
    Stream {
        send: FrameSender::new(SendHalf::Tcp(write), end.clone(), guard.clone()),
        recv: FrameReceiver::new(RecvHalf::Tcp(read), limits, budget, end, guard),
    }
}
