use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use tidelog::{
    Client, Consumer, ConsumerOptions, ErrorCode, Offset, PartitionId, ProducerOptions, ProducerRecord,
    StartAt, TransportChoice,
};

use crate::server::{Server, TOPIC};
use crate::{BOTH, client, until, within};

/// Puts `count` numbers into each partition, some ten to a batch.
async fn fill(client: &Client, partitions: u32, numbers: std::ops::Range<u32>) {
    let options = ProducerOptions { batch_bytes: 1024, ..ProducerOptions::default() };
    let producer = within(client.producer(options)).await.unwrap();
    for number in numbers {
        for partition in 0..partitions {
            let value = format!("{number:064}");
            let record = ProducerRecord::new(TOPIC, &value).partition(PartitionId(partition));
            drop(within(producer.send(record)).await.unwrap());
        }
    }
    within(producer.close()).await.unwrap();
}

fn to_the_end() -> ConsumerOptions {
    ConsumerOptions { stop_at_end: true, ..ConsumerOptions::default() }
}

/// What was read, by partition; offsets have no gap.
#[derive(Default)]
struct Read(BTreeMap<u32, (u64, Vec<u32>)>);

impl Read {
    /// One record more, unless the end is reached.
    async fn next(&mut self, consumer: &mut Consumer) -> bool {
        let Some(record) = within(consumer.next()).await else { return false };
        let record = record.unwrap();
        let (expected, numbers) =
            self.0.entry(record.partition.0).or_insert_with(|| (record.offset.0, Vec::new()));
        assert_eq!(record.offset.0, *expected, "partition {}", record.partition);
        *expected += 1;
        numbers.push(std::str::from_utf8(&record.value.unwrap()).unwrap().parse().unwrap());
        true
    }
}

/// Everything that still comes, by partition.
async fn rest(consumer: &mut Consumer) -> BTreeMap<u32, Vec<u32>> {
    let mut read = Read::default();
    while read.next(consumer).await {}
    read.0.into_iter().map(|(partition, (_, numbers))| (partition, numbers)).collect()
}

