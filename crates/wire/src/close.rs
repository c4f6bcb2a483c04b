//! Why a stream or a connection ended, as a number that travels.

use std::fmt;

use quinn::VarInt;
use tidelog_proto::v1;

/// The code of a reset or a close. Unknown codes come from newer peers and are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u32);

macro_rules! codes {
    ($($name:ident = $code:ident, $text:literal;)+) => {
        impl CloseCode {
            $(pub const $name: Self = Self(v1::CloseCode::$code as u32);)+

            fn text(self) -> Option<&'static str> {
                match self { $(Self::$name => Some($text),)+ _ => None }
            }
        }
    };
}

codes! {
    NONE = None, "no longer needed";
    INTERNAL = Internal, "internal error";
    PROTOCOL_VIOLATION = ProtocolViolation, "protocol violation";
    VERSION = Version, "no common protocol version";
    AUTHENTICATION = Authentication, "authentication failed";
    HANDSHAKE_TIMEOUT = HandshakeTimeout, "the handshake took too long";
    TOO_MANY_CONNECTIONS = TooManyConnections, "too many connections";
    SHUTTING_DOWN = ShuttingDown, "shutting down";
    IDLE = Idle, "idle for too long";
    CANCELLED = Cancelled, "cancelled";
    FRAME_TOO_LARGE = FrameTooLarge, "a frame is too large";
    MALFORMED_FRAME = MalformedFrame, "a frame is malformed";
    UNEXPECTED_FRAME = UnexpectedFrame, "an unexpected frame";
    STREAM_INTERNAL = StreamInternal, "internal error";
    TOO_MANY_STREAMS = TooManyStreams, "too many streams";
    STREAM_SHUTTING_DOWN = StreamShuttingDown, "shutting down";
    FRAME_TIMEOUT = FrameTimeout, "a frame took too long";
}

impl CloseCode {
    pub(crate) fn varint(self) -> VarInt {
        VarInt::from_u32(self.0)
    }

    pub(crate) fn from_varint(code: VarInt) -> Self {
        Self(u32::try_from(code.into_inner()).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "{text} ({:#x})", self.0),
            None => write!(f, "code {:#x}", self.0),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
