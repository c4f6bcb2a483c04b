//! Control requests, and the frontend's start and end.

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use harness::{BOTH, Bucket, Fake, Server, at, batch_of, by_id, by_name, receive, within};
use tidelog_frontend::{Frontend, FrontendOptions, Parts, StartError};
use tidelog_proto::v1;
use tidelog_proto::v1::offset_spec::{At, Unit};
use tidelog_proto::v1::request::Body;
use tidelog_wire::{FrameKind, Identity, WireError};

fn create(name: &str, partitions: u32, config: &[(&str, &str)]) -> v1::CreateTopicRequest {
    let config = config.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    v1::CreateTopicRequest { name: name.to_owned(), partitions, config, ..Default::default() }
}

#[tokio::test]
async fn a_topic_lives_from_create_to_delete() {
    for transport in BOTH {
        let server = Server::start();
        let client = server.client(transport).await;
        let wanted = create("events", 3, &[("compression.type", "zstd")]);
        let topic = call!(client, CreateTopic(wanted)).unwrap().topic.unwrap();
        assert_eq!((topic.name.as_str(), topic.partitions, topic.id.len()), ("events", 3, 16));
        assert_eq!(topic.config, BTreeMap::from([("compression.type".to_owned(), "zstd".to_owned())]));

        let request = v1::AlterTopicRequest {
            topic: by_name("events"),
            config: BTreeMap::from([("compression.type".to_owned(), String::new())]),
            ..Default::default()
        };
        assert!(call!(client, AlterTopic(request)).unwrap().topic.unwrap().config.is_empty());

        let request = v1::DescribeTopicRequest { topic: by_name("events") };
        let described = call!(client, DescribeTopic(request)).unwrap();
        assert!(described.config.iter().any(|entry| entry.name == "segment.bytes" && entry.is_default));

        let request = v1::DeleteTopicRequest { topic: by_name("events") };
        assert_eq!(call!(client, DeleteTopic(request.clone())).unwrap().id, topic.id);
        assert_eq!(call!(client, DeleteTopic(request)).unwrap_err().code, 3);
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_topic_is_said_all_at_once() {
    let server = Server::start();
    let client = server.client(BOTH[0]).await;
    let wrong = create("t", 1, &[("segment.bytes", "1"), ("retention.ms", "5"), ("nope", "1")]);
    let error = call!(client, CreateTopic(wrong.clone())).unwrap_err();
    assert_eq!((error.code, error.problems.len()), (40, 3));
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["nope", "retention.ms", "segment.bytes"]);
    assert_eq!(call!(client, CreateTopic(create("a b", 1, &[]))).unwrap_err().code, 17);
    assert_eq!(call!(client, CreateTopic(create("t", 200_000, &[]))).unwrap_err().code, 37);
    let checked = v1::CreateTopicRequest { validate_only: true, ..create("t", 0, &[]) };
    assert_eq!(call!(client, CreateTopic(checked)).unwrap().topic.unwrap().partitions, 1);
    assert!(server.fake.topics.lock().is_empty());
    call!(client, CreateTopic(create("t", 1, &[]))).unwrap();
    assert_eq!(call!(client, CreateTopic(create("t", 1, &[]))).unwrap_err().code, 36);
    server.stop().await;
}

#[tokio::test]
async fn topics_are_listed_in_pages() {
    let server = Server::start();
    for name in ["a1", "b1", "b2", "b3", "c1"] {
        server.topic(name).await;
    }
    let client = server.client(BOTH[0]).await;
    let mut request = v1::ListTopicsRequest { after: String::new(), limit: 2, prefix: "b".to_owned() };
    let mut names = Vec::new();
    loop {
        let page = call!(client, ListTopics(request.clone())).unwrap();
        names.extend(page.topics.into_iter().map(|topic| topic.name));
        if !page.more {
            break;
        }
        request.after.clone_from(names.last().unwrap());
    }
    assert_eq!(names, ["b1", "b2", "b3"]);
    server.stop().await;
}

#[tokio::test]
async fn places_are_found_one_by_one_and_fail_one_by_one() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| log.append(10));
    let client = server.client(BOTH[0]).await;
    let place = |partition, at| v1::list_offsets_request::Place { topic: by_name("t"), partition, at };
    let request = v1::ListOffsetsRequest {
        places: vec![
            place(0, at(At::Start(Unit {}))),
            place(0, at(At::End(Unit {}))),
            place(1, None),
            place(0, at(At::TimestampMs(5))),
            place(0, at(At::Offset(99))),
        ],
        read_committed: false,
    };
    let results = call!(client, ListOffsets(request.clone())).unwrap().results;
    let summary: Vec<_> = results
        .iter()
        .map(|result| {
            (result.offset, result.timestamp_ms, result.error.as_ref().map_or(0, |error| error.code))
        })
        .collect();
    assert_eq!(summary, [(0, None, 0), (10, None, 0), (0, None, 3), (7, Some(5), 0), (0, None, 1)]);
    let too_many =
        v1::ListOffsetsRequest { places: vec![v1::list_offsets_request::Place::default(); 1001], ..request };
    assert_eq!(call!(client, ListOffsets(too_many)).unwrap_err().code, 42);
    server.stop().await;
}

