//! Many subscriptions of one partition, whose store is behind a shared tail.

mod harness;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use harness::{Alive, Client, Reader, Server, by_id, receive, within};
use tidelog_frontend::{FrontendOptions, SharedTail, TailOptions};
use tidelog_model::TopicPartition;
use tidelog_proto::v1;
use tidelog_wire::{FrameKind, Stream, TransportChoice};

const MIB: usize = 1024 * 1024;

fn start(options: TailOptions, change: impl FnOnce(&mut FrontendOptions)) -> Server {
    Server::through(change, |fake, metrics, supervisor| {
        Arc::new(SharedTail::new(fake, options, metrics, supervisor))
    })
}

async fn subscribe(client: &Client, partition: TopicPartition) -> Stream {
    let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
    client.subscribe(subscribe).await.unwrap().1
}

async fn read_to(reader: &mut Reader, stream: &mut Stream, end: u64) {
    while reader.next < end {
        let frame = receive(stream).await;
        if frame.kind == FrameKind::Records {
            reader.take(frame);
        }
    }
}

#[tokio::test]
async fn a_hundred_subscriptions_at_the_tail_cost_the_store_one_fetch_a_batch() {
    const READERS: usize = 100;
    const BATCHES: usize = 30;
    let server = start(TailOptions::default(), |_| {});
    let partition = server.topic("t").await;
    let client = server.client(TransportChoice::Quic).await;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push((Reader::default(), subscribe(&client, partition).await));
    }
    for (_, stream) in &mut readers {
        receive(stream).await.decode::<v1::CaughtUp>(FrameKind::CaughtUp).unwrap();
    }
    let before = server.fake.change(partition, |log| log.fetches);
    for round in 1..=BATCHES {
        // All wait in the same flight.
        server.fake.until(partition, |log| log.fetching == 1).await;
        server.fake.change(partition, |log| log.append(10));
        for (reader, stream) in &mut readers {
            read_to(reader, stream, round as u64 * 10).await;
        }
    }
    server.fake.until(partition, |log| log.fetching == 1).await;
    let asked = server.fake.change(partition, |log| log.fetches) - before;
    assert_eq!(asked, BATCHES);
    server.stop().await;
}

#[tokio::test]
async fn a_thousand_readers_that_stand_still_hold_no_more_than_the_budget() {
    const CLIENTS: usize = 10;
    const STREAMS: usize = 100;
    const BUDGET: usize = 16 * MIB;
    let tail = TailOptions { total_bytes: 2 * MIB, ..TailOptions::default() };
    let server = start(tail, |options| {
        options.read_budget_bytes = BUDGET;
        options.stall_timeout = Duration::from_millis(50);
    });
    let partition = server.topic("t").await;
    let alive = Arc::new(Alive::default());
    let batch_bytes = server.fake.change(partition, |log| {
        log.alive = Some(Arc::clone(&alive));
        (0..12).for_each(|_| log.append(2_500));
        log.batches[0].len()
    });
    assert!(batch_bytes > 256 * 1024, "one batch is more than a subscription may hold without leave");
    let clients = join_all((0..CLIENTS).map(|_| server.client_of_little(16 * 1024))).await;
    let mut standing = Vec::new();
    for client in &clients {
        for _ in 0..STREAMS {
            standing.push(subscribe(client, partition).await);
        }
    }
    let client = server.client(TransportChoice::Quic).await;
    let (mut reader, mut stream) = (Reader::default(), subscribe(&client, partition).await);
    read_to(&mut reader, &mut stream, 12 * 2_500).await;
    // The ring, and one answer in the hands of each thread that has no room for it.
    let bound = BUDGET + 2 * MIB + 4 * batch_bytes;
    assert!(alive.most() <= bound, "{} were alive, of {bound}", alive.most());

    // Whoever was ended for standing still reads on from where it was.
    drop(standing);
    let readers = join_all((0..20).map(|_| async {
        let (mut reader, mut stream) = (Reader::default(), subscribe(&client, partition).await);
        read_to(&mut reader, &mut stream, 12 * 2_500).await;
    }));
    within(readers).await;
    assert!(alive.most() <= bound, "{} were alive, of {bound}", alive.most());
    drop((stream, clients, client));
    server.stop().await;
}
