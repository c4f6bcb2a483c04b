//! Tidelog's protocol messages, generated from the .proto files beside this crate.
//!
//! Owns the shapes and the numbers; docs/protocol.md says what they mean. No logic lives here.

/// Version 1 of the protocol (`package tidelog.v1`).
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, reason = "generated code")]
    #![allow(rustdoc::all, reason = "comments of the .proto files are not written for rustdoc")]
    include!(concat!(env!("OUT_DIR"), "/tidelog.v1.rs"));
}

/// The protocol's name in TLS (ALPN), on QUIC and on TCP.
pub const ALPN: &[u8] = b"tidelog/1";

/// The same for the port on which the processes of a cluster speak to each other, over TCP alone.
pub const ALPN_INTERNAL: &[u8] = b"tidelog-internal/1";

/// Oldest and newest protocol version that these messages describe.
pub const VERSION_MIN: u32 = 1;
pub const VERSION_MAX: u32 = 1;
