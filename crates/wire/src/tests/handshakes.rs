//! Who is let in, who is not, and what they are told.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tidelog_proto::{ALPN, v1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::{BOTH, SHORT, Server, within};
use crate::bare::BareServer;
use crate::limits::FrameLimits;
use crate::{
    CloseCode, ConnectOptions, FrameKind, Identity, Stream, Transport, TransportChoice, Trust, WireError,
    connect, quic, tcp, tls,
};

pub(super) fn hello(version_min: u32, version_max: u32) -> v1::Hello {
    v1::Hello { version_min, version_max, ..v1::Hello::default() }
}

/// A stream that has shaken TLS hands and nothing more.
pub(super) async fn raw_tcp(options: &ConnectOptions) -> Stream {
    let config = Arc::new(tls::client_config(&options.trust, ALPN).unwrap());
    let name = ServerName::try_from("localhost").unwrap();
    let addr = options.addr.parse().unwrap();
    let tls = tcp::tls_connect(addr, &options.addr, name, &config, &options.settings).await.unwrap();
    tcp::stream(tls, FrameLimits::REPLIES, options.budget.clone())
}

async fn raw_quic(options: &ConnectOptions) -> (quinn::Endpoint, quinn::Connection) {
    let addr = options.addr.parse().unwrap();
    let endpoint = quic::client_endpoint(options, addr).unwrap();
    let config = quic::client_config(&options.trust, ALPN, &options.settings).unwrap();
    let connection = endpoint.connect_with(config, addr, "localhost").unwrap().await.unwrap();
    (endpoint, connection)
}

#[tokio::test]
async fn a_client_of_another_version_is_told_which_versions_there_are() {
    let server = Server::start();
    let options = server.options(TransportChoice::Tcp);
    let (_endpoint, connection) = raw_quic(&options).await;
    let quic =
        quic::stream(connection.open_bi().await.unwrap(), FrameLimits::REPLIES, options.budget.clone());
    for mut stream in [quic, raw_tcp(&options).await] {
        stream.send.send(FrameKind::Hello, &hello(7, 9), &[]).await.unwrap();
        let frame = within(stream.recv.expect()).await.unwrap();
        let error = frame.decode::<v1::HelloReply>(FrameKind::HelloReply).unwrap_err();
        assert!(matches!(error, WireError::Version { min: 1, max: 1 }), "{error}");
        assert!(!error.is_retryable() && error.has_no_side_effects());
    }
    let closed = WireError::from_quic(&within(connection.closed()).await);
    assert!(matches!(closed, WireError::Closed { code: CloseCode::VERSION, .. }), "{closed}");
    server.stop().await;
}

#[tokio::test]
async fn a_session_begins_with_a_hello_and_nothing_else() {
    let server = Server::start();
    let options = server.options(TransportChoice::Tcp);
    let (_endpoint, connection) = raw_quic(&options).await;
    let quic =
        quic::stream(connection.open_bi().await.unwrap(), FrameLimits::REPLIES, options.budget.clone());
    for mut stream in [quic, raw_tcp(&options).await] {
        stream.send.send(FrameKind::Request, &v1::Request::default(), &[]).await.unwrap();
        let frame = within(stream.recv.expect()).await.unwrap();
        assert_eq!(frame.kind, FrameKind::Error);
    }
    let large = v1::Hello { client_id: "x".repeat(20_000), ..hello(1, 1) };
    let mut stream = raw_tcp(&options).await;
    stream.send.send(FrameKind::Hello, &large, &[]).await.unwrap();
    let error = within(stream.recv.expect()).await.unwrap().decode::<v1::HelloReply>(FrameKind::HelloReply);
    assert!(matches!(error, Err(WireError::Remote(error)) if error.code == 1006));
    server.stop().await;
}

