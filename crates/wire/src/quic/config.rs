//! quinn's settings, none left to chance: windows, timeouts, packet sizes, acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};

use crate::limits::{Limits, TransportSettings};
use crate::tls::{self, Credentials, IdentityError, Trust};

/// Sent before the first acknowledgement. Larger than RFC 9002's ten packets: batches are large, and a
/// path that cannot take this much slows the sender within a round trip.
const INITIAL_CONGESTION_WINDOW_BYTES: u64 = 128 * 1024;

/// The peer is asked to acknowledge every so many packets, and not later than this.
const ACK_EVERY_PACKETS: u32 = 10;
const ACK_DELAY_MAX: Duration = Duration::from_millis(5);

/// First packets that wait to be looked at (they are answered without keeping state), what each may
/// have buffered, and all of them together.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 64 * 1024;
const INCOMING_BYTES_TOTAL_MAX: u64 = 8 * 1024 * 1024;

/// Assumed before the first measurement; only the first retransmission of a handshake depends on it.
const INITIAL_ROUND_TRIP: Duration = Duration::from_millis(100);

/// The smallest UDP payload that every path must carry (RFC 9000).
const UDP_PAYLOAD_BYTES_MIN: u16 = 1200;

pub(crate) fn server(
    credentials: &Credentials,
    alpn: &[u8],
    limits: &Limits,
    settings: &TransportSettings,
) -> Result<ServerConfig, IdentityError> {
    let crypto = QuicServerConfig::try_from(tls::server_config(credentials, alpn)?)
        .map_err(|error| IdentityError::Unusable(error.to_string()))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut transport = transport(settings);
    // One more for the session stream.
    transport.max_concurrent_bidi_streams(varint(limits.streams as u64 + 1));
    config
        .transport_config(Arc::new(transport))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

/// The windows of a connection that the budget gave everything, from the beginning.
pub(crate) fn full_windows(settings: &TransportSettings, streams: usize) -> TransportConfig {
    let mut transport = transport(settings);
    transport
        .receive_window(VarInt::from_u32(settings.connection_window_bytes_max))
        .send_window(u64::from(settings.connection_window_bytes_max))
        .max_concurrent_bidi_streams(varint(streams as u64));
    transport
}

/// A client starts with the full windows. Its own memory is bounded by the streams that it opens.
pub(crate) fn client(
    trust: &Trust,
    alpn: &[u8],
    settings: &TransportSettings,
) -> Result<ClientConfig, IdentityError> {
    let crypto = QuicClientConfig::try_from(tls::client_config(trust, alpn)?)
        .map_err(|error| IdentityError::Unusable(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    let mut transport = full_windows(settings, 0);
    transport.receive_window(VarInt::MAX);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(crate) fn endpoint(settings: &TransportSettings) -> EndpointConfig {
    let mut config = EndpointConfig::default();
    let largest = settings.mtu_max.max(UDP_PAYLOAD_BYTES_MIN);
    config.max_udp_payload_size(largest).expect("it is at least QUIC's minimum");
    config
}

fn transport(settings: &TransportSettings) -> TransportConfig {
    let mut congestion = CubicConfig::default();
    congestion.initial_window(INITIAL_CONGESTION_WINDOW_BYTES);
    let mut packets = MtuDiscoveryConfig::default();
    packets.upper_bound(settings.mtu_max.max(UDP_PAYLOAD_BYTES_MIN));
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY_PACKETS)).max_ack_delay(Some(ACK_DELAY_MAX));
    let idle = IdleTimeout::try_from(settings.idle_timeout).ok();
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_idle_timeout(idle)
        .keep_alive_interval(Some(settings.keep_alive))
        .stream_receive_window(VarInt::from_u32(settings.stream_window_bytes))
        .receive_window(VarInt::from_u32(settings.connection_window_bytes_min))
        .send_window(u64::from(settings.connection_window_bytes_min))
        .send_fairness(false)
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_ROUND_TRIP)
        .mtu_discovery_config(Some(packets))
        .ack_frequency_config(Some(acks))
        .congestion_controller_factory(Arc::new(congestion));
    transport
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}
