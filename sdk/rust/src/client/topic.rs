//! What a client has to know of a topic to write to it or read from it.

use std::sync::Arc;

use tidelog_model::{PartitionId, TopicId};
use tidelog_proto::v1;

use super::call::{Repeat, ask};
use super::link::Link;
use crate::Error;

const MAX_MESSAGE_BYTES: &str = "max.message.bytes";

/// A topic as it was when it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
    /// The largest batch that it takes.
    pub(crate) max_message_bytes: usize,
}

impl Topic {
    pub(crate) async fn find(link: &Link, name: &str, within: std::time::Duration) -> Result<Self, Error> {
        let request = v1::DescribeTopicRequest { topic: Some(by_name(name)) };
        let answer = ask!(link, DescribeTopic, request, Repeat::Always, within)?;
        let topic = answer.topic.ok_or(Error::Protocol("a description without a topic"))?;
        let max_message_bytes = answer
            .config
            .iter()
            .find(|entry| entry.name == MAX_MESSAGE_BYTES)
            .and_then(|entry| entry.value.parse().ok())
            .unwrap_or(tidelog_model::TopicConfig::default().max_message_bytes);
        if topic.partitions == 0 {
            return Err(Error::Protocol("a topic without partitions"));
        }
        Ok(Self {
            id: topic_id(&topic.id)?,
            name: topic.name.into(),
            partitions: topic.partitions,
            max_message_bytes,
        })
    }

    /// The partition, if the topic has it.
    pub(crate) fn partition(&self, partition: PartitionId) -> Result<PartitionId, Error> {
        if partition.0 < self.partitions {
            return Ok(partition);
        }
        Err(Error::NoSuchPartition {
            topic: self.name.to_string(),
            partition: partition.0,
            partitions: self.partitions,
        })
    }
}

pub(crate) fn by_name(name: &str) -> v1::TopicRef {
    v1::TopicRef { by: Some(v1::topic_ref::By::Name(name.to_owned())) }
}

pub(crate) fn by_id(id: TopicId) -> v1::TopicRef {
    v1::TopicRef { by: Some(v1::topic_ref::By::Id(id.as_bytes().to_vec().into())) }
}

pub(crate) fn topic_id(bytes: &[u8]) -> Result<TopicId, Error> {
    bytes.try_into().map(TopicId::from_bytes).map_err(|_| Error::Protocol("an id that is not 16 bytes long"))
}
