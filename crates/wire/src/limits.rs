//! Every bound on what a peer can ask of this process, with its default.

use std::time::Duration;

use tidelog_model::limits::BATCH_BYTES_MAX;

/// Bytes before a frame's header: kind, header length, payload length.
pub const FRAME_HEAD_BYTES: usize = 8;

/// Largest header that a server accepts. Decoding may need some fifty times as much memory.
pub const REQUEST_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Largest header that a client accepts: pages of descriptions are larger than requests.
pub const REPLY_HEADER_BYTES_MAX: usize = 1024 * 1024;

/// Largest payload of one frame: the largest batch that any topic can allow.
pub const PAYLOAD_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// Largest header before the handshake is done; there is no payload then.
pub const HANDSHAKE_HEADER_BYTES_MAX: usize = 16 * 1024;

/// Longest client id and software name.
pub const NAME_BYTES_MAX: usize = 249;

/// What a frame that was begun is allowed to take, whatever its size …
pub const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// … and one second more for each of these: the slowest peer that is still waited for.
pub const FRAME_BYTES_PER_SECOND_MIN: usize = 64 * 1024;

/// What one direction of one stream may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    pub header_bytes: usize,
    pub payload_bytes: usize,
    /// A frame that was begun must be whole within this, and one second per 64 KiB.
    pub frame_timeout: Duration,
}

impl FrameLimits {
    /// What a server accepts.
    pub const REQUESTS: Self = Self {
        header_bytes: REQUEST_HEADER_BYTES_MAX,
        payload_bytes: PAYLOAD_BYTES_MAX,
        frame_timeout: FRAME_TIMEOUT,
    };

    /// What a client accepts.
    pub const REPLIES: Self = Self {
        header_bytes: REPLY_HEADER_BYTES_MAX,
        payload_bytes: PAYLOAD_BYTES_MAX,
        frame_timeout: FRAME_TIMEOUT,
    };

    pub(crate) fn handshake(timeout: Duration) -> Self {
        Self { header_bytes: HANDSHAKE_HEADER_BYTES_MAX, payload_bytes: 0, frame_timeout: timeout }
    }
}

/// A listener's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub frames: FrameLimits,
    /// Sessions at once, both transports together.
    pub connections: usize,
    /// Streams at once in one session. On TCP each one is a socket.
    pub streams: usize,
    /// Sockets at once on TCP, all sessions together.
    pub sockets: usize,
    /// Handshakes at once. On QUIC a client counts once it has proved its address.
    pub handshakes: usize,
    /// From the first byte to the end of the handshake; also how long a stream's first frame may take.
    pub handshake_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: FrameLimits::REQUESTS,
            connections: 4096,
            streams: 10_000,
            sockets: 16_384,
            handshakes: 256,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// How the transports are tuned. The defaults are what the benchmarks were run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportSettings {
    /// QUIC: unread data of one stream.
    pub stream_window_bytes: u32,
    /// QUIC, server: unacknowledged data of a connection that carries batches to the client, when the
    /// budget for windows has room; and what each direction gets in any case. (Producer sessions add the
    /// window of a stream each to what may be unread.)
    /// (A client's receive window has no such bound: streams that it does not read must not stall those
    /// that it reads. What it can be made to hold is the number of streams that it opened times the
    /// window of one.)
    pub connection_window_bytes_max: u32,
    pub connection_window_bytes_min: u32,
    /// The connection ends when nothing arrives for this long.
    pub idle_timeout: Duration,
    /// Something is sent at least this often.
    pub keep_alive: Duration,
    /// QUIC: largest UDP payload that is tried. Loopback and jumbo frames take more than Ethernet's 1500.
    pub mtu_max: u16,
    /// UDP socket buffers, each way.
    pub udp_buffer_bytes: usize,
    /// TLS: plaintext that is encrypted ahead of the socket.
    pub tls_buffer_bytes: usize,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self {
            stream_window_bytes: 2 * 1024 * 1024,
            connection_window_bytes_max: 8 * 1024 * 1024,
            connection_window_bytes_min: 64 * 1024,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(10),
            mtu_max: 6500,
            udp_buffer_bytes: 4 * 1024 * 1024,
            tls_buffer_bytes: 128 * 1024,
        }
    }
}
