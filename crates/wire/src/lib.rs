//! Frames over QUIC and over TCP with TLS.
