//! Producer sessions.

mod harness;

use bytes::Bytes;
use harness::{BOTH, Client, Server, batch_of, receive, within};
use tidelog_model::TopicPartition;
use tidelog_peer::StoreError;
use tidelog_proto::v1;
use tidelog_wire::{FrameKind, Stream, WireError};

fn header(partition: TopicPartition, sequence: u64) -> v1::Produce {
    let topic_id = Bytes::copy_from_slice(partition.topic.as_bytes());
    v1::Produce { topic_id, partition: partition.partition.0, sequence }
}

fn push(stream: &mut Stream, header: &v1::Produce, batch: impl Into<Bytes>) {
    stream.send.push(FrameKind::Produce, header, &[batch.into()]);
}

async fn ack(stream: &mut Stream) -> v1::ProduceAck {
    receive(stream).await.decode(FrameKind::ProduceAck).unwrap()
}

async fn session(server: &Server, transport: tidelog_wire::TransportChoice) -> (Client, Stream) {
    let client = server.client(transport).await;
    let stream = client.producer().await;
    (client, stream)
}

#[tokio::test]
async fn batches_are_acknowledged_in_order_with_their_offsets() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        let (_client, mut stream) = session(&server, transport).await;
        for sequence in 0..50 {
            push(&mut stream, &header(partition, sequence), batch_of(3).freeze());
        }
        within(stream.send.flush()).await.unwrap();
        for sequence in 0..50 {
            let ack = ack(&mut stream).await;
            assert_eq!((ack.sequence, ack.base_offset, ack.error), (sequence, sequence * 3, None));
        }
        within(stream.send.finish()).await.unwrap();
        assert!(within(stream.recv.recv()).await.unwrap().is_none());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_refused_batch_gets_its_error_and_the_session_goes_on() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        let (_client, mut stream) = session(&server, transport).await;
        let unknown_partition = v1::Produce { partition: 9, ..header(partition, 0) };
        let unknown_topic = v1::Produce { topic_id: Bytes::from_static(&[9; 16]), ..header(partition, 1) };
        let no_topic = v1::Produce { topic_id: Bytes::from_static(&[9; 3]), ..header(partition, 2) };
        let mut corrupt = batch_of(1);
        *corrupt.last_mut().unwrap() ^= 1;
        let mut codec = batch_of(1);
        codec[22] = 7;
        let oversized = batch_of(20_000);
        assert!(oversized.len() > 1024 * 1024 + 12);
        push(&mut stream, &unknown_partition, batch_of(1));
        push(&mut stream, &unknown_topic, batch_of(1));
        push(&mut stream, &no_topic, batch_of(1));
        push(&mut stream, &header(partition, 3), corrupt);
        push(&mut stream, &header(partition, 4), codec);
        push(&mut stream, &header(partition, 5), oversized);
        push(&mut stream, &header(partition, 6), Bytes::from_static(b"no batch"));
        push(&mut stream, &header(partition, 7), Bytes::new());
        push(&mut stream, &header(partition, 8), batch_of(1));
        within(stream.send.flush()).await.unwrap();
        for (sequence, code) in [3, 3, 42, 2, 76, 10, 2, 2].into_iter().enumerate() {
            let ack = ack(&mut stream).await;
            let error = ack.error.unwrap();
            assert_eq!((ack.sequence, error.code), (sequence as u64, code), "{}", error.message);
            assert!(error.no_side_effects && !error.message.is_empty());
        }
        let good = ack(&mut stream).await;
        assert_eq!((good.sequence, good.base_offset, good.error), (8, 0, None));
        server.stop().await;
    }
}

