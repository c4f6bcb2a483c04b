//! Ends: of streams, of connections, of servers.

use tidelog_proto::v1;

use super::{BOTH, Server, streams, within};
use crate::{CloseCode, FrameKind, Stream, Transport, TransportChoice, WireError, connect};

pub(super) fn request(stream: &mut Stream) {
    stream.send.push(FrameKind::Request, &v1::Request::default(), &[]);
}

#[tokio::test]
async fn both_ends_know_each_other_after_the_handshake() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        assert_eq!(client.transport(), accepted.transport());
        assert_eq!(accepted.peer().client_id, "a-test");
        assert!(accepted.peer().software.starts_with("tidelog-wire/"));
        assert_eq!(client.peer().software, "tests/1");
        assert_eq!(client.peer().cluster_id.as_ref(), [7; 16]);
        assert_eq!(client.peer().limits.payload_bytes_max as usize, crate::limits::PAYLOAD_BYTES_MAX);
        assert_eq!(client.peer().version, 1);
        server.stop().await;
    }
}

#[tokio::test]
async fn the_automatic_choice_is_quic_where_it_gets_through() {
    let mut server = Server::start();
    let (client, _accepted) = server.pair(TransportChoice::Auto).await;
    assert_eq!(client.transport(), Transport::Quic);
    server.stop().await;
}

#[tokio::test]
async fn the_automatic_choice_falls_back_to_tcp() {
    // TCP alone: a bare server of the same name does not even hear UDP.
    let server = Server::start();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = tcp.local_addr().unwrap();
    let target = server.listener.local_addr();
    let forward = async {
        loop {
            let (mut near, _) = tcp.accept().await.unwrap();
            let mut far = tokio::net::TcpStream::connect(target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    };
    let mut options = server.options(TransportChoice::Auto);
    options.addr = addr.to_string();
    let connected = tokio::select! {
        () = forward => unreachable!("it forwards for ever"),
        connected = within(connect(&options)) => connected.unwrap(),
    };
    assert_eq!(connected.transport(), Transport::Tcp);
    drop(connected);
    server.stop().await;
}

#[tokio::test]
async fn a_reset_and_a_dropped_stream_are_no_proper_end() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) = streams(&client, &accepted, request).await;
        within(theirs.recv.expect()).await.unwrap();
        ours.reset(CloseCode::STREAM_INTERNAL);
        let error = within(theirs.recv.recv()).await.unwrap_err();
        assert!(matches!(error, WireError::Reset(CloseCode::STREAM_INTERNAL)), "{error}");

        let (ours, mut theirs) = streams(&client, &accepted, request).await;
        within(theirs.recv.expect()).await.unwrap();
        drop(ours);
        let error = within(theirs.recv.recv()).await.unwrap_err();
        assert!(matches!(error, WireError::Reset(CloseCode::CANCELLED)), "{error}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_close_reaches_the_peer_with_its_code_and_reason() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, _theirs) = streams(&client, &accepted, request).await;
        accepted.close(CloseCode::SHUTTING_DOWN, "for the night");
        let error = within(client.closed()).await;
        let WireError::Closed { code, reason } = &error else { panic!("{error}") };
        assert_eq!((*code, reason.as_str()), (CloseCode::SHUTTING_DOWN, "for the night"));
        assert!(error.is_retryable() && error.is_connection_fatal());
        let on_stream = within(ours.recv.recv()).await.unwrap_err();
        assert!(on_stream.is_connection_fatal(), "{on_stream}");
        assert!(within(client.open()).await.unwrap_err().is_connection_fatal());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_properly_ends_the_accept_loop() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        drop(client);
        assert!(within(accepted.accept()).await.unwrap().is_none());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_says_goodbye_and_open_streams_go_on() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) = streams(&client, &accepted, request).await;
        assert!(!client.is_going_away());
        accepted.go_away(5_000, "an upgrade");
        within(client.going_away()).await;
        within(theirs.recv.expect()).await.unwrap();
        theirs.send.send(FrameKind::Response, &v1::Response::default(), &[]).await.unwrap();
        within(ours.recv.expect()).await.unwrap();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stopped_listener_takes_nobody_in_and_keeps_who_is_there() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        server.listener.stop();
        assert!(within(server.listener.accept()).await.is_none());
        let mut options = server.options(transport);
        options.timeout = super::SHORT;
        within(connect(&options)).await.unwrap_err();
        let (_ours, mut theirs) = streams(&client, &accepted, request).await;
        within(theirs.recv.expect()).await.unwrap();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = Server::start();
    let addr = server.listener.local_addr();
    let identity = server.identity.clone();
    let again = std::panic::AssertUnwindSafe(async {
        let config = crate::ListenConfig {
            addr,
            port: crate::Port::Clients(crate::Credentials::new(identity).unwrap()),
            limits: crate::Limits::default(),
            settings: crate::TransportSettings::default(),
            budget: crate::ByteBudget::new(1),
            windows: crate::ByteBudget::new(1),
            software: String::new(),
            cluster_id: bytes::Bytes::new(),
            clock: std::sync::Arc::new(super::FixedClock),
        };
        crate::Listener::bind(config)
    });
    let error = again.0.await.unwrap_err();
    assert!(matches!(error, crate::ListenError::InUse { addr: named } if named == addr), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_session_whose_peer_goes_silent_is_over() {
    let mut server = Server::with(|config| {
        config.settings.keep_alive = std::time::Duration::from_millis(50);
        config.settings.idle_timeout = super::SHORT;
    });
    // A client that shakes hands and then says nothing more, not even an answer to a ping.
    let options = server.options(TransportChoice::Tcp);
    let silent = async {
        let mut stream = super::handshakes::raw_tcp(&options).await;
        stream.send.push(FrameKind::Hello, &super::handshakes::hello(1, 1), &[]);
        stream.send.flush().await.unwrap();
        stream
    };
    let (_silent, accepted) = tokio::join!(silent, server.listener.accept());
    let error = within(accepted.unwrap().closed()).await;
    assert!(matches!(error, WireError::LocallyClosed | WireError::Lost(_)), "{error}");
    server.stop().await;
}
