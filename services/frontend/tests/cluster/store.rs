//! Stores that are played: the logs are one for all of them, and only who leads may append.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidelog_format::batch;
use tidelog_model::{
    ErrorCode, NodeId, Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition,
};
use tidelog_peer::{
    Ack, AckSender, CreateTopic, Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec,
    PartitionDescription, PartitionStore, Produced, StoreError, TopicInfo, TopicRef, Topics,
};
use tokio::sync::watch;

/// One partition's records, as every replica has them.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) leader: Option<NodeId>,
    /// Each batch with its producer and its sequence, -1 for neither.
    pub(crate) batches: Vec<(i64, i32, Bytes)>,
}

impl Log {
    fn append(&mut self, node: NodeId, bytes: Bytes) -> Result<Produced, StoreError> {
        if self.leader != Some(node) {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        }
        let header = batch::header(&bytes).unwrap();
        let (producer, sequence) = (header.producer_id.0, header.base_sequence.0);
        let mut offset = self.batches.len();
        if header.is_idempotent() {
            let known = |(of, number, _): &(i64, i32, Bytes)| (*of, *number) == (producer, sequence);
            let expected = self.batches.iter().filter(|(of, ..)| *of == producer).count();
            match self.batches.iter().position(known) {
                Some(first) => offset = first,
                None if sequence as usize == expected => {}
                None if expected == 0 => return Err(ErrorCode::UnknownProducerId.into()),
                None => return Err(ErrorCode::OutOfOrderSequence.into()),
            }
        }
        if offset == self.batches.len() {
            self.batches.push((producer, sequence, bytes));
        }
        let base_offset = Offset(offset as u64);
        Ok(Produced { base_offset, append_time: None, log_start: Offset(0) })
    }

    fn marks(&self) -> Marks {
        let end = Offset(self.batches.len() as u64);
        Marks { last_stable: end, high_watermark: end, log_end: end, ..Marks::default() }
    }
}

/// What all stores have, and what they were asked.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    by_partition: Mutex<HashMap<TopicPartition, Log>>,
    asked: Mutex<Vec<(NodeId, Asked)>>,
    changed: watch::Sender<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Fetch { follower: bool },
    Offload,
    Evict,
    Producer,
    Topics,
}

