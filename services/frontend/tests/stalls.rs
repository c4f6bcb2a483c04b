//! Sessions that nobody reads, on connections that others share.

mod harness;

use bytes::Bytes;
use futures::FutureExt as _;
use harness::{BOTH, Client, Server, batch_of, by_name, receive, within};
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_proto::v1;
use tidelog_wire::{FrameKind, Stream, TransportChoice, WireError};

fn header(partition: TopicPartition, sequence: u64) -> v1::Produce {
    let topic_id = Bytes::copy_from_slice(partition.topic.as_bytes());
    v1::Produce { topic_id, partition: partition.partition.0, sequence }
}

/// A session that sends to a partition without room until the transport takes no more.
async fn stalled(client: &Client, partition: TopicPartition) -> Stream {
    let mut stream = client.producer().await;
    let batch = batch_of(5_000).freeze();
    // More than one stream can have unread, with all of the sockets' buffers.
    for sequence in 0..32 {
        stream.send.push(FrameKind::Produce, &header(partition, sequence), std::slice::from_ref(&batch));
    }
    let _ = tokio::time::timeout(std::time::Duration::from_millis(100), stream.send.flush()).await;
    stream
}

/// Requests are answered and another session's batches acknowledged, whatever else is on the connection.
async fn goes_on(client: &Client, partition: TopicPartition) {
    let get = v1::DescribeTopicRequest { topic: by_name("free") };
    client.call(v1::request::Body::DescribeTopic(get)).await.unwrap();
    let mut session = client.producer().await;
    for sequence in 0..4 {
        let batch = batch_of(5_000).freeze();
        within(session.send.send(FrameKind::Produce, &header(partition, sequence), &[batch])).await.unwrap();
        let ack: v1::ProduceAck = receive(&mut session).await.decode(FrameKind::ProduceAck).unwrap();
        assert_eq!((ack.sequence, ack.error), (sequence, None));
    }
}

#[tokio::test]
async fn stalled_sessions_leave_requests_and_other_sessions_of_their_connection_alone() {
    for transport in BOTH {
        let server = Server::start();
        let (full, free) = (server.topic("full").await, server.topic("free").await);
        server.fake.change(full, |log| log.no_room = true);
        let client = server.client(transport).await;
        let mut sessions = Vec::new();
        for _ in 0..8 {
            sessions.push(stalled(&client, full).await);
        }
        goes_on(&client, free).await;
        for session in &mut sessions {
            assert!(session.recv.recv().now_or_never().is_none(), "they wait, as long as it takes");
        }
        // No shutdown: it would wait for the sessions that still do.
    }
}

#[tokio::test]
async fn a_session_without_a_window_of_its_own_is_ended_when_it_stalls() {
    // The budget has nothing for windows.
    let server = Server::with(|options| {
        options.window_budget_bytes = 1;
        options.stall_timeout = std::time::Duration::from_millis(50);
    });
    let (full, free) = (server.topic("full").await, server.topic("free").await);
    server.fake.change(full, |log| log.no_room = true);
    let client = server.client(TransportChoice::Quic).await;
    let mut session = client.producer().await;
    let batch = batch_of(5_000).freeze();
    for sequence in 0..32 {
        session.send.push(FrameKind::Produce, &header(full, sequence), std::slice::from_ref(&batch));
    }
    let (_, answer) = within(async { tokio::join!(session.send.flush(), session.recv.expect()) }).await;
    let error = answer.unwrap().decode::<v1::ProduceAck>(FrameKind::ProduceAck).unwrap_err();
    let WireError::Remote(error) = error else { panic!("{error}") };
    assert_eq!(error.code, ErrorCode::ThrottlingQuotaExceeded as u32);
    assert!(error.retryable);
    goes_on(&client, free).await;
    server.stop().await;
}
