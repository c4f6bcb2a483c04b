//! What goes in comes out.

use bytes::Bytes;
use futures::FutureExt;
use tidelog_proto::v1;
use tokio::time::timeout;

use super::{BOTH, SHORT, Server, head, streams, within};
use crate::{CloseCode, FrameKind, WireError};

fn pattern(bytes: usize) -> Bytes {
    (0..bytes).map(|i| (i % 251) as u8).collect::<Vec<_>>().into()
}

fn produce(sequence: u64) -> v1::Produce {
    v1::Produce { topic_id: Bytes::from_static(&[1; 16]), partition: 3, sequence }
}

#[tokio::test]
async fn frames_of_every_size_arrive_in_order() {
    const SIZES: [usize; 9] = [0, 1, 100, 2048, 2049, 16 * 1024, 65_537, 1 << 20, 5_000_000];
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) = streams(&client, &accepted, |stream| {
            stream.send.push(FrameKind::OpenProducer, &v1::OpenProducer::default(), &[]);
        })
        .await;
        let sending = async {
            for (sequence, size) in SIZES.into_iter().enumerate() {
                // In three pieces, as a caller may hold them.
                let payload = pattern(size);
                let (a, b) = (size / 3, size / 2);
                let pieces = [payload.slice(..a), payload.slice(a..b), payload.slice(b..)];
                ours.send.send(FrameKind::Produce, &produce(sequence as u64), &pieces).await.unwrap();
            }
            ours.send.finish().await.unwrap();
        };
        let receiving = async {
            assert_eq!(theirs.recv.expect().await.unwrap().kind, FrameKind::OpenProducer);
            for (sequence, size) in SIZES.into_iter().enumerate() {
                let frame = theirs.recv.expect().await.unwrap();
                let header: v1::Produce = frame.decode(FrameKind::Produce).unwrap();
                assert_eq!(header, produce(sequence as u64));
                assert!(frame.payload == pattern(size), "payload of {size} bytes over {transport:?}");
            }
            assert!(theirs.recv.recv().await.unwrap().is_none());
        };
        within(async { tokio::join!(sending, receiving) }).await;
        theirs.send.send(FrameKind::ProduceAck, &v1::ProduceAck::default(), &[]).await.unwrap();
        theirs.send.finish().await.unwrap();
        let ack = within(ours.recv.expect()).await.unwrap();
        ack.decode::<v1::ProduceAck>(FrameKind::ProduceAck).unwrap();
        assert!(within(ours.recv.recv()).await.unwrap().is_none());
        assert_eq!(server.budget.free_bytes(), server.budget.total_bytes());
        server.stop().await;
    }
}