impl Logs {
    pub(crate) fn with<T>(&self, id: TopicPartition, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(self.by_partition.lock().entry(id).or_default());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Everything that was appended, all partitions together.
    pub(crate) fn total(&self) -> usize {
        self.by_partition.lock().values().map(|log| log.batches.len()).sum()
    }

    pub(crate) fn asked(&self) -> Vec<(NodeId, Asked)> {
        self.asked.lock().clone()
    }

    pub(crate) async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        super::world::within(async {
            while !wanted(self) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}

/// How a store does what it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Well,
    /// Batches are appended and never acknowledged.
    Mute,
    /// Batches are neither appended nor answered.
    Deaf,
    /// Nothing is answered at all.
    Hanging,
    /// Everything but batches is refused with this.
    Refusing(ErrorCode),
}

/// Does what the test's controller would.
#[async_trait]
pub(crate) trait Controls: Send + Sync {
    async fn create(&self, node: NodeId, request: CreateTopic) -> Result<TopicInfo, StoreError>;
    async fn delete(&self, node: NodeId, topic: TopicRef) -> Result<(), StoreError>;
}

pub(crate) struct Played {
    pub(crate) node: NodeId,
    pub(crate) logs: Arc<Logs>,
    pub(crate) controls: Mutex<Option<Arc<dyn Controls>>>,
    pub(crate) manner: Mutex<Manner>,
    /// What the next batches are refused with, from the end.
    pub(crate) refusals: Mutex<Vec<ErrorCode>>,
    /// With the answer that is held back, if there is one.
    unanswered: Mutex<Vec<(AckSender, Option<Produced>)>>,
}

impl Played {
    pub(crate) fn new(node: NodeId, logs: Arc<Logs>) -> Arc<Self> {
        let (controls, manner) = <(Mutex<_>, Mutex<_>)>::default();
        let (refusals, unanswered) = <(Mutex<_>, Mutex<_>)>::default();
        Arc::new(Self { node, logs, controls, manner, refusals, unanswered })
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.lock().len()
    }

    /// Acknowledges what was appended and not acknowledged, and does well from now on.
    pub(crate) fn speak(&self) {
        let mut unanswered = self.unanswered.lock();
        self.behave(Manner::Well);
        for (sender, appended) in unanswered.drain(..) {
            sender.send(Ok(appended.expect("a batch that was appended")));
        }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *self.manner.lock() = manner;
    }

    fn asked(&self, asked: Asked) -> Result<(), StoreError> {
        self.logs.asked.lock().push((self.node, asked));
        self.logs.changed.send_modify(|count| *count += 1);
        match *self.manner.lock() {
            Manner::Refusing(code) => Err(code.into()),
            _ => Ok(()),
        }
    }

    fn controls(&self) -> Result<Arc<dyn Controls>, StoreError> {
        self.asked(Asked::Topics)?;
        self.controls.lock().clone().ok_or_else(|| ErrorCode::NotController.into())
    }

    fn led<T>(&self, id: TopicPartition, read: impl FnOnce(&mut Log) -> T) -> Result<T, StoreError> {
        self.logs.with(id, |log| {
            let is_led = log.leader == Some(self.node);
            is_led.then(|| read(log)).ok_or_else(|| ErrorCode::NotLeaderOrFollower.into())
        })
    }
}

#[async_trait]
impl PartitionStore for Played {
    async fn produce(&self, id: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        if let Some(code) = self.refusals.lock().pop() {
            return Err(code.into());
        }
        let mut unanswered = self.unanswered.lock();
        let manner = *self.manner.lock();
        let appended = match manner {
            Manner::Deaf | Manner::Hanging => None,
            _ => Some(self.logs.with(id, |log| log.append(self.node, batch.freeze()))?),
        };
        match (manner, appended) {
            (Manner::Mute, appended) | (_, appended @ None) => {
                let (sender, ack) = Ack::pending();
                unanswered.push((sender, appended));
                self.logs.changed.send_modify(|count| *count += 1);
                Ok(ack)
            }
            (_, Some(produced)) => Ok(Ack::ready(Ok(produced))),
        }
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        self.asked(Asked::Fetch { follower: fetch.follower })?;
        if *self.manner.lock() == Manner::Hanging {
            std::future::pending::<()>().await;
        }
        self.logs.with(fetch.partition, |log| {
            if !fetch.follower && log.leader != Some(self.node) {
                return Err(ErrorCode::NotLeaderOrFollower.into());
            }
            let marks = log.marks();
            let from = fetch.from.0 as usize;
            let batches = log.batches.iter().skip(from).map(|(.., bytes)| bytes.clone()).collect::<Vec<_>>();
            if batches.is_empty() {
                return Ok(Fetched::Nothing { marks });
            }
            Ok(Fetched::Batches { batches, marks })
        })
    }

    async fn list_offset(
        &self,
        id: TopicPartition,
        _: OffsetSpec,
        _: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        self.led(id, |log| Some(ListedOffset { offset: log.marks().log_end, timestamp: TimestampMs::NONE }))
    }

    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError> {
        let marks = self.led(partition, |log| log.marks())?;
        Ok(PartitionDescription {
            partition,
            marks,
            local_bytes: 0,
            bucket_bytes: 0,
            segments: 0,
            untiered_bytes: 0,
            untiered_ms: 0,
        })
    }

    async fn offload(&self, _: TopicId) -> Result<(), StoreError> {
        self.asked(Asked::Offload)
    }

    async fn evict(&self, _: TopicId) -> Result<(), StoreError> {
        self.asked(Asked::Evict)
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        self.asked(Asked::Producer)?;
        Ok((ProducerId(i64::from(self.node.0)), ProducerEpoch(0)))
    }
}

#[async_trait]
impl Topics for Played {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        self.controls()?.create(self.node, request).await
    }

    async fn alter(&self, _: TopicRef, _: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        Err(ErrorCode::InvalidRequest.into())
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        self.controls()?.delete(self.node, topic).await
    }

    async fn get(&self, _: TopicRef) -> Result<TopicInfo, StoreError> {
        Err(ErrorCode::InvalidRequest.into())
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        Err(ErrorCode::InvalidRequest.into())
    }
}
