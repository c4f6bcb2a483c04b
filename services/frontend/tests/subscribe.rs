//! Subscriptions.

mod harness;

use bytes::Bytes;
use harness::{BOTH, Reader, Server, at, by_id, by_name, receive, within};
use tidelog_model::Offset;
use tidelog_proto::v1;
use tidelog_proto::v1::offset_spec::{At, Unit};
use tidelog_wire::{FrameKind, Stream, WireError};

/// Reads until a frame that is no records frame.
async fn drain(reader: &mut Reader, stream: &mut Stream) -> tidelog_wire::Frame {
    loop {
        let frame = receive(stream).await;
        if frame.kind != FrameKind::Records {
            return frame;
        }
        reader.take(frame);
    }
}

async fn caught_up(reader: &mut Reader, stream: &mut Stream) {
    loop {
        let frame = drain(reader, stream).await;
        let caught_up: v1::CaughtUp = frame.decode(FrameKind::CaughtUp).unwrap();
        if caught_up.offset == reader.next && caught_up.offset == caught_up.high_watermark {
            return;
        }
    }
}

#[tokio::test]
async fn records_are_pushed_to_the_end_and_then_as_they_come() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        server.fake.change(partition, |log| (0..200).for_each(|_| log.append(10)));
        let client = server.client(transport).await;
        let subscribe = v1::Subscribe { topic: by_name("t"), ..v1::Subscribe::default() };
        let (subscribed, mut stream) = client.subscribe(subscribe).await.unwrap();
        assert_eq!((subscribed.offset, subscribed.high_watermark, subscribed.stop_offset), (0, 2000, None));
        let mut reader = Reader::default();
        caught_up(&mut reader, &mut stream).await;
        assert_eq!(reader.next, 2000);
        for round in 1..=3 {
            server.fake.change(partition, |log| log.append(5));
            caught_up(&mut reader, &mut stream).await;
            assert_eq!(reader.next, 2000 + 5 * round);
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_asked_to() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| (0..10).for_each(|_| log.append(10)));
    let client = server.client(BOTH[0]).await;
    let cases = [
        (None, 0),
        (at(At::Start(Unit {})), 0),
        (at(At::End(Unit {})), 100),
        (at(At::Offset(0)), 0),
        (at(At::Offset(55)), 55),
        (at(At::Offset(100)), 100),
        (at(At::BeforeEnd(30)), 70),
        (at(At::BeforeEnd(1000)), 0),
        (at(At::AfterStart(30)), 30),
        (at(At::AfterStart(u64::MAX)), 100),
        (at(At::TimestampMs(1)), 7),
        (at(At::TimestampMs(i64::MAX)), 100),
    ];
    for (start, offset) in cases {
        let subscribe =
            v1::Subscribe { topic: by_id(partition), start, stop_at_end: true, ..v1::Subscribe::default() };
        let (subscribed, mut stream) = client.subscribe(subscribe).await.unwrap();
        assert_eq!((subscribed.offset, subscribed.stop_offset), (offset, Some(100)), "{start:?}");
        let mut reader = Reader::at(offset);
        let mut last = drain(&mut reader, &mut stream).await;
        if last.kind == FrameKind::CaughtUp {
            last = receive(&mut stream).await;
        }
        assert_eq!(last.decode::<v1::End>(FrameKind::End).unwrap().offset, 100);
        assert_eq!(reader.next, 100);
        assert!(within(stream.recv.recv()).await.unwrap().is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stop_offset_is_not_passed() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| (0..10).for_each(|_| log.append(10)));
    let client = server.client(BOTH[0]).await;
    for (stop, end) in [(0, 0), (20, 20), (21, 30), (500, 100)] {
        let subscribe = v1::Subscribe {
            topic: by_id(partition),
            stop_offset: Some(stop),
            stop_at_end: stop == 500,
            payload_bytes_wanted: 1,
            ..v1::Subscribe::default()
        };
        let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
        let mut reader = Reader::default();
        let mut last = drain(&mut reader, &mut stream).await;
        if last.kind == FrameKind::CaughtUp {
            last = receive(&mut stream).await;
        }
        assert_eq!(last.decode::<v1::End>(FrameKind::End).unwrap().offset, end);
        assert_eq!(reader.next, end);
        assert_eq!(reader.frames as u64, end / 10, "one batch a frame");
    }
    server.stop().await;
}

