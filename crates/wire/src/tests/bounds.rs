//! Floods: others are still served, and nothing grows without bound.

use std::time::Duration;

use tidelog_proto::v1;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::{BOTH, SHORT, Server, streams, within};
use crate::{FrameKind, Stream, TransportChoice, WireError, connect};

fn request(stream: &mut Stream) {
    stream.send.push(FrameKind::Request, &v1::Request::default(), &[]);
}

#[tokio::test]
async fn a_connection_too_many_is_refused_and_the_place_comes_back() {
    for transport in BOTH {
        let mut server = Server::with(|config| config.limits.connections = 1);
        let (client, accepted) = server.pair(transport).await;
        let options = server.options(transport);
        let error = within(connect(&options)).await.unwrap_err();
        assert!(error.is_retryable(), "{transport:?}: {error}");
        drop(client);
        within(accepted.closed()).await;
        drop(accepted);
        let (again, _accepted) = within(server.pair(transport)).await;
        assert!(!again.is_closed());
        server.stop().await;
    }
}

#[tokio::test]
async fn opening_waits_while_too_many_streams_are_open() {
    for transport in BOTH {
        let mut server = Server::with(|config| config.limits.streams = 2);
        let (client, accepted) = server.pair(transport).await;
        let (first, theirs) = streams(&client, &accepted, request).await;
        let _second = streams(&client, &accepted, request).await;
        assert!(timeout(SHORT, client.open()).await.is_err(), "a third stream was opened");
        drop((first, theirs));
        let _third = within(streams(&client, &accepted, request)).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn stalled_handshakes_do_not_lock_others_out() {
    let mut server = Server::with(|config| {
        config.limits.handshakes = 8;
        config.limits.handshake_timeout = SHORT;
    });
    let addr = server.listener.local_addr();
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(TcpStream::connect(addr).await.unwrap());
    }
    for transport in BOTH {
        let mut options = server.options(transport);
        options.timeout = Duration::from_secs(1);
        within(async {
            // Refused while the eight places are taken, let in once their time is over.
            loop {
                let (connected, accepted) =
                    tokio::join!(connect(&options), timeout(options.timeout, server.listener.accept()));
                if connected.is_ok() && matches!(accepted, Ok(Some(_))) {
                    return;
                }
            }
        })
        .await;
    }
    server.stop().await;
}

/// RFC 9000, 8.1 allows three times what came, before the address is validated. A retry is less.
#[tokio::test]
async fn spoofed_addresses_get_less_than_they_sent_and_take_no_place() {
    let mut server = Server::with(|config| config.limits.handshakes = 4);
    let target = server.listener.local_addr();
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut options = server.options(TransportChoice::Quic);
    options.addr = near.local_addr().unwrap().to_string();
    let mut buffer = vec![0; 65_536];
    // The first packet of a real client; nothing comes back to it.
    let first = tokio::select! {
        _ = connect(&options) => unreachable!("nobody answers"),
        received = near.recv_from(&mut buffer) => received.unwrap().0,
    };
    let hello = buffer[..first].to_vec();
    let mut spoofed = Vec::new();
    for _ in 0..20 {
        let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        far.send_to(&hello, target).await.unwrap();
        let answer = within(far.recv(&mut buffer)).await.unwrap();
        assert!(answer < first, "{answer} bytes for {first}");
        spoofed.push(far);
    }
    let (client, _accepted) = within(server.pair(TransportChoice::Quic)).await;
    assert!(!client.is_closed());
    // Nothing is sent a second time: there is no state to send it from.
    assert!(timeout(Duration::from_secs(1), spoofed[0].recv(&mut buffer)).await.is_err());
    server.stop().await;
}

#[tokio::test]
async fn windows_are_granted_from_their_budget_and_given_back() {
    let budget = crate::ByteBudget::new(16 << 20);
    let windows = budget.clone();
    let stream = crate::TransportSettings::default().stream_window_bytes as usize;
    let mut server = Server::with(|config| config.windows = windows);
    let (first, accepted_first) = server.pair(TransportChoice::Quic).await;
    assert_eq!(budget.free_bytes(), budget.total_bytes(), "a connection without batches takes nothing");
    // Each session has a window of its own, until a quarter of what is free is less than that.
    let mut sessions: Vec<_> = (0..6).map(|_| accepted_first.widen_receive()).collect();
    let granted = sessions.iter().filter(|session| session.is_own()).count();
    let taken = budget.total_bytes() - budget.free_bytes();
    assert!(granted > 1 && granted < sessions.len() && taken > granted * stream, "{granted}, {taken}");
    // What a session leaves goes to the next one of the connection.
    sessions.remove(0);
    assert!(accepted_first.widen_receive().is_own());
    assert_eq!(budget.free_bytes(), budget.total_bytes() - taken);
    accepted_first.widen_send();
    let held = budget.try_acquire(budget.free_bytes()).unwrap();
    let (second, accepted) = server.pair(TransportChoice::Quic).await;
    assert!(!accepted.widen_receive().is_own());
    drop((first, accepted_first, held, sessions));
    assert_eq!(budget.free_bytes(), budget.total_bytes());
    // The second connection has the minimum, and still carries what is larger than that.
    let (mut ours, mut theirs) = streams(&second, &accepted, request).await;
    within(theirs.recv.expect()).await.unwrap();
    let payload = bytes::Bytes::from(vec![1; 3 << 20]);
    let header = v1::Produce::default();
    let (sent, frame) = within(async {
        tokio::join!(
            ours.send.send(FrameKind::Produce, &header, std::slice::from_ref(&payload)),
            theirs.recv.expect()
        )
    })
    .await;
    sent.unwrap();
    assert!(frame.unwrap().payload == payload);
    server.stop().await;
}

#[tokio::test]
async fn a_stalled_reader_stalls_its_own_stream_alone() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut stalled, mut stalled_far) = streams(&client, &accepted, request).await;
        within(stalled_far.recv.expect()).await.unwrap();
        let chunk = bytes::Bytes::from(vec![0; 1 << 20]);
        let header = v1::Records::default();
        // The client does not read this stream: after a bounded amount the server's send waits.
        let mut taken = 0_usize;
        let push = stalled_far.send.send(FrameKind::Records, &header, std::slice::from_ref(&chunk));
        let mut blocked = timeout(SHORT, push).await.is_err();
        while !blocked {
            taken += 1;
            assert!(taken < 64, "nothing held the sender back");
            let push = stalled_far.send.send(FrameKind::Records, &header, std::slice::from_ref(&chunk));
            blocked = timeout(SHORT, push).await.is_err();
        }
        let (mut ours, mut theirs) = within(streams(&client, &accepted, request)).await;
        within(theirs.recv.expect()).await.unwrap();
        theirs.send.send(FrameKind::Response, &v1::Response::default(), &[]).await.unwrap();
        within(ours.recv.expect()).await.unwrap();
        // And it goes on where it stopped.
        let (flushed, read) = within(async {
            tokio::join!(stalled_far.send.flush(), async {
                let mut read = 0;
                while read <= taken {
                    let frame: Result<crate::Frame, WireError> = stalled.recv.expect().await;
                    assert_eq!(frame.unwrap().payload.len(), 1 << 20);
                    read += 1;
                }
                read
            })
        })
        .await;
        flushed.unwrap();
        assert_eq!(read, taken + 1);
        server.stop().await;
    }
}