#[tokio::test]
async fn a_stream_with_a_wrong_token_is_refused() {
    let server = Server::start();
    let options = server.options(TransportChoice::Tcp);
    for token in [vec![], vec![1; 32], vec![1; 31]] {
        let mut stream = raw_tcp(&options).await;
        let attach = v1::Attach { session_token: token.into() };
        stream.send.send(FrameKind::Attach, &attach, &[]).await.unwrap();
        let error =
            within(stream.recv.expect()).await.unwrap().decode::<()>(FrameKind::Response).unwrap_err();
        assert!(matches!(&error, WireError::Remote(error) if error.code == 58), "{error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_as_such() {
    let identity = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    for (transport, choice) in
        [(Transport::Quic, TransportChoice::Quic), (Transport::Tcp, TransportChoice::Tcp)]
    {
        let settings = crate::TransportSettings::default();
        let bare = BareServer::bind(transport, "127.0.0.1:0".parse().unwrap(), &identity, &settings).unwrap();
        let trust = Trust::Pinned(identity.fingerprint());
        let mut options = ConnectOptions::new(bare.local_addr().to_string(), trust);
        options.transport = choice;
        let error = tokio::select! {
            () = bare.serve() => unreachable!("it serves for ever"),
            result = within(connect(&options)) => result.unwrap_err(),
        };
        assert!(matches!(error, WireError::Protocol { .. }), "{transport}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_is_believed_for_a_reason_or_not_at_all() {
    let mut server = Server::start();
    let other = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    for transport in BOTH {
        let authority = Trust::Authorities(server.identity.certificate_pem().to_owned());
        let pinned = Trust::Pinned(server.identity.fingerprint());
        for trust in [authority.clone(), pinned, Trust::Insecure] {
            let options = ConnectOptions { trust, ..server.options(transport) };
            let (connected, _) = tokio::join!(connect(&options), server.listener.accept());
            connected.unwrap();
        }
        let stranger = Trust::Authorities(other.certificate_pem().to_owned());
        let wrong_pin = Trust::Pinned(other.fingerprint());
        for trust in [stranger, wrong_pin, Trust::Platform] {
            let options = ConnectOptions { trust, ..server.options(transport) };
            let error = within(connect(&options)).await.unwrap_err();
            assert!(matches!(error, WireError::Tls { .. }), "{transport:?}: {error}");
        }
        let wrong_name = ConnectOptions {
            trust: authority,
            server_name: Some("elsewhere.example".to_owned()),
            ..server.options(transport)
        };
        let error = within(connect(&wrong_name)).await.unwrap_err();
        assert!(matches!(error, WireError::Tls { .. }), "{transport:?}: {error}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_listening_is_an_error_that_may_be_tried_again() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let mut options = ConnectOptions::new(addr.to_string(), Trust::Insecure);
    for (transport, timeout) in [(BOTH[0], SHORT), (BOTH[1], SHORT), (TransportChoice::Auto, options.timeout)]
    {
        options.transport = transport;
        options.timeout = timeout;
        let error = within(connect(&options)).await.unwrap_err();
        assert!(error.is_retryable() && error.has_no_side_effects(), "{error}");
        if transport != TransportChoice::Quic {
            assert!(matches!(&error, WireError::Refused { addr: named } if *named == options.addr));
        }
    }
}

#[tokio::test]
async fn garbage_on_either_port_harms_nobody() {
    let mut server = Server::start();
    let addr = server.listener.local_addr();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut byte = 1_u8;
    for size in [0, 1, 7, 20, 100, 1199, 1200, 1452, 6000] {
        let datagram: Vec<u8> = (0..size)
            .map(|_| {
                byte = byte.wrapping_mul(173).wrapping_add(89);
                byte
            })
            .collect();
        udp.send_to(&datagram, addr).await.unwrap();
        // The same with the bits of a long header of version 1.
        let mut initial = datagram.clone();
        initial.iter_mut().zip([0xc0, 0, 0, 0, 1, 8]).for_each(|(byte, start)| *byte = start);
        udp.send_to(&initial, addr).await.unwrap();
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        // The server may hang up while we are still writing.
        let _ = tcp.write_all(&datagram).await;
        let _ = tcp.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    }
    for transport in BOTH {
        let (client, accepted) = within(server.pair(transport)).await;
        assert!(!client.is_closed() && !accepted.is_closed());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_stalls_in_the_handshake_is_dropped() {
    let server = Server::with(|config| config.limits.handshake_timeout = SHORT);
    let addr = server.listener.local_addr();
    let options = server.options(TransportChoice::Tcp);
    // Before TLS, in TLS, and before the hello.
    let mut silent = TcpStream::connect(addr).await.unwrap();
    let mut slow = TcpStream::connect(addr).await.unwrap();
    slow.write_all(&[0x16, 0x03, 0x01]).await.unwrap();
    let mut secured = raw_tcp(&options).await;
    let (_endpoint, connection) = raw_quic(&options).await;
    let mut buffer = [0; 16];
    for socket in [&mut silent, &mut slow] {
        let read = within(socket.read(&mut buffer)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    within(secured.recv.recv()).await.unwrap_err();
    let closed = WireError::from_quic(&within(connection.closed()).await);
    assert!(matches!(closed, WireError::Closed { code: CloseCode::HANDSHAKE_TIMEOUT, .. }), "{closed}");
    server.stop().await;
}
