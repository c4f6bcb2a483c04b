//! The store as frontends see it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::BytesMut;
use tidelog_model::{ClusterId, NodeId, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tidelog_peer::{
    Ack, Fetch, Fetched, Isolation, ListedOffset, OffsetSpec, PartitionDescription, PartitionStore,
    StoreError, TopicRef,
};
use tidelog_runtime::crash_point;

use crate::journal_sink::{self, JournalSink};
use crate::node::Node;
use crate::{fetch, produce};

/// The partitions of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) node: Arc<Node>,
}

impl Store {
    pub fn cluster(&self) -> ClusterId {
        self.node.identity.cluster.id
    }

    pub fn node(&self) -> NodeId {
        self.node.identity.leader.node
    }

    /// Takes nothing more, waits until what was taken is durable, and closes the journal. To be called
    /// after the supervisor has stopped the store's tasks.
    pub async fn close(&self) {
        if let Err(error) = self.node.journal.close().await {
            tracing::warn!(%error, "the journal was not closed properly; the next start recovers it");
        }
        self.node.tier.close().await;
    }
}

async fn append(node: &Node, id: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
    let partition = node.catalog.partition(id)?;
    let now = node.clock.now();
    let validated = produce::validate(batch, &partition.topic.config(), now).await?;
    let bytes = validated.bytes.len();
    partition.check_leads()?;
    let room = JournalSink::reserve(&node.journal, id, bytes, now);
    let mut sink = journal_sink::in_time(node.room_timeout, &node.journal, id, room).await?;
    partition.append(validated, now, &mut sink)
}

#[async_trait]
impl PartitionStore for Store {
    async fn produce(&self, id: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        let node = &self.node;
        let bytes = batch.len() as u64;
        let appended = append(node, id, batch).await;
        if appended.is_ok() {
            node.metrics.appended_batches.inc();
            node.metrics.appended_bytes.inc_by(bytes);
        } else {
            node.metrics.refused_batches.inc();
        }
        appended
    }

    async fn fetch(&self, request: Fetch) -> Result<Fetched, StoreError> {
        fetch::fetch(&self.node, request).await
    }

    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        fetch::list_offset(&self.node, partition, spec, isolation).await
    }

    async fn describe(&self, id: TopicPartition) -> Result<PartitionDescription, StoreError> {
        let partition = self.node.catalog.partition(id)?;
        partition.check_leads()?;
        let local = self.node.journal.local(id);
        let marks = partition.marks(local.as_ref().map(|local| local.start));
        let pointer = partition.pointer();
        let oldest = local.as_ref().and_then(|local| local.oldest_uncovered_append);
        Ok(PartitionDescription {
            partition: id,
            marks,
            local_bytes: local.as_ref().map_or(0, |local| local.bytes),
            bucket_bytes: pointer.map_or(0, |pointer| pointer.bytes),
            segments: pointer.map_or(0, |pointer| pointer.segments),
            untiered_bytes: local.as_ref().map_or(0, |local| local.uncovered_bytes),
            untiered_ms: oldest.map_or(0, |oldest| self.node.clock.now().since_ms(oldest)),
        })
    }

    async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        let topic = self.node.catalog.topic(&TopicRef::Id(topic))?;
        self.node.offloader.offload(&self.node.catalog.partitions_of(&topic)).await
    }

    async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        let topic = self.node.catalog.topic(&TopicRef::Id(topic))?;
        crash_point!("store::evict-before");
        for partition in self.node.catalog.partitions_of(&topic) {
            if let Some(pointer) = partition.pointer() {
                self.node.journal.evict(partition.id, pointer.tiered_end);
            }
        }
        crash_point!("store::evict-after");
        Ok(())
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        Ok((self.node.producer_ids.next().await?, ProducerEpoch(0)))
    }
}
