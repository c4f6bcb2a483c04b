use std::sync::atomic::Ordering;
use std::time::Duration;

use tidelog::{Client, Error, Fingerprint, Isolation, Offset, PartitionId, StartAt, TransportChoice, Trust};

use crate::server::{Server, TOPIC};
use crate::{BOTH, client, within};

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    for transport in BOTH {
        let server = Server::start(2);
        let client = client(&server, transport).await;
        let topics = within(client.admin().list_topics("")).await.unwrap();
        assert_eq!(topics.len(), 1);
        assert_eq!((topics[0].name.as_str(), topics[0].partitions), (TOPIC, 2));
        server.stop().await;
    }
}

#[tokio::test]
async fn offsets_come_in_the_order_they_were_asked_for() {
    let server = Server::start(2);
    let client = client(&server, TransportChoice::Quic).await;
    let partitions = [PartitionId(1), PartitionId(0)];
    let isolation = Isolation::ReadUncommitted;
    let offsets =
        within(client.admin().list_offsets(TOPIC, &partitions, StartAt::End, isolation)).await.unwrap();
    assert!(offsets.into_iter().all(|found| found.unwrap().offset == Offset(0)));
    server.stop().await;
}

#[tokio::test]
async fn a_request_survives_a_restart_of_the_server() {
    let server = Server::start(1);
    let client = client(&server, TransportChoice::Quic).await;
    let server = server.restart().await;
    assert_eq!(within(client.admin().list_topics("")).await.unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_stream() {
    for transport in BOTH {
        let server = Server::start(1);
        let client = client(&server, transport).await;
        for _ in 0..10 {
            within(client.admin().list_topics("")).await.unwrap();
        }
        assert_eq!(server.state.control_streams.load(Ordering::SeqCst), 1);
        // At the same time each has its own, and afterwards they are used again.
        let admin = client.admin();
        for _ in 0..3 {
            let calls = (0..4).map(|_| admin.list_topics(""));
            for topics in within(futures::future::join_all(calls)).await {
                assert_eq!(topics.unwrap().len(), 1);
            }
        }
        let streams = server.state.control_streams.load(Ordering::SeqCst);
        assert!(streams <= 4, "{streams} streams for 4 calls at a time");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_that_ends_a_stream_after_each_answer_is_asked_on_another() {
    for transport in BOTH {
        let server = Server::start(1);
        server.state.one_request_a_stream.store(true, Ordering::SeqCst);
        let client = client(&server, transport).await;
        for _ in 0..10 {
            within(client.admin().list_topics("")).await.unwrap();
        }
        assert!(server.state.control_streams.load(Ordering::SeqCst) >= 10);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_request_gives_up_in_time_and_says_why() {
    let server = Server::start(1);
    let mut options = server.options(TransportChoice::Tcp);
    options.request_timeout = Duration::from_millis(300);
    server.stop().await;
    let client = Client::lazy(options);
    let error = within(client.admin().list_topics("")).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn a_stranger_is_not_trusted() {
    let server = Server::start(1);
    for transport in BOTH {
        let mut options = server.options(transport);
        options.trust = Trust::Pinned(Fingerprint([1; 32]));
        let error = within(Client::with_options(options)).await.unwrap_err();
        assert!(!error.is_retryable() && error.has_no_side_effects(), "{error}");
    }
    let url = format!("tidelog://{}?fingerprint={}", server.addr, server.fingerprint());
    within(Client::connect(&url)).await.unwrap();
    server.stop().await;
}
