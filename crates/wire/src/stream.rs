//! A bidirectional stream of frames.

use std::sync::Arc;
use std::time::Duration;

use tidelog_model::ErrorCode;
use tidelog_proto::v1;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::limits::FrameLimits;
use crate::session::SessionEnd;
use crate::{CloseCode, FrameKind, FrameReceiver, FrameSender, WireError, error_message};

/// How long the last words on a stream may take to arrive.
const DELIVERY: Duration = Duration::from_secs(1);

/// How long, and for how many bytes, the other side may go on sending after the stream has failed.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// What a stream occupies besides memory, given back when both halves are gone: a socket, a place
/// among the streams of its session.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamGuard {
    _permits: Option<Arc<Vec<OwnedSemaphorePermit>>>,
}

impl StreamGuard {
    pub(crate) fn new(permits: Vec<OwnedSemaphorePermit>) -> Self {
        Self { _permits: Some(Arc::new(permits)) }
    }
}

/// A stream, both halves. They may be used by different tasks.
#[derive(Debug)]
pub struct Stream {
    pub send: FrameSender,
    pub recv: FrameReceiver,
}

impl Stream {
    /// Makes the stream part of a session: it ends with it, and has its limits.
    pub(crate) fn join(&mut self, end: &SessionEnd, guard: StreamGuard, limits: FrameLimits) {
        self.send.join(end.clone(), guard.clone());
        self.recv.join(end.clone(), guard, limits);
    }

    /// Abandons both directions.
    pub fn reset(&mut self, code: CloseCode) {
        self.send.reset(code);
        self.recv.stop(code);
    }

    /// Ends the stream properly, and gives what was sent a moment to arrive.
    pub async fn finish(mut self) {
        if self.send.finish().await.is_ok() {
            // A failure means that the peer is gone, and nothing is left to say.
            let _ = timeout(DELIVERY, self.send.delivered()).await;
        }
    }

    /// Ends the stream after an error on it. What the peer did wrong it gets to know.
    pub async fn give_up(mut self, error: &WireError) {
        match error {
            WireError::FrameTooLarge { .. }
            | WireError::Malformed(_)
            | WireError::Unexpected { .. }
            | WireError::FrameTimeout => self.fail(&error.to_error_frame(), error.close_code()).await,
            _ => self.reset(CloseCode::CANCELLED),
        }
    }

    /// Ends the stream with an error frame that the peer gets to see, and refuses what it still sends.
    pub async fn fail(mut self, error: &v1::Error, code: CloseCode) {
        self.recv.stop(code);
        let said = async {
            self.send.send(FrameKind::Error, error, &[]).await?;
            self.send.finish().await?;
            self.send.shut_down().await;
            Ok::<_, WireError>(())
        };
        if let Ok(Ok(())) = timeout(LINGER, said).await {
            // A socket closed with unread data would take the error frame down with it.
            let _ = timeout(LINGER, async {
                self.send.delivered().await;
                self.recv.drain(LINGER_BYTES_MAX).await;
            })
            .await;
        }
    }
}

/// The error frame for an error in what the peer sent.
pub(crate) fn error_frame(error: &WireError) -> v1::Error {
    let code = match error {
        WireError::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
        WireError::FrameTimeout | WireError::HandshakeTimeout => ErrorCode::RequestTimedOut,
        WireError::TooManyStreams => ErrorCode::ThrottlingQuotaExceeded,
        _ => ErrorCode::InvalidRequest,
    };
    let detail = match error {
        WireError::FrameTooLarge { claimed, limit, .. } => Some(v1::error::Detail::Size(v1::SizeLimit {
            limit_bytes: *limit as u64,
            actual_bytes: *claimed as u64,
        })),
        _ => None,
    };
    v1::Error { detail, ..error_message(code, error.to_string()) }
}

impl WireError {
    /// The error frame that answers an error in what the peer sent.
    pub fn to_error_frame(&self) -> v1::Error {
        error_frame(self)
    }
}