#[tokio::test]
async fn dropping_a_receive_or_a_flush_half_way_loses_nothing() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) = streams(&client, &accepted, |stream| {
            stream.send.push(FrameKind::OpenProducer, &v1::OpenProducer::default(), &[]);
        })
        .await;
        let payload = pattern(3_000_000);
        for sequence in 0..8 {
            ours.send.push(FrameKind::Produce, &produce(sequence), std::slice::from_ref(&payload));
        }
        let mut next = 0;
        let mut sent = false;
        within(async {
            while next < 8 {
                // Polled once and dropped, again and again.
                if !sent {
                    sent = matches!(ours.send.flush().now_or_never(), Some(Ok(())));
                }
                if let Some(frame) = theirs.recv.recv().now_or_never() {
                    let frame = frame.unwrap().unwrap();
                    if frame.kind == FrameKind::OpenProducer {
                        continue;
                    }
                    let header: v1::Produce = frame.decode(FrameKind::Produce).unwrap();
                    assert_eq!(header.sequence, next);
                    assert!(frame.payload == payload);
                    next += 1;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        server.stop().await;
    }
}

#[tokio::test]
async fn a_claim_of_two_gigabytes_ends_its_stream_alone() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) =
            streams(&client, &accepted, |stream| stream.send.push_raw(&head(0x22, 20, 2 << 30))).await;
        let error = within(theirs.recv.recv()).await.unwrap_err();
        assert!(matches!(error, WireError::FrameTooLarge { claimed: 2_147_483_648, .. }), "{error}");
        assert_eq!(server.budget.free_bytes(), server.budget.total_bytes());
        let (error, told) = (error.to_error_frame(), error.close_code());
        let (answer, ()) = tokio::join!(ours.recv.expect(), theirs.fail(&error, told));
        let frame = answer.unwrap();
        let error = frame.decode::<v1::Request>(FrameKind::Request).unwrap_err();
        let WireError::Remote(error) = error else { panic!("{error}") };
        assert_eq!(error.code, 1006);
        assert!(matches!(error.detail, Some(v1::error::Detail::Size(_))));

        // The connection goes on.
        let (mut ours, mut theirs) = streams(&client, &accepted, |stream| {
            stream.send.push(FrameKind::Request, &v1::Request::default(), &[]);
        })
        .await;
        within(theirs.recv.expect()).await.unwrap();
        within(ours.send.finish()).await.unwrap();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_client_that_writes_on_after_a_failed_stream_learns_the_code() {
    let mut server = Server::start();
    let (client, accepted) = server.pair(BOTH[0]).await;
    let (mut ours, mut theirs) =
        streams(&client, &accepted, |stream| stream.send.push_raw(&head(0x22, 20, 2 << 30))).await;
    let error = within(theirs.recv.recv()).await.unwrap_err();
    theirs.recv.stop(error.close_code());
    let chunk = Bytes::from(vec![0; 1 << 20]);
    let error = within(async {
        loop {
            let chunk = std::slice::from_ref(&chunk);
            if let Err(error) = ours.send.send(FrameKind::Produce, &produce(0), chunk).await {
                return error;
            }
        }
    })
    .await;
    assert!(matches!(error, WireError::Reset(CloseCode::FRAME_TOO_LARGE)), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn unknown_optional_kinds_are_skipped_and_others_end_the_stream() {
    for transport in BOTH {
        let mut server = Server::start();
        let (client, accepted) = server.pair(transport).await;
        let (_ours, mut theirs) = streams(&client, &accepted, |stream| {
            stream.send.push_raw(&head(0x99, 3, 4));
            stream.send.push_raw(b"abcdefg");
            stream.send.push(FrameKind::Request, &v1::Request::default(), &[]);
            stream.send.push_raw(&head(0x7e, 0, 0));
        })
        .await;
        assert_eq!(within(theirs.recv.expect()).await.unwrap().kind, FrameKind::Request);
        let error = within(theirs.recv.recv()).await.unwrap_err();
        assert!(matches!(error, WireError::Unexpected { found: 0x7e }), "{error}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_frame_that_is_begun_and_not_finished_times_out() {
    for transport in BOTH {
        for begun in [1, 8, 12] {
            let mut server = Server::with(|config| config.limits.frames.frame_timeout = SHORT);
            let (client, accepted) = server.pair(transport).await;
            let mut bytes = head(0x22, 10, 10).to_vec();
            bytes.extend([0; 10]);
            let (_ours, mut theirs) =
                streams(&client, &accepted, |stream| stream.send.push_raw(&bytes[..begun])).await;
            let error = within(theirs.recv.recv()).await.unwrap_err();
            assert!(matches!(error, WireError::FrameTimeout), "{error}");
            server.stop().await;
        }
    }
}

#[tokio::test]
async fn a_header_that_is_no_message_is_malformed() {
    let mut server = Server::start();
    let (client, accepted) = server.pair(BOTH[0]).await;
    let (_ours, mut theirs) = streams(&client, &accepted, |stream| {
        stream.send.push_raw(&head(0x10, 2, 0));
        stream.send.push_raw(&[0x0a, 0xff]);
    })
    .await;
    let frame = within(theirs.recv.expect()).await.unwrap();
    let error = frame.decode::<v1::Request>(FrameKind::Request).unwrap_err();
    assert!(matches!(error, WireError::Malformed(_)));
    assert_eq!(error.close_code(), CloseCode::MALFORMED_FRAME);
    server.stop().await;
}

#[tokio::test]
async fn frames_wait_for_the_budget_and_no_longer() {
    for transport in BOTH {
        let mut server = Server::with(|config| config.budget = crate::ByteBudget::new(1 << 20));
        let (client, accepted) = server.pair(transport).await;
        let (mut ours, mut theirs) = streams(&client, &accepted, |stream| {
            stream.send.push(FrameKind::OpenProducer, &v1::OpenProducer::default(), &[]);
        })
        .await;
        drop(within(theirs.recv.expect()).await.unwrap());
        let payload = pattern(700_000);
        for sequence in 0..2 {
            ours.send.push(FrameKind::Produce, &produce(sequence), std::slice::from_ref(&payload));
        }
        let sending = async {
            ours.send.flush().await.unwrap();
            ours.send.finish().await.unwrap();
        };
        let receiving = async {
            let first = theirs.recv.expect().await.unwrap();
            assert!(timeout(SHORT, theirs.recv.recv()).await.is_err(), "there was no room for a second");
            drop(first);
            assert!(theirs.recv.expect().await.unwrap().payload == payload);
        };
        within(async { tokio::join!(sending, receiving) }).await;
        server.stop().await;
    }
}
