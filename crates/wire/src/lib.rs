//! Frames over QUIC and over TCP with TLS, on one port number.
//!
//! Owns the connection: certificates and trust, the handshake, streams, frames, and every bound on
//! what a peer can make this process hold. A [`Connection`] looks the same on both transports. Knows
//! no request, no topic and no batch: what the frames mean is for the frontend and the client.
//!
//! `docs/protocol.md` specifies what is sent; quinn, rustls and socket options are named only here.

mod budget;
mod close;
mod connect;
mod connection;
mod error;
mod frame;
mod handshake;
mod listener;
mod quic;
mod receiver;
mod sender;
mod session;
mod socket;
mod stream;
mod tcp;
mod tls;

#[cfg(test)]
mod tests;

pub mod bare;
pub mod limits;

pub use budget::{ByteBudget, BytePermit};
pub use close::CloseCode;
pub use connect::{ConnectOptions, TransportChoice, connect};
pub use connection::{Connection, Peer, Transport};
pub use error::{WireError, error_message};
pub use frame::{Frame, FrameHead, FrameKind};
pub use limits::{FrameLimits, Limits, TransportSettings};
pub use listener::{ListenConfig, ListenError, Listener, Port};
pub use quic::SessionWindow;
pub use receiver::FrameReceiver;
pub use sender::FrameSender;
pub use stream::Stream;
pub use tls::{
    Authority, CertificateRequest, CertificateUse, ClusterFiles, ClusterTls, Credentials, Fingerprint,
    Identity, IdentityError, MEMBER_NAME, Trust,
};