#[tokio::test]
async fn acknowledgements_keep_their_order_whatever_the_store_does_first() {
    let server = Server::start();
    let partition = server.topic("t").await;
    let (_client, mut stream) = session(&server, BOTH[0]).await;
    server.fake.change(partition, |log| log.withheld = Some(Vec::new()));
    for sequence in 0..3 {
        push(&mut stream, &header(partition, sequence), batch_of(1));
    }
    within(stream.send.flush()).await.unwrap();
    server.fake.until(partition, |log| log.withheld.as_ref().unwrap().len() == 3).await;
    let withheld = server.fake.change(partition, |log| log.withheld.take().unwrap());
    for (i, (sender, produced)) in withheld.into_iter().enumerate().rev() {
        let failed = StoreError::from(tidelog_model::ErrorCode::StorageError);
        sender.send(if i == 1 { Err(failed) } else { Ok(produced) });
    }
    for sequence in 0..3 {
        let ack = ack(&mut stream).await;
        assert_eq!(ack.sequence, sequence);
        assert_eq!(ack.error.map(|error| error.code), (sequence == 1).then_some(56));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_that_never_comes_is_an_unknown_outcome() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| log.withheld = Some(Vec::new()));
    let client = server.client(BOTH[0]).await;
    let open = v1::OpenProducer { timeout_ms: 50 };
    let mut stream = client.stream(FrameKind::OpenProducer, &open).await;
    receive(&mut stream).await;
    push(&mut stream, &header(partition, 0), batch_of(1));
    within(stream.send.flush()).await.unwrap();
    let error = ack(&mut stream).await.error.unwrap();
    assert_eq!((error.code, error.retryable, error.no_side_effects), (7, true, false));
    server.fake.change(partition, |log| log.withheld = None);
    push(&mut stream, &header(partition, 1), batch_of(1));
    within(stream.send.flush()).await.unwrap();
    assert_eq!(ack(&mut stream).await.error, None);
    server.stop().await;
}

#[tokio::test]
async fn a_session_takes_in_no_more_than_its_bytes_in_flight() {
    let batch = batch_of(1_000).freeze();
    let server = Server::with(|options| options.producer_in_flight_bytes = 4 * batch.len() + 1);
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| log.withheld = Some(Vec::new()));
    let (_client, mut stream) = session(&server, BOTH[0]).await;
    for sequence in 0..200 {
        push(&mut stream, &header(partition, sequence), batch.clone());
    }
    let flushing = async { stream.send.flush().await.unwrap() };
    let checking = async {
        server.fake.until(partition, |log| log.batches.len() == 4).await;
        for _ in 0..200 {
            tokio::task::yield_now().await;
            assert_eq!(server.fake.logs.lock()[&partition].batches.len(), 4);
        }
        let withheld = server.fake.change(partition, |log| log.withheld.take().unwrap());
        for (sender, produced) in withheld {
            sender.send(Ok(produced));
        }
    };
    within(async { tokio::join!(flushing, checking) }).await;
    for sequence in 0..200 {
        assert_eq!(ack(&mut stream).await.sequence, sequence);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_session_that_breaks_the_protocol_ends_with_a_reason_after_its_acknowledgements() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        let (client, mut stream) = session(&server, transport).await;
        push(&mut stream, &header(partition, 0), batch_of(1));
        push(&mut stream, &header(partition, 5), batch_of(1));
        within(stream.send.flush()).await.unwrap();
        assert_eq!(ack(&mut stream).await.sequence, 0);
        let error = receive(&mut stream).await.decode::<v1::ProduceAck>(FrameKind::ProduceAck).unwrap_err();
        assert!(matches!(&error, WireError::Remote(error) if error.code == 42), "{error}");

        let mut too_large = client.producer().await;
        let (header, payload) = (header(partition, 0), [Bytes::from(vec![0; 33 << 20])]);
        // The server stops reading at the head; how far the write gets is its own affair.
        let (_, answer) = within(async {
            tokio::join!(too_large.send.send(FrameKind::Produce, &header, &payload), too_large.recv.expect())
        })
        .await;
        let error = answer.unwrap().decode::<v1::ProduceAck>(FrameKind::ProduceAck).unwrap_err();
        assert!(matches!(&error, WireError::Remote(error) if error.code == 1006), "{error}");
        // The connection goes on.
        client.producer().await;
        server.stop().await;
    }
}