#[tokio::test]
async fn an_offset_that_does_not_exist_is_refused_with_those_that_do() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| log.append(10));
    let client = server.client(BOTH[1]).await;
    let subscribe =
        v1::Subscribe { topic: by_id(partition), start: at(At::Offset(11)), ..v1::Subscribe::default() };
    let error = client.subscribe(subscribe.clone()).await.unwrap_err();
    assert_eq!(error.code, 1);
    let bounds = v1::OffsetBounds { log_start: 0, high_watermark: 10 };
    assert_eq!(error.detail, Some(v1::error::Detail::Offsets(bounds)));
    assert!(error.message.contains("11") && error.message.contains("10"), "{}", error.message);

    let unknown = [
        v1::Subscribe { topic: by_name("nope"), ..subscribe.clone() },
        v1::Subscribe { partition: 1, ..subscribe.clone() },
    ];
    for subscribe in unknown {
        assert_eq!(client.subscribe(subscribe).await.unwrap_err().code, 3);
    }
    let nameless = v1::Subscribe { topic: None, ..subscribe };
    assert_eq!(client.subscribe(nameless).await.unwrap_err().code, 42);
    server.stop().await;
}

#[tokio::test]
async fn the_bucket_takes_over_below_the_local_start_and_the_store_above() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        server.fake.change(partition, |log| {
            (0..100).for_each(|_| log.append(10));
            log.tiered_end = Offset(700);
            log.local_start = Offset(500);
        });
        let client = server.client(transport).await;
        // From within a batch, in the middle of a block.
        let subscribe =
            v1::Subscribe { topic: by_id(partition), start: at(At::Offset(43)), ..v1::Subscribe::default() };
        let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
        let mut reader = Reader::at(43);
        caught_up(&mut reader, &mut stream).await;
        assert_eq!(reader.next, 1000);
        assert_eq!(reader.tiers, [v1::Tier::Cold, v1::Tier::Hot]);
        server.stop().await;
    }
}

#[tokio::test]
async fn the_seam_moves_under_the_reader_without_gap_or_duplicate() {
    for seed in 1_u64..=20 {
        let server = Server::start();
        let partition = server.topic("t").await;
        server.fake.change(partition, |log| (0..50).for_each(|_| log.append(7)));
        let client = server.client(BOTH[(seed % 2) as usize]).await;
        let subscribe = v1::Subscribe {
            topic: by_id(partition),
            payload_bytes_wanted: 3_000,
            ..v1::Subscribe::default()
        };
        let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
        let mut reader = Reader::default();
        let mut random = seed;
        let mut step = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % 8
        };
        while reader.next < 7 * 250 {
            server.fake.change(partition, |log| match step() {
                0..4 => (0..step()).for_each(|_| log.append(7)),
                4..6 => {
                    let further = Offset(log.tiered_end.0 + step() * 20).min(log.end());
                    if further > log.tiered_end {
                        log.tiered_end = log.batch_end(Offset(further.0 - 1));
                    }
                }
                _ => log.local_start = log.tiered_end,
            });
            let frame = receive(&mut stream).await;
            if frame.kind == FrameKind::Records {
                reader.take(frame);
            } else {
                // Caught up: only new records go on from here.
                frame.decode::<v1::CaughtUp>(FrameKind::CaughtUp).unwrap();
                server.fake.change(partition, |log| log.append(7));
            }
        }
        assert!(reader.tiers.contains(&v1::Tier::Hot), "seed {seed}");
        drop((stream, client));
        server.stop().await;
    }
}

