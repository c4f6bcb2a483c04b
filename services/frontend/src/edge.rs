//! What every connection of a frontend works with.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_model::{ErrorCode, PartitionId, SharedClock, TopicId, TopicPartition};
use tidelog_peer::{ClusterAdmin, PartitionStore, StoreError, TopicInfo, TopicRef, Topics};
use tidelog_proto::v1;
use tidelog_runtime::CancellationToken;

use crate::metrics::FrontendMetrics;
use crate::subscription::Reads;
use crate::{ColdSource, FrontendOptions, error};

pub(crate) struct Edge {
    pub options: FrontendOptions,
    pub store: Arc<dyn PartitionStore>,
    pub topics: Arc<dyn Topics>,
    /// The cluster's controller; `None` in a process that is all there is.
    pub cluster: Option<Arc<dyn ClusterAdmin>>,
    pub cold: Arc<dyn ColdSource>,
    pub clock: SharedClock,
    pub metrics: FrontendMetrics,
    pub reads: Reads,
    /// `host:port` as clients are told.
    pub advertised: String,
    /// Set when the frontend drains: finish what was begun, begin nothing new.
    pub drain: CancellationToken,
}

impl Edge {
    pub(crate) async fn topic(&self, topic: Option<v1::TopicRef>) -> Result<TopicInfo, v1::Error> {
        self.topics.get(topic_ref(topic)?).await.map_err(error::of_store)
    }

    /// A partition that exists, by its topic's name or id.
    pub(crate) async fn partition(
        &self,
        topic: Option<v1::TopicRef>,
        partition: u32,
    ) -> Result<TopicPartition, v1::Error> {
        let topic = self.topic(topic).await?;
        if partition >= topic.partitions {
            let message = format!(
                "topic {} has no partition {partition}: it has {} of them, counted from 0",
                topic.name, topic.partitions
            );
            return Err(error::of(ErrorCode::UnknownTopicOrPartition, message));
        }
        Ok(TopicPartition::new(topic.id, PartitionId(partition)))
    }
}

pub(crate) fn topic_ref(topic: Option<v1::TopicRef>) -> Result<TopicRef, v1::Error> {
    match topic.and_then(|topic| topic.by) {
        Some(v1::topic_ref::By::Name(name)) => Ok(TopicRef::Name(name)),
        Some(v1::topic_ref::By::Id(id)) => Ok(TopicRef::Id(topic_id(&id).map_err(error::of_store)?)),
        None => Err(error::of(ErrorCode::InvalidRequest, "the request names no topic")),
    }
}

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, StoreError> {
    let id: [u8; 16] = bytes
        .try_into()
        .map_err(|_| StoreError::new(ErrorCode::InvalidRequest, "a topic id has 16 bytes"))?;
    Ok(TopicId::from_bytes(id))
}

pub(crate) fn id_bytes(id: TopicId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}
