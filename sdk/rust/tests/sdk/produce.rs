use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use tidelog::{
    Compression, Error, ErrorCode, PartitionId, Producer, ProducerOptions, ProducerRecord, Ticket,
    TransportChoice, partition_of,
};

use crate::server::{Server, TOPIC};
use crate::{BOTH, client, until, within};

/// Batches of some ten records each.
fn small_batches() -> ProducerOptions {
    ProducerOptions { batch_bytes: 1024, linger: Duration::from_millis(1), ..ProducerOptions::default() }
}

async fn send_numbers(producer: &Producer, numbers: std::ops::Range<u32>) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for number in numbers {
        let value = format!("{number:064}");
        let record = ProducerRecord::new(TOPIC, &value).partition(PartitionId(0));
        tickets.push(within(producer.send(record)).await.unwrap());
    }
    tickets
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("{number:064}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ticket_resolves_to_its_records_place() {
    for transport in BOTH {
        for compression in Compression::ALL {
            let server = Server::start(1);
            let client = client(&server, transport).await;
            let options = ProducerOptions { compression, ..small_batches() };
            let producer = within(client.producer(options)).await.unwrap();
            let tickets = send_numbers(&producer, 0..500).await;
            let offsets: Vec<_> =
                within(join_all(tickets)).await.into_iter().map(|d| d.unwrap().offset.0).collect();
            assert_eq!(offsets, (0..500).collect::<Vec<_>>());
            assert_eq!(server.values(0), numbers(0..500));
            within(producer.close()).await.unwrap();
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn one_thread_is_enough() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let options = ProducerOptions { buffer_bytes: 64 * 1024, batch_bytes: 16 * 1024, ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    let tickets = send_numbers(&producer, 0..5000).await;
    within(producer.flush()).await.unwrap();
    assert!(tickets.iter().all(|ticket| ticket.try_get().is_some_and(|outcome| outcome.is_ok())));
    assert_eq!(server.values(0).len(), 5000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_moves_away_from_a_server_that_is_about_to_go() {
    for transport in BOTH {
        let server = Server::start(1);
        let client = client(&server, transport).await;
        let producer = within(client.producer(small_batches())).await.unwrap();
        let mut tickets = send_numbers(&producer, 0..200).await;
        until(|| server.state.sessions.load(Ordering::SeqCst) == 1).await;
        server.state.go_away();
        // Nothing is sent meanwhile: the good-bye alone makes it move.
        until(|| server.state.sessions.load(Ordering::SeqCst) == 2).await;
        tickets.extend(send_numbers(&producer, 200..400).await);
        // And in the midst of it.
        server.state.go_away();
        tickets.extend(send_numbers(&producer, 400..600).await);
        let offsets: Vec<_> =
            within(join_all(tickets)).await.into_iter().map(|d| d.unwrap().offset.0).collect();
        assert_eq!(offsets, (0..600).collect::<Vec<_>>());
        until(|| server.state.sessions.load(Ordering::SeqCst) == 3).await;
        assert_eq!(server.state.connections(), 3);
        assert_eq!(server.values(0), numbers(0..600));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_nothing_and_repeat_nothing() {
    for transport in BOTH {
        let server = Server::start(1);
        let client = client(&server, transport).await;
        let producer = within(client.producer(small_batches())).await.unwrap();
        let mut tickets = Vec::new();
        for round in 0..10 {
            server.state.cut_after.store(round % 4, Ordering::SeqCst);
            tickets.extend(send_numbers(&producer, round as u32 * 100..(round as u32 + 1) * 100).await);
            until(|| server.state.cut_after.load(Ordering::SeqCst) < 0).await;
        }
        for delivery in within(join_all(tickets)).await {
            delivery.unwrap();
        }
        assert_eq!(server.values(0), numbers(0..1000));
        within(producer.close()).await.unwrap();
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_is_found_again() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let producer = within(client.producer(small_batches())).await.unwrap();
    let before = send_numbers(&producer, 0..100).await;
    let server = server.restart().await;
    let after = send_numbers(&producer, 100..200).await;
    for delivery in within(join_all(before.into_iter().chain(after))).await {
        delivery.unwrap();
    }
    assert_eq!(server.values(0), numbers(0..200));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_that_pass_leave_order_and_number_intact() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let producer = within(client.producer(small_batches())).await.unwrap();
    let refusals = [
        ErrorCode::ThrottlingQuotaExceeded,
        ErrorCode::StorageFull,
        ErrorCode::RequestTimedOut,
        ErrorCode::CorruptMessage,
        ErrorCode::BacklogFull,
    ];
    server.state.refusals.lock().extend(refusals);
    let tickets = send_numbers(&producer, 0..300).await;
    for delivery in within(join_all(tickets)).await {
        delivery.unwrap();
    }
    assert_eq!(server.values(0), numbers(0..300));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_batch_fails_alone() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let producer = within(client.producer(small_batches())).await.unwrap();
    let first = send_numbers(&producer, 0..1).await.pop().unwrap();
    within(first).await.unwrap();
    server.state.refusals.lock().push_back(ErrorCode::InvalidTimestamp);
    let tickets = send_numbers(&producer, 1..200).await;
    let outcomes = within(join_all(tickets)).await;
    let failed = outcomes.iter().take_while(|outcome| outcome.is_err()).count();
    assert!(failed > 0 && failed < 100);
    for outcome in &outcomes[..failed] {
        let error = outcome.clone().unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::InvalidTimestamp));
        assert!(error.has_no_side_effects());
    }
    assert!(outcomes[failed..].iter().all(Result::is_ok));
    assert_eq!(server.values(0)[1..], numbers(1 + failed as u32..200));
    assert!(within(producer.flush()).await.is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgetful_server_costs_an_identity_and_no_record() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let producer = within(client.producer(small_batches())).await.unwrap();
    let before = producer.producer_id();
    within(send_numbers(&producer, 0..1).await.pop().unwrap()).await.unwrap();
    server.state.refusals.lock().push_back(ErrorCode::UnknownProducerId);
    for delivery in within(join_all(send_numbers(&producer, 1..100).await)).await {
        delivery.unwrap();
    }
    assert_ne!(producer.producer_id(), before);
    assert_eq!(server.values(0), numbers(0..100));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_idempotence_a_lost_answer_is_an_unknown_outcome() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let options = ProducerOptions { idempotent: false, ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    server.state.cut_after.store(0, Ordering::SeqCst);
    let ticket = send_numbers(&producer, 0..1).await.pop().unwrap();
    let error = within(ticket).await.unwrap_err();
    assert!(!error.has_no_side_effects() && error.is_retryable(), "{error}");
    assert_eq!(server.values(0).len(), 1, "it was stored, and must not be sent again");
    within(send_numbers(&producer, 1..2).await.pop().unwrap()).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_waits_while_too_much_is_unacknowledged() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let options = ProducerOptions { buffer_bytes: 4096, ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    server.state.mute.store(true, Ordering::SeqCst);
    let sent = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (sending, counted) = (producer.clone(), Arc::clone(&sent));
    let task = tokio::spawn(async move {
        for number in 0..200 {
            send_numbers(&sending, number..number + 1).await;
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    until(|| !server.values(0).is_empty() && sent.load(Ordering::SeqCst) > 20).await;
    let value = [b'x'; 4000];
    let full = producer.try_send(ProducerRecord::new(TOPIC, &value));
    assert!(matches!(full, Err(Error::BufferFull)));
    assert!(sent.load(Ordering::SeqCst) < 60);
    server.state.unmute();
    within(task).await.unwrap();
    within(producer.close()).await.unwrap();
    assert_eq!(server.values(0), numbers(0..200));
    let refused = within(producer.send(ProducerRecord::new(TOPIC, "late"))).await;
    assert!(matches!(refused, Err(Error::Closed(_))));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_producer_leaves_no_ticket_waiting() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    server.state.mute.store(true, Ordering::SeqCst);
    let options = ProducerOptions { linger: Duration::from_mins(1), ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    let mut tickets = send_numbers(&producer, 0..30).await;
    until(|| !server.values(0).is_empty()).await;
    drop(producer);
    let open = within(tickets.pop().unwrap()).await.unwrap_err();
    assert!(open.has_no_side_effects());
    let sent = within(tickets.swap_remove(0)).await.unwrap_err();
    assert!(!sent.has_no_side_effects());
    server.state.unmute();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_go_where_kafka_sends_them_and_the_rest_is_spread() {
    let server = Server::start(5);
    let client = client(&server, TransportChoice::Quic).await;
    let options = ProducerOptions { sessions: 3, ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    let mut tickets = Vec::new();
    for i in 0..200 {
        let key = format!("key-{i}");
        let record = ProducerRecord::new(TOPIC, "keyed").key(&key);
        let ticket = within(producer.send(record)).await.unwrap();
        assert_eq!(ticket.partition(), partition_of(key.as_bytes(), 5));
        tickets.push(ticket);
        tickets.push(within(producer.send(ProducerRecord::new(TOPIC, &[b'v'; 100]))).await.unwrap());
    }
    for delivery in within(join_all(tickets)).await {
        delivery.unwrap();
    }
    for partition in 0..5 {
        assert!(server.values(partition).iter().any(|value| value != "keyed"));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_refused_at_once() {
    let server = Server::start(2);
    let client = client(&server, TransportChoice::Quic).await;
    let producer = within(client.producer(small_batches())).await.unwrap();
    let error = within(producer.send(ProducerRecord::new("nothing", "x"))).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    let beyond = ProducerRecord::new(TOPIC, "x").partition(PartitionId(2));
    let error = within(producer.send(beyond)).await.unwrap_err();
    assert_eq!(error.to_string(), "topic numbers has no partition 2, it has 2");
    let large = vec![0; 100_000];
    let error = within(producer.send(ProducerRecord::new(TOPIC, &large))).await.unwrap_err();
    assert!(matches!(error, Error::RecordTooLarge { max: 100_000, .. }));
    let fits = vec![b'x'; 99_900];
    within(within(producer.send(ProducerRecord::new(TOPIC, &fits))).await.unwrap()).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_server_is_given_up_in_time_and_named() {
    let server = Server::start(1);
    let mut options = server.options(TransportChoice::Tcp);
    options.connect_timeout = Duration::from_millis(200);
    let client = within(tidelog::Client::with_options(options)).await.unwrap();
    let options = ProducerOptions { delivery_timeout: Duration::from_millis(400), ..small_batches() };
    let producer = within(client.producer(options)).await.unwrap();
    within(producer.prepare(TOPIC)).await.unwrap();
    let address = server.addr.to_string();
    server.stop().await;
    let ticket = send_numbers(&producer, 0..1).await.pop().unwrap();
    let error = within(ticket).await.unwrap_err();
    assert!(error.has_no_side_effects() && error.is_retryable());
    assert!(error.to_string().contains(&address), "{error}");
}
