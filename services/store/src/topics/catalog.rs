//! The topics and partitions of this node, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use tidelog_model::{ErrorCode, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition};
use tidelog_peer::{StoreError, TopicInfo, TopicRef};

use crate::partition::Partition;

/// A topic. Its settings may change, nothing else does.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) partitions: u32,
    pub(crate) created: TimestampMs,
    config: RwLock<Arc<TopicConfig>>,
}

impl Topic {
    pub(crate) fn new(
        id: TopicId,
        name: TopicName,
        partitions: u32,
        created: TimestampMs,
        config: TopicConfig,
    ) -> Arc<Self> {
        Arc::new(Self { id, name, partitions, created, config: RwLock::new(Arc::new(config)) })
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read())
    }

    pub(crate) fn set_config(&self, config: TopicConfig) {
        *self.config.write() = Arc::new(config);
    }

    pub(crate) fn info(&self) -> TopicInfo {
        TopicInfo {
            id: self.id,
            name: self.name.clone(),
            partitions: self.partitions,
            config: TopicConfig::clone(&self.config.read()),
            created: self.created,
        }
    }
}

/// Every topic that is visible and every partition that this node leads.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    topics: HashMap<TopicId, Arc<Topic>>,
    names: BTreeMap<TopicName, TopicId>,
    partitions: HashMap<TopicPartition, Arc<Partition>>,
}

impl Catalog {
    /// Makes a topic visible, with all its partitions.
    pub(crate) fn insert(&self, topic: Arc<Topic>, partitions: impl IntoIterator<Item = Arc<Partition>>) {
        let mut maps = self.maps.write();
        maps.partitions.extend(partitions.into_iter().map(|partition| (partition.id, partition)));
        maps.names.insert(topic.name.clone(), topic.id);
        maps.topics.insert(topic.id, topic);
    }

    /// Takes a topic out and returns its partitions.
    pub(crate) fn remove(&self, topic: TopicId) -> Vec<Arc<Partition>> {
        let mut maps = self.maps.write();
        let Some(topic) = maps.topics.remove(&topic) else {
            return Vec::new();
        };
        maps.names.remove(&topic.name);
        ids(&topic).filter_map(|id| maps.partitions.remove(&id)).collect()
    }

    pub(crate) fn partition(&self, id: TopicPartition) -> Result<Arc<Partition>, StoreError> {
        let maps = self.maps.read();
        if let Some(partition) = maps.partitions.get(&id) {
            return Ok(Arc::clone(partition));
        }
        let message = match maps.topics.get(&id.topic) {
            Some(topic) => format!(
                "topic {} has partitions 0 to {}, there is no partition {}",
                topic.name,
                topic.partitions - 1,
                id.partition
            ),
            None => format!("there is no topic with id {}", id.topic),
        };
        Err(StoreError::new(ErrorCode::UnknownTopicOrPartition, message))
    }

    pub(crate) fn topic(&self, topic: &TopicRef) -> Result<Arc<Topic>, StoreError> {
        let maps = self.maps.read();
        let found = match topic {
            TopicRef::Id(id) => maps.topics.get(id),
            // A name that no topic can have is simply not found.
            TopicRef::Name(name) => TopicName::new(name)
                .ok()
                .and_then(|name| maps.names.get(&name))
                .and_then(|id| maps.topics.get(id)),
        };
        found.cloned().ok_or_else(|| {
            let message = match topic {
                TopicRef::Id(id) => format!("there is no topic with id {id}"),
                TopicRef::Name(name) => format!("there is no topic {name:?}"),
            };
            StoreError::new(ErrorCode::UnknownTopicOrPartition, message)
        })
    }

    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        let maps = self.maps.read();
        maps.names.values().filter_map(|id| maps.topics.get(id).cloned()).collect()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.maps.read().partitions.values().cloned().collect()
    }

    /// The partitions of a topic, in order.
    pub(crate) fn partitions_of(&self, topic: &Topic) -> Vec<Arc<Partition>> {
        let maps = self.maps.read();
        ids(topic).filter_map(|id| maps.partitions.get(&id).cloned()).collect()
    }
}

/// The ids of a topic's partitions.
pub(crate) fn ids(topic: &Topic) -> impl Iterator<Item = TopicPartition> + use<> {
    let id = topic.id;
    (0..topic.partitions).map(move |number| TopicPartition::new(id, PartitionId(number)))
}
