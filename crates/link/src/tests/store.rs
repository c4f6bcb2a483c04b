use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidelog_model::{ErrorCode, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition};
use tidelog_peer::{
    Ack, Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec, PartitionDescription, PartitionStore,
    Produced, StoreError,
};
use tidelog_wire::ByteBudget;
use tokio::sync::Notify;

use super::{DEADLINE, MIB, Pair, nobody, partition, within};
use crate::Services;

const MARKS: Marks = Marks {
    log_start: Offset(1),
    local_start: Offset(2),
    tiered_end: Offset(3),
    last_stable: Offset(4),
    high_watermark: Offset(5),
    log_end: Offset(6),
};

/// Keeps batches in memory; partition 13 refuses, partition 99 never acknowledges.
#[derive(Debug, Default)]
struct Memory {
    batches: Mutex<HashMap<TopicPartition, Vec<Bytes>>>,
    arrived: Notify,
    unacknowledged: Mutex<Vec<tidelog_peer::AckSender>>,
}

#[async_trait]
impl PartitionStore for Memory {
    async fn produce(&self, id: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        if id == partition(13) {
            return Err(StoreError::new(ErrorCode::CorruptMessage, "bad luck"));
        }
        let mut batches = self.batches.lock();
        let log = batches.entry(id).or_default();
        log.push(batch.freeze());
        self.arrived.notify_waiters();
        if id == partition(99) {
            let (sender, ack) = Ack::pending();
            self.unacknowledged.lock().push(sender);
            return Ok(ack);
        }
        let base_offset = Offset(log.len() as u64 - 1);
        let append_time = Some(TimestampMs(5));
        Ok(Ack::ready(Ok(Produced { base_offset, append_time, log_start: Offset(1) })))
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        loop {
            let arrived = self.arrived.notified();
            let found: Vec<Bytes> = {
                let batches = self.batches.lock();
                let log = batches.get(&fetch.partition).map_or(&[][..], Vec::as_slice);
                let wanted = log.iter().skip(fetch.from.0 as usize);
                wanted.take(if fetch.max_bytes == 1 { 1 } else { 3 }).cloned().collect()
            };
            if !found.is_empty() {
                return Ok(Fetched::Batches { batches: found, marks: MARKS });
            }
            if fetch.max_wait.is_none() {
                return Ok(Fetched::Nothing { marks: MARKS });
            }
            arrived.await;
        }
    }

    async fn list_offset(
        &self,
        _: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        assert_eq!(isolation, Isolation::ReadCommitted);
        Ok(match spec {
            OffsetSpec::Start => Some(ListedOffset { offset: Offset(1), timestamp: TimestampMs::NONE }),
            OffsetSpec::End => None,
            OffsetSpec::Timestamp(timestamp) => Some(ListedOffset { offset: Offset(3), timestamp }),
        })
    }

    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError> {
        Ok(PartitionDescription {
            partition,
            marks: MARKS,
            local_bytes: 1,
            bucket_bytes: 2,
            segments: 3,
            untiered_bytes: 4,
            untiered_ms: 5,
        })
    }