async fn next_number(consumer: &mut Consumer) -> u32 {
    let record = within(consumer.next()).await.unwrap().unwrap();
    std::str::from_utf8(&record.value.unwrap()).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_comes_whole_and_in_order() {
    for transport in BOTH {
        let server = Server::start(3);
        let client = client(&server, transport).await;
        fill(&client, 3, 0..200).await;
        let mut consumer = within(client.consumer(TOPIC, to_the_end())).await.unwrap();
        let read = rest(&mut consumer).await;
        assert_eq!(read.len(), 3);
        assert!(read.values().all(|numbers| *numbers == (0..200).collect::<Vec<_>>()));
        within(consumer.close()).await;
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_may_begin_anywhere() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..100).await;
    let starts = [
        (StartAt::Start, 0),
        (StartAt::Offset(Offset(37)), 37),
        (StartAt::BeforeEnd(5), 95),
        (StartAt::End, 100),
    ];
    for (start, first) in starts {
        let mut consumer =
            within(client.consumer(TOPIC, ConsumerOptions { start, ..to_the_end() })).await.unwrap();
        let read = rest(&mut consumer).await;
        assert_eq!(read.get(&0).cloned().unwrap_or_default(), (first..100).collect::<Vec<_>>());
        assert_eq!(consumer.positions(), [(PartitionId(0), Some(Offset(100)))]);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_and_repeat_nothing() {
    for transport in BOTH {
        let server = Server::start(2);
        let client = client(&server, transport).await;
        fill(&client, 2, 0..500).await;
        let options = ConsumerOptions { prefetch_bytes: 0, ..to_the_end() };
        let mut consumer = within(client.consumer(TOPIC, options)).await.unwrap();
        let mut read = Read::default();
        while consumer.positions().iter().any(|(_, position)| position.is_none()) {
            read.next(&mut consumer).await;
        }
        for _ in 0..3 {
            server.state.cut();
            for _ in 0..50 {
                read.next(&mut consumer).await;
            }
        }
        // It ends where it was to end when it began.
        fill(&client, 2, 500..600).await;
        while read.next(&mut consumer).await {}
        assert!(read.0.values().all(|(_, numbers)| *numbers == (0..500).collect::<Vec<_>>()));
        assert_eq!(read.0.len(), 2);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_is_followed_and_being_caught_up_is_seen() {
    let server = Server::start(2);
    let client = client(&server, TransportChoice::Quic).await;
    let mut consumer = within(client.consumer(TOPIC, ConsumerOptions::default())).await.unwrap();
    let progress = consumer.progress();
    within(progress.caught_up()).await;
    for round in 0..5 {
        fill(&client, 2, round * 10..(round + 1) * 10).await;
        let mut count = 0;
        loop {
            tokio::select! {
                record = consumer.next() => {
                    record.unwrap().unwrap();
                    count += 1;
                }
                () = progress.caught_up(), if count == 20 => break,
            }
        }
    }
    assert!(consumer.is_caught_up());
    assert_eq!(consumer.positions(), [0, 1].map(|p| (PartitionId(p), Some(Offset(50)))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seek_takes_effect_at_once() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..100).await;
    let mut consumer = within(client.consumer(TOPIC, ConsumerOptions::default())).await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 0);
    consumer.seek(PartitionId(0), StartAt::Offset(Offset(73))).unwrap();
    assert_eq!(next_number(&mut consumer).await, 73);
    consumer.seek(PartitionId(0), StartAt::Start).unwrap();
    assert_eq!(next_number(&mut consumer).await, 0);
    assert!(consumer.seek(PartitionId(1), StartAt::Start).is_err());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_partition_comes_back_with_a_seek() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..10).await;
    let mut consumer = within(client.consumer(TOPIC, to_the_end())).await.unwrap();
    assert_eq!(rest(&mut consumer).await[&0].len(), 10);
    consumer.seek(PartitionId(0), StartAt::Offset(Offset(4))).unwrap();
    assert_eq!(rest(&mut consumer).await[&0], [4, 5, 6, 7, 8, 9]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_partition_gives_nothing_and_goes_on_where_it_was() {
    let server = Server::start(2);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 2, 0..300).await;
    let mut consumer = within(client.consumer(TOPIC, to_the_end())).await.unwrap();
    let first = within(consumer.next()).await.unwrap().unwrap();
    let paused = first.partition;
    consumer.pause(paused).unwrap();
    for number in 0..300 {
        let record = within(consumer.next()).await.unwrap().unwrap();
        assert_ne!(record.partition, paused);
        assert_eq!(record.offset, Offset(number));
    }
    consumer.resume(paused).unwrap();
    let read = rest(&mut consumer).await;
    assert_eq!(read[&paused.0], (1..300).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_and_records_can_be_mixed() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..100).await;
    let options = ConsumerOptions { start: StartAt::Offset(Offset(3)), ..to_the_end() };
    let mut consumer = within(client.consumer(TOPIC, options)).await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 3);
    let mut expected = 4;
    while let Some(batch) = within(consumer.next_batch()).await {
        for record in batch.unwrap().records().unwrap() {
            assert_eq!(record.unwrap().offset, Offset(expected));
            expected += 1;
        }
    }
    assert_eq!(expected, 100);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_batch_is_fetched_again_and_never_given() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..100).await;
    server.state.damage.store(true, Ordering::SeqCst);
    let mut consumer = within(client.consumer(TOPIC, to_the_end())).await.unwrap();
    assert_eq!(rest(&mut consumer).await[&0], (0..100).collect::<Vec<_>>());
    assert_eq!(server.state.subscriptions.load(Ordering::SeqCst), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_will_not_pass_ends_its_partition() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    fill(&client, 1, 0..10).await;
    let options = ConsumerOptions { start: StartAt::Offset(Offset(11)), ..ConsumerOptions::default() };
    let mut consumer = within(client.consumer(TOPIC, options)).await.unwrap();
    let error = within(consumer.next()).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::OffsetOutOfRange));
    assert!(within(consumer.next()).await.is_none());
    consumer.seek(PartitionId(0), StartAt::Offset(Offset(9))).unwrap();
    assert_eq!(next_number(&mut consumer).await, 9);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away_shows_and_is_tried_on() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Tcp).await;
    fill(&client, 1, 0..10).await;
    let options = ConsumerOptions { patience: Duration::from_millis(50), ..ConsumerOptions::default() };
    let mut consumer = within(client.consumer(TOPIC, options)).await.unwrap();
    assert_eq!(next_number(&mut consumer).await, 0);
    let progress = consumer.progress();
    for _ in 1..10 {
        within(consumer.next()).await.unwrap().unwrap();
    }
    until(|| progress.is_caught_up()).await;
    let address = server.addr;
    let restarting = async {
        let server = server.restart().await;
        assert_eq!(server.addr, address);
        server
    };
    let server = within(restarting).await;
    server.state.cut();
    fill(&client, 1, 10..11).await;
    loop {
        match within(consumer.next()).await.unwrap() {
            Ok(record) => break assert_eq!(record.offset, Offset(10)),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_make_no_sense_are_refused() {
    let server = Server::start(2);
    let client = client(&server, TransportChoice::Quic).await;
    let with = |partitions: &[u32]| ConsumerOptions {
        partitions: Some(partitions.iter().copied().map(PartitionId).collect()),
        ..to_the_end()
    };
    for partitions in [&[][..], &[0, 0], &[2]] {
        assert!(within(client.consumer(TOPIC, with(partitions))).await.is_err(), "{partitions:?}");
    }
    let error = within(client.consumer("nothing", to_the_end())).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    fill(&client, 2, 0..10).await;
    let mut consumer = within(client.consumer(TOPIC, with(&[1]))).await.unwrap();
    assert_eq!(rest(&mut consumer).await.keys().copied().collect::<Vec<_>>(), [1]);
    server.stop().await;
}