#[tokio::test]
async fn missing_records_end_the_subscription_with_an_error() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| {
        (0..10).for_each(|_| log.append(10));
        log.batches.remove(4);
    });
    let client = server.client(BOTH[0]).await;
    let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
    let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
    let mut reader = Reader::default();
    let frame = drain(&mut reader, &mut stream).await;
    let error = frame.decode::<v1::End>(FrameKind::End).unwrap_err();
    assert!(matches!(&error, WireError::Remote(error) if error.code == 1004), "{error}");
    assert!(error.to_string().contains("40"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_subscription_along() {
    for transport in BOTH {
        let server = Server::start();
        let partition = server.topic("t").await;
        let client = server.client(transport).await;
        let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
        let (_, mut finished) = client.subscribe(subscribe.clone()).await.unwrap();
        let (_, dropped) = client.subscribe(subscribe).await.unwrap();
        server.fake.until(partition, |log| log.fetching == 2).await;
        drop(dropped);
        server.fake.until(partition, |log| log.fetching == 1).await;
        finished.send.finish().await.unwrap();
        server.fake.until(partition, |log| log.fetching == 0).await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_reader_that_stalls_holds_up_nobody_else() {
    for transport in BOTH {
        // A read budget that one stalled reader could use up.
        let server = Server::with(|options| {
            options.read_budget_bytes = 1 << 20;
            // Nobody is ended for standing still: what others need is there all the same.
            options.stall_timeout = std::time::Duration::from_hours(1);
        });
        let partition = server.topic("t").await;
        server.fake.change(partition, |log| (0..400).for_each(|_| log.append(1_000)));
        let client = server.client(transport).await;
        let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
        let mut stalled = Vec::new();
        for _ in 0..3 {
            stalled.push(client.subscribe(subscribe.clone()).await.unwrap());
        }
        // A client's windows are its own: who stalls uses another connection than who reads.
        let other = server.client(transport).await;
        let (_, mut stream) = other.subscribe(subscribe).await.unwrap();
        let mut reader = Reader::default();
        caught_up(&mut reader, &mut stream).await;
        assert_eq!(reader.next, 400_000);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_subscription_takes_no_further_frames() {
    let server = Server::start();
    let partition = server.topic("t").await;
    let client = server.client(BOTH[0]).await;
    let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
    let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
    let produce = v1::Produce::default();
    within(stream.send.send(FrameKind::Produce, &produce, &[Bytes::new()])).await.unwrap();
    let frame = drain(&mut Reader::default(), &mut stream).await;
    let error = match frame.kind {
        FrameKind::CaughtUp => receive(&mut stream).await,
        _ => frame,
    };
    assert_eq!(error.kind, FrameKind::Error);
    server.stop().await;
}

#[tokio::test]
async fn caught_up_is_not_said_on_the_word_of_a_replica_that_is_behind() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| {
        (0..10).for_each(|_| log.append(10));
        log.heard = Some(Offset(50));
    });
    let client = server.client(BOTH[0]).await;
    let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
    let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
    let mut reader = Reader::default();
    while reader.next < 50 {
        reader.take(receive(&mut stream).await);
    }
    // Asked when it was opened, and at the replica's end; then it waits for the replica.
    server.fake.until(partition, |log| log.ends_asked == 2 && log.fetching == 1).await;
    server.fake.change(partition, |log| log.heard = None);
    let frame = drain(&mut reader, &mut stream).await;
    let caught_up: v1::CaughtUp = frame.decode(FrameKind::CaughtUp).unwrap();
    assert_eq!((caught_up.offset, reader.next), (100, 100));
    // A replica that is further behind than the reader knows.
    server.fake.change(partition, |log| {
        log.append(10);
        log.heard = Some(Offset(100));
    });
    server.fake.change(partition, |log| log.heard = None);
    caught_up_at(&mut reader, &mut stream, 110).await;
    server.stop().await;
}

async fn caught_up_at(reader: &mut Reader, stream: &mut Stream, offset: u64) {
    caught_up(reader, stream).await;
    assert_eq!(reader.next, offset);
}

#[tokio::test]
async fn who_stays_at_the_end_costs_the_leader_one_question() {
    let server = Server::start();
    let partition = server.topic("t").await;
    let client = server.client(BOTH[1]).await;
    let subscribe = v1::Subscribe { topic: by_id(partition), ..v1::Subscribe::default() };
    let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
    let mut reader = Reader::default();
    caught_up_at(&mut reader, &mut stream, 0).await;
    let asked = server.fake.change(partition, |log| log.ends_asked);
    for round in 1..=20 {
        server.fake.change(partition, |log| log.append(10));
        caught_up_at(&mut reader, &mut stream, 10 * round).await;
    }
    assert_eq!(server.fake.change(partition, |log| log.ends_asked), asked);
    server.stop().await;
}

#[tokio::test]
async fn committed_readers_have_caught_up_at_the_last_stable_offset() {
    let server = Server::start();
    let partition = server.topic("t").await;
    server.fake.change(partition, |log| {
        (0..10).for_each(|_| log.append(10));
        log.last_stable = Some(Offset(70));
    });
    let client = server.client(BOTH[0]).await;
    let isolation = v1::Isolation::ReadCommitted.into();
    let subscribe = v1::Subscribe { topic: by_id(partition), isolation, ..v1::Subscribe::default() };
    let (_, mut stream) = client.subscribe(subscribe).await.unwrap();
    let mut reader = Reader::default();
    let frame = drain(&mut reader, &mut stream).await;
    let caught_up: v1::CaughtUp = frame.decode(FrameKind::CaughtUp).unwrap();
    assert_eq!((caught_up.offset, caught_up.high_watermark, reader.next), (70, 100, 70));
    server.stop().await;
}
