use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{
    Ack, Attempt, EpochStart, Instance, Instant, Lead, Marks, Pushed, Refusal, RefusalReason, Span,
};
use tokio::sync::mpsc;

use super::{Pair, instance, nobody, partition, within};
use crate::convert::replication;
use crate::{Followers, LinkError, ReplicationLane, Services, ToFollower, ToLeader};

/// Hands every lane to the test.
struct Store(mpsc::UnboundedSender<ReplicationLane>);

#[async_trait]
impl Followers for Store {
    fn instance(&self) -> Instance {
        instance(2)
    }

    async fn follow(&self, lane: ReplicationLane) {
        self.0.send(lane).unwrap();
    }
}

fn start() -> (mpsc::UnboundedReceiver<ReplicationLane>, Pair) {
    let (sender, lanes) = mpsc::unbounded_channel();
    (lanes, Pair::start(Services { followers: Some(Arc::new(Store(sender))), ..nobody() }))
}

fn lead() -> Lead {
    Lead {
        epoch: LeaderEpoch(5),
        leader: instance(1),
        attempt: Attempt(2),
        history: vec![
            EpochStart { epoch: LeaderEpoch(1), start: Offset(0) },
            EpochStart { epoch: LeaderEpoch(5), start: Offset(90) },
        ],
        marks: Marks { log_start: Offset(1), local_start: Offset(10), tiered_end: Offset(20) },
        high_watermark: Offset(80),
        log_end: Offset(90),
        unclean_epoch: Some(LeaderEpoch(4)),
        sent_at: Instant(77),
    }
}

fn pushed(base: u64, span: bool) -> Pushed {
    let span = span.then_some(Span {
        epoch: LeaderEpoch(4),
        base: Offset(base),
        next: Offset(base + 10),
        crc: 0xdead_beef,
    });
    Pushed {
        epoch: LeaderEpoch(5),
        leader: instance(1),
        attempt: Attempt(2),
        sent_at: Instant(78),
        high_watermark: Offset(80),
        log_start: Offset(1),
        tiered_end: Offset(20),
        prev_epoch: Some(LeaderEpoch(4)),
        span,
    }
}

#[tokio::test]
async fn messages_and_batches_arrive_in_order() {
    let (mut lanes, pair) = start();
    let (mut send, mut recv) = within(pair.remote.replicate(instance(1))).await.unwrap();
    assert_eq!(recv.follower(), instance(2));
    let mut lane = within(lanes.recv()).await.unwrap();
    assert_eq!(lane.leader, instance(1));

    let batch = |n: u8| Bytes::from(vec![n; 700_000]);
    let mut sent = vec![ToFollower::Lead(partition(0), lead())];
    for n in 0..20 {
        let push = pushed(u64::from(n) * 10, true);
        sent.push(ToFollower::Push(partition(u32::from(n)), push, Some(batch(n))));
    }
    sent.push(ToFollower::Push(partition(1), pushed(0, false), None));
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        send.send(sent).await.unwrap();
        send
    });
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let (messages, permit) = within(lane.from.recv()).await.unwrap().unwrap();
        assert!(permit.bytes() > 0);
        received.extend(messages);
    }
    assert_eq!(received, expected);
    let send = within(sending).await.unwrap();

    let ack = Ack {
        from: instance(2),
        epoch: LeaderEpoch(5),
        attempt: Attempt(2),
        answers_lead: true,
        log_end: Offset(90),
        durable: Offset(80),
        echo: Instant(78),
    };
    let refusal =
        |reason| Refusal { from: instance(2), refused: LeaderEpoch(5), attempt: Attempt(2), reason };
    let mut answers = vec![ToLeader::Ack(partition(3), ack)];
    for reason in [
        RefusalReason::Superseded { epoch: LeaderEpoch(6) },
        RefusalReason::NotFollowing,
        RefusalReason::Gap { log_end: Offset(7) },
        RefusalReason::Stopped,
    ] {
        answers.push(ToLeader::Refusal(partition(3), refusal(reason)));
    }
    within(lane.to.send(&answers)).await.unwrap();
    assert_eq!(within(recv.recv()).await.unwrap(), answers);

    // A leader that goes away is seen at once.
    drop((send, recv));
    assert!(!matches!(within(lane.from.recv()).await, Ok(Some(_))));
    drop(lane);
    pair.stop().await;
}

#[tokio::test]
async fn a_process_that_stores_nothing_follows_nobody() {
    let pair = Pair::start(nobody());
    let error = within(pair.remote.replicate(instance(1))).await.unwrap_err();
    assert!(matches!(error, LinkError::Refused(_)), "{error}");
    pair.stop().await;
}

#[test]
fn nobody_speaks_for_another() {
    let message = replication::lead_message(&lead());
    assert_eq!(replication::lead(message, instance(9)).unwrap().leader, instance(9));
}

proptest! {
    #[test]
    fn spans_that_cannot_be_are_refused(base in 0_u64..100, next in 0_u64..100, bytes in 0_u32..3) {
        let mut push = pushed(0, true);
        push.span = push.span.map(|span| Span { base: Offset(base), next: Offset(next), ..span });
        let message = replication::push_message(&push, bytes);
        let read = replication::pushed(&message, instance(1));
        prop_assert_eq!(read.is_ok(), next > base && bytes > 0);
        if let Ok((back, length)) = read {
            prop_assert_eq!((back, length), (push, bytes));
        }
    }
}
