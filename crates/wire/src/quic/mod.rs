//! QUIC, by way of quinn.

mod config;
mod dial;
mod listen;
mod reset;
mod windows;

use std::time::Duration;

use quinn::Endpoint;

use crate::budget::ByteBudget;
use crate::limits::FrameLimits;
use crate::receiver::RecvHalf;
use crate::sender::SendHalf;
use crate::session::SessionEnd;
use crate::stream::StreamGuard;
use crate::{CloseCode, FrameReceiver, FrameSender, Stream, WireError};

pub(crate) use config::{
    client as client_config, endpoint as endpoint_config, full_windows, server as server_config,
};
pub(crate) use dial::{dial, endpoint as client_endpoint};
pub(crate) use listen::{bind, serve};
pub use windows::SessionWindow;
use windows::Windows;

/// A QUIC connection after its handshake.
#[derive(Debug)]
pub(crate) struct Link {
    connection: quinn::Connection,
    limits: FrameLimits,
    budget: ByteBudget,
    /// A client's are what its settings say.
    windows: Option<Windows>,
    /// A client's endpoint serves this connection alone and goes with it.
    _endpoint: Option<Endpoint>,
}

impl Link {
    pub(crate) async fn open(&self) -> Result<Stream, WireError> {
        let halves = self.connection.open_bi().await.map_err(|error| WireError::from_quic(&error))?;
        Ok(self.stream(halves))
    }

    pub(crate) async fn accept(&self) -> Result<Stream, WireError> {
        let halves = self.connection.accept_bi().await.map_err(|error| WireError::from_quic(&error))?;
        Ok(self.stream(halves))
    }

    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        self.connection.close(code.varint(), reason.as_bytes());
    }

    /// None for a client.
    pub(crate) fn widen_receive(&self) -> Option<SessionWindow> {
        self.windows.as_ref().map(|windows| windows.widen_receive(&self.connection))
    }

    pub(crate) fn widen_send(&self) {
        if let Some(windows) = &self.windows {
            windows.widen_send(&self.connection);
        }
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.connection.rtt()
    }

    fn stream(&self, halves: (quinn::SendStream, quinn::RecvStream)) -> Stream {
        stream(halves, self.limits, self.budget.clone())
    }
}

/// A stream on a connection whose end quinn itself reports.
pub(crate) fn stream(
    (send, recv): (quinn::SendStream, quinn::RecvStream),
    limits: FrameLimits,
    budget: ByteBudget,
) -> Stream {
    let end = SessionEnd::default();
    let guard = StreamGuard::default();
    Stream {
        send: FrameSender::new(SendHalf::Quic(send), end.clone(), guard.clone()),
        recv: FrameReceiver::new(RecvHalf::Quic(recv), limits, budget, end, guard),
    }
}
