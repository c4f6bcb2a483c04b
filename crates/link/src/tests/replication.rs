use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;
use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Attempt, EpochStart, HISTORY_SENT_MAX, Instance, Lead, Refusal, RefusalReason, Span};
use tokio::sync::mpsc;

use super::values::{ack, beat, lead, push};
use super::{MIB, Pair, instance, nobody, partition, within};
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

#[tokio::test]
async fn messages_and_batches_arrive_in_order() {
    let (mut lanes, pair) = start();
    let (mut send, mut recv) = within(pair.remote.replicate(instance(1))).await.unwrap();
    assert_eq!(recv.follower(), instance(2));
    let mut lane = within(lanes.recv()).await.unwrap();
    assert_eq!(lane.leader, instance(1));

    let batch = |n: u8| Bytes::from(vec![n; 700_000]);
    let mut sent = vec![ToFollower::Lead(partition(0), lead(2))];
    for n in 0..20 {
        let push = push(2, u64::from(n) * 10);
        sent.push(ToFollower::Push(partition(u32::from(n)), push, Some(batch(n))));
    }
    sent.push(ToFollower::Push(partition(1), beat(2), None));
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

    let refusal =
        |reason| Refusal { from: instance(2), refused: LeaderEpoch(5), attempt: Attempt(2), reason };
    let mut answers = vec![ToLeader::Ack(partition(3), ack(2, true, 80))];
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

/// What is too much for one frame goes in several, whatever comes in which order.
#[tokio::test]
async fn large_batches_and_long_histories_fit_into_frames() {
    let (mut lanes, pair) = start();
    let (mut send, _recv) = within(pair.remote.replicate(instance(1))).await.unwrap();
    let mut lane = within(lanes.recv()).await.unwrap();
    let epochs = 1..=HISTORY_SENT_MAX as u32;
    let history: Vec<_> = epochs
        .map(|epoch| EpochStart { epoch: LeaderEpoch(u32::MAX - 2000 + epoch), start: Offset(u64::MAX) })
        .collect();
    let mut sent = Vec::new();
    for (n, bytes) in (0..).zip([3 * MIB, 32 * MIB, 1000]) {
        sent.push(ToFollower::Push(partition(n), push(2, 0), Some(Bytes::from(vec![n as u8; bytes]))));
    }
    for n in 0..500 {
        sent.push(ToFollower::Lead(partition(n), Lead { history: history.clone(), ..lead(2) }));
    }
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        send.send(sent).await.unwrap();
        send
    });
    let mut received = Vec::new();
    while received.len() < expected.len() {
        received.extend(within(lane.from.recv()).await.unwrap().unwrap().0);
    }
    assert!(received == expected);
    drop(within(sending).await.unwrap());
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
    let message = replication::lead_message(&lead(2));
    assert_eq!(replication::lead(message, instance(9)).unwrap().leader, instance(9));
}

proptest! {
    #[test]
    fn spans_that_cannot_be_are_refused(base in 0_u64..100, next in 0_u64..100, bytes in 0_u32..3) {
        let mut push = push(2, 0);
        push.span = push.span.map(|span| Span { base: Offset(base), next: Offset(next), ..span });
        let message = replication::push_message(&push, bytes);
        let read = replication::pushed(&message, instance(1));
        prop_assert_eq!(read.is_ok(), next > base && bytes > 0);
        if let Ok((back, length)) = read {
            prop_assert_eq!((back, length), (push, bytes));
        }
    }
}