#[tokio::test]
async fn storage_is_described_moved_and_dropped() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| log.append(10));
    let client = server.client(BOTH[0]).await;
    call!(client, Offload(v1::OffloadRequest { topic: by_name("t") })).unwrap();
    call!(client, Evict(v1::EvictRequest { topic: by_name("t") })).unwrap();
    let request = v1::DescribeStorageRequest { topic: by_name("t"), ..Default::default() };
    let described = call!(client, DescribeStorage(request)).unwrap();
    assert!(!described.more);
    let storage = &described.partitions[0];
    assert_eq!((storage.local_start, storage.tiered_end, storage.log_end), (10, 10, 10));
    assert_eq!((storage.local_bytes, storage.bucket_bytes, storage.segments), (1, 2, 3));
    server.stop().await;
}

#[tokio::test]
async fn the_cluster_and_producers_are_identified() {
    let server = Server::start();
    let client = server.client(BOTH[0]).await;
    let metadata = call!(client, Metadata(v1::MetadataRequest {})).unwrap();
    assert_eq!(metadata.endpoints[0].address, server.frontend.local_addr().to_string());
    let producer = call!(client, InitProducer(v1::InitProducerRequest {})).unwrap();
    assert_eq!((producer.producer_id, producer.producer_epoch), (42, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_control_stream_answers_requests_one_after_the_other() {
    for transport in BOTH {
        let server = Server::start();
        let client = server.client(transport).await;
        let unknown = v1::Request { timeout_ms: 0, body: None };
        let mut stream = client.stream(FrameKind::Request, &unknown).await;
        let response: v1::Response = receive(&mut stream).await.decode(FrameKind::Response).unwrap();
        assert_eq!(response.error.unwrap().code, 35);
        for _ in 0..3 {
            let body = Some(Body::InitProducer(v1::InitProducerRequest {}));
            stream.send.push(FrameKind::Request, &v1::Request { timeout_ms: 0, body }, &[]);
        }
        stream.send.finish().await.unwrap();
        for _ in 0..3 {
            let response: v1::Response = receive(&mut stream).await.decode(FrameKind::Response).unwrap();
            assert_eq!(response.error, None);
        }
        assert!(within(stream.recv.recv()).await.unwrap().is_none());
        server.stop().await;
    }
}

#[tokio::test]
async fn a_stream_that_begins_with_a_wrong_frame_is_refused() {
    let server = Server::start();
    let client = server.client(BOTH[0]).await;
    let mut stream = client.stream(FrameKind::Produce, &v1::Produce::default()).await;
    assert_eq!(receive(&mut stream).await.kind, FrameKind::Error);
    call!(client, InitProducer(v1::InitProducerRequest {})).unwrap();
    server.stop().await;
}

#[tokio::test]
async fn strangers_are_not_listened_to_without_authentication() {
    let identity = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let fake = Arc::new(Fake::default());
    let supervisor = tidelog_runtime::Supervisor::new();
    let parts = || Parts {
        store: fake.clone(),
        topics: fake.clone(),
        cluster: None,
        cold: Arc::new(Bucket(fake.clone())),
        clock: tidelog_runtime::SystemClock::shared(),
        supervisor: supervisor.clone(),
        metrics: tidelog_runtime::Metrics::default(),
    };
    let mut options =
        FrontendOptions::new("0.0.0.0:0".parse().unwrap(), tidelog_wire::Credentials::new(identity).unwrap());
    let refused = Frontend::start(options.clone(), parts()).unwrap_err();
    assert!(matches!(refused, StartError::Exposed { .. }));
    assert!(refused.to_string().contains("0.0.0.0"), "{refused}");
    options.allow_unauthenticated = true;
    let allowed = Frontend::start(options.clone(), parts()).unwrap();
    options.listen = allowed.local_addr();
    let in_use = Frontend::start(options, parts()).unwrap_err();
    assert!(matches!(in_use, StartError::Listen(_)), "{in_use}");
    within(allowed.shut_down(Duration::from_secs(1))).await;
    supervisor.shut_down(harness::DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_acknowledges_what_was_begun_and_says_so_to_the_rest() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        server.fake.change(partition, |log| log.withheld = Some(Vec::new()));
        let client = server.client(transport).await;
        let mut producer = client.producer().await;
        let produce = v1::Produce {
            topic_id: bytes::Bytes::copy_from_slice(partition.topic.as_bytes()),
            partition: 0,
            sequence: 0,
        };
        producer.send.send(FrameKind::Produce, &produce, &[batch_of(1).freeze()]).await.unwrap();
        let subscribe = v1::Subscribe { topic: by_id(partition), ..Default::default() };
        let (_, mut subscription) = client.subscribe(subscribe).await.unwrap();
        server.fake.until(partition, |log| log.withheld.as_ref().unwrap().len() == 1).await;

        let Server { frontend, fake, supervisor, .. } = server;
        let clients = async {
            client.0.going_away().await;
            let withheld = fake.change(partition, |log| log.withheld.take().unwrap());
            for (sender, produced) in withheld {
                sender.send(Ok(produced));
            }
            let ack: v1::ProduceAck = receive(&mut producer).await.decode(FrameKind::ProduceAck).unwrap();
            assert_eq!(ack.error, None);
            for stream in [&mut producer, &mut subscription] {
                loop {
                    let frame = receive(stream).await;
                    if let Err(WireError::Remote(error)) = frame.decode::<()>(FrameKind::Unspecified) {
                        assert_eq!(error.code, 1005);
                        break;
                    }
                }
            }
            drop((producer, subscription));
            drop(client);
        };
        within(async { tokio::join!(frontend.shut_down(Duration::from_secs(10)), clients) }).await;
        supervisor.shut_down(harness::DEADLINE).await.unwrap();
    }
}
