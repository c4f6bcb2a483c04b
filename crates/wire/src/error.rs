//! What can go wrong between two processes.

use std::io;

use quinn::{ConnectionError, ReadError, WriteError};
use thiserror::Error;
use tidelog_model::ErrorCode;
use tidelog_proto::v1;

use crate::{CloseCode, FrameKind};

/// An error as it travels, with what its code lets the other side do.
pub fn error_message(code: ErrorCode, message: impl Into<String>) -> v1::Error {
    v1::Error {
        code: code as u32,
        message: message.into(),
        retryable: code.is_retryable(),
        no_side_effects: code.has_no_side_effects(),
        ..v1::Error::default()
    }
}

/// An error of a connection or of one of its streams. [`WireError::is_connection_fatal`] tells which.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum WireError {
    #[error("cannot connect to {addr}: {reason}")]
    Connect { addr: String, reason: String },
    /// Its host says so: no process has the port open.
    #[error("cannot connect to {addr}: connection refused, nobody listens there")]
    Refused { addr: String },
    #[error("TLS with {addr} failed: {reason}")]
    Tls { addr: String, reason: String },
    #[error(
        "the server speaks protocol versions {min} to {max}, this client {} to {}",
        tidelog_proto::VERSION_MIN,
        tidelog_proto::VERSION_MAX
    )]
    Version { min: u32, max: u32 },
    #[error("the server at {addr} does not speak {}", String::from_utf8_lossy(tidelog_proto::ALPN))]
    Protocol { addr: String },
    #[error("the handshake did not finish in time")]
    HandshakeTimeout,
    /// The peer answered with an error frame.
    #[error("{}", .0.message)]
    Remote(Box<v1::Error>),
    #[error("a frame's {part} claims {claimed} bytes, the limit is {limit}")]
    FrameTooLarge { part: &'static str, claimed: usize, limit: usize },
    #[error("a frame cannot be decoded: {0}")]
    Malformed(String),
    #[error("a frame of kind {found:#04x} is not expected here")]
    Unexpected { found: u8 },
    #[error("a frame did not arrive in time")]
    FrameTimeout,
    #[error("the peer reset the stream: {0}")]
    Reset(CloseCode),
    #[error("the peer closed the connection: {code}{}{reason}", if reason.is_empty() { "" } else { ": " })]
    Closed { code: CloseCode, reason: String },
    #[error("the connection was closed here")]
    LocallyClosed,
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("the stream is finished")]
    Finished,
    #[error("too many streams are open on this connection")]
    TooManyStreams,
}

impl WireError {
    /// A new connection, or the same one a little later, may do better.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Refused { .. }
            | Self::HandshakeTimeout
            | Self::FrameTimeout
            | Self::Lost(_)
            | Self::TooManyStreams => true,
            Self::Remote(error) => error.retryable,
            Self::Reset(code) | Self::Closed { code, .. } => matches!(
                *code,
                CloseCode::NONE
                    | CloseCode::INTERNAL
                    | CloseCode::HANDSHAKE_TIMEOUT
                    | CloseCode::TOO_MANY_CONNECTIONS
                    | CloseCode::SHUTTING_DOWN
                    | CloseCode::IDLE
                    | CloseCode::CANCELLED
                    | CloseCode::STREAM_INTERNAL
                    | CloseCode::TOO_MANY_STREAMS
                    | CloseCode::STREAM_SHUTTING_DOWN
                    | CloseCode::FRAME_TIMEOUT
            ),
            _ => false,
        }
    }

    /// Nothing that was sent can have had an effect. For everything that happens after the connection
    /// is open, the outcome of requests in flight is unknown.
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Refused { .. }
            | Self::Tls { .. }
            | Self::Version { .. }
            | Self::Protocol { .. }
            | Self::HandshakeTimeout
            | Self::TooManyStreams => true,
            Self::Remote(error) => error.no_side_effects,
            _ => false,
        }
    }

    /// The connection as a whole is gone, not this stream alone.
    pub fn is_connection_fatal(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::Refused { .. }
                | Self::Tls { .. }
                | Self::Version { .. }
                | Self::Protocol { .. }
                | Self::HandshakeTimeout
                | Self::Closed { .. }
                | Self::LocallyClosed
                | Self::Lost(_)
        )
    }

    /// The code to reset a stream with after this error in what the peer sent.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::FrameTooLarge { .. } => CloseCode::FRAME_TOO_LARGE,
            Self::Malformed(_) => CloseCode::MALFORMED_FRAME,
            Self::Unexpected { .. } => CloseCode::UNEXPECTED_FRAME,
            Self::FrameTimeout => CloseCode::FRAME_TIMEOUT,
            Self::TooManyStreams => CloseCode::TOO_MANY_STREAMS,
            _ => CloseCode::CANCELLED,
        }
    }

    pub(crate) fn unexpected(kind: FrameKind) -> Self {
        Self::Unexpected { found: kind as u8 }
    }

    pub(crate) fn from_read(error: &ReadError) -> Self {
        match error {
            ReadError::Reset(code) => Self::Reset(CloseCode::from_varint(*code)),
            ReadError::ConnectionLost(lost) => Self::from_quic(lost),
            other => Self::Lost(other.to_string()),
        }
    }

    pub(crate) fn from_write(error: &WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Reset(CloseCode::from_varint(*code)),
            WriteError::ConnectionLost(lost) => Self::from_quic(lost),
            WriteError::ClosedStream => Self::Finished,
            WriteError::ZeroRttRejected => Self::Lost(error.to_string()),
        }
    }

    pub(crate) fn from_quic(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: CloseCode::from_varint(close.error_code),
                reason: String::from_utf8_lossy(&close.reason).into_owned(),
            },
            ConnectionError::LocallyClosed => Self::LocallyClosed,
            ConnectionError::TimedOut => Self::Lost("nothing arrived for too long".to_owned()),
            other => Self::Lost(other.to_string()),
        }
    }

    /// An I/O error of either transport: quinn wraps its own errors in one.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(read) = inner.and_then(|e| e.downcast_ref::<ReadError>()) {
            return Self::from_read(read);
        }
        if let Some(write) = inner.and_then(|e| e.downcast_ref::<WriteError>()) {
            return Self::from_write(write);
        }
        Self::Lost(error.to_string())
    }
}

impl From<v1::Error> for WireError {
    fn from(error: v1::Error) -> Self {
        match error.detail {
            Some(v1::error::Detail::Versions(range)) => Self::Version { min: range.min, max: range.max },
            _ => Self::Remote(Box::new(error)),
        }
    }
}