    async fn offload(&self, _: TopicId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn evict(&self, _: TopicId) -> Result<(), StoreError> {
        Err(ErrorCode::ShuttingDown.into())
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        Ok((ProducerId(1 << 40), ProducerEpoch(7)))
    }
}

fn start() -> (Arc<Memory>, Pair) {
    let memory = Arc::<Memory>::default();
    let replies = ByteBudget::new(MIB);
    (memory.clone(), Pair::start(Services { partitions: Some(memory), replies, ..nobody() }))
}

fn fetch(from: u64, max_wait: Option<Duration>) -> Fetch {
    let isolation = Isolation::ReadUncommitted;
    Fetch {
        partition: partition(1),
        from: Offset(from),
        max_bytes: 64 * 1024,
        max_wait,
        isolation,
        follower: false,
    }
}

#[tokio::test]
async fn batches_keep_their_order_and_their_bytes() {
    let (memory, pair) = start();
    let batch = |n: u32| BytesMut::from(&n.to_be_bytes().repeat(20_000)[..]);
    let mut acks = Vec::new();
    for n in 0..200 {
        acks.push(pair.remote.produce(partition(n % 3), batch(n)).await.unwrap());
    }
    for (n, ack) in (0..).zip(acks) {
        let produced = within(ack).await.unwrap();
        let expected =
            Produced { base_offset: Offset(n / 3), append_time: Some(TimestampMs(5)), log_start: Offset(1) };
        assert_eq!(produced, expected);
    }
    let kept: Vec<_> = (0..200).filter(|n| n % 3 == 1).map(|n| batch(n).freeze()).collect();
    assert_eq!(memory.batches.lock()[&partition(1)], kept);
    pair.stop().await;
}

#[tokio::test]
async fn a_refused_batch_is_answered_in_its_turn() {
    let (_memory, pair) = start();
    let first = pair.remote.produce(partition(1), BytesMut::from(&b"one"[..])).await.unwrap();
    let refused = pair.remote.produce(partition(13), BytesMut::from(&b"two"[..])).await.unwrap();
    let last = pair.remote.produce(partition(1), BytesMut::from(&b"three"[..])).await.unwrap();
    within(first).await.unwrap();
    assert_eq!(within(refused).await.unwrap_err().code, ErrorCode::CorruptMessage);
    assert_eq!(within(last).await.unwrap().base_offset, Offset(1));
    pair.stop().await;
}

#[tokio::test]
async fn what_was_sent_to_a_store_that_goes_away_is_unknown() {
    let (memory, pair) = start();
    let arrived = memory.arrived.notified();
    let ack = pair.remote.produce(partition(99), BytesMut::from(&b"one"[..])).await.unwrap();
    within(arrived).await;
    let Pair { server, remote, supervisor } = pair;
    server.shut_down(DEADLINE).await;
    let unknown = within(ack).await.unwrap_err();
    assert!(!unknown.has_no_side_effects(), "{unknown}");
    let refused = match remote.produce(partition(99), BytesMut::from(&b"two"[..])).await {
        Ok(ack) => within(ack).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(refused.has_no_side_effects() && refused.is_retryable(), "{refused}");
    supervisor.shut_down(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn readers_wait_at_the_end_and_are_woken() {
    let (_memory, pair) = start();
    let nothing = within(pair.remote.fetch(fetch(0, None))).await.unwrap();
    assert!(matches!(nothing, Fetched::Nothing { marks: MARKS }));
    let waiting = pair.remote.fetch(fetch(0, Some(DEADLINE)));
    let producing = async {
        let ack = pair.remote.produce(partition(1), BytesMut::from(&b"one"[..])).await.unwrap();
        within(ack).await.unwrap();
    };
    let (found, ()) = tokio::join!(within(waiting), producing);
    let Fetched::Batches { batches, marks } = found.unwrap() else { panic!("no batches") };
    assert_eq!((batches, marks), (vec![Bytes::from_static(b"one")], MARKS));
    pair.stop().await;
}

#[tokio::test]
async fn a_thousand_waiting_readers_hold_up_nobody() {
    let (_memory, pair) = start();
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let remote = pair.remote.clone();
            tokio::spawn(async move { remote.fetch(fetch(0, Some(DEADLINE))).await })
        })
        .collect();
    within(pair.remote.describe(partition(1))).await.unwrap();
    let ack = pair.remote.produce(partition(1), BytesMut::from(&vec![7; 100_000][..])).await.unwrap();
    within(ack).await.unwrap();
    for waiting in waiting {
        let found = within(waiting).await.unwrap().unwrap();
        assert!(matches!(found, Fetched::Batches { batches, .. } if batches[0].len() == 100_000));
    }
    pair.stop().await;
}

#[tokio::test]
async fn every_other_call_says_what_the_store_said() {
    let (memory, pair) = start();
    let remote = &pair.remote;
    let list = |spec| remote.list_offset(partition(1), spec, Isolation::ReadCommitted);
    for spec in [OffsetSpec::Start, OffsetSpec::End, OffsetSpec::Timestamp(TimestampMs(44))] {
        let there = memory.list_offset(partition(1), spec, Isolation::ReadCommitted).await;
        assert_eq!(within(list(spec)).await, there);
    }
    assert_eq!(within(remote.describe(partition(2))).await, memory.describe(partition(2)).await);
    within(remote.offload(partition(1).topic)).await.unwrap();
    let refused = within(remote.evict(partition(1).topic)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ShuttingDown);
    assert_eq!(within(remote.init_producer()).await, Ok((ProducerId(1 << 40), ProducerEpoch(7))));
    pair.stop().await;
}
