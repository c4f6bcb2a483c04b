//! The topics and partitions of this node, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tidelog_meta::Revision;
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
    config: RwLock<(Revision, Arc<TopicConfig>)>,
    /// The revision of the settings that the bucket was told of by this process.
    described: AtomicU64,
}

impl Topic {
    pub(crate) fn new(
        id: TopicId,
        name: TopicName,
        partitions: u32,
        created: TimestampMs,
        config: (Revision, TopicConfig),
    ) -> Arc<Self> {
        let config = RwLock::new((config.0, Arc::new(config.1)));
        Arc::new(Self { id, name, partitions, created, config, described: AtomicU64::new(0) })
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read().1)
    }

    /// When the settings were last changed.
    pub(crate) fn revision(&self) -> Revision {
        self.config.read().0
    }

    pub(crate) fn described(&self) -> Revision {
        Revision(self.described.load(Ordering::Relaxed))
    }

    pub(crate) fn set_described(&self, revision: Revision) {
        self.described.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// Takes over settings, unless newer ones are there already.
    pub(crate) fn set_config(&self, revision: Revision, config: TopicConfig) {
        let mut current = self.config.write();
        if revision > current.0 {
            *current = (revision, Arc::new(config));
        }
    }

    pub(crate) fn info(&self) -> TopicInfo {
        TopicInfo {
            id: self.id,
            name: self.name.clone(),
            partitions: self.partitions,
            config: TopicConfig::clone(&self.config()),
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
        // The name may have another topic by now.
        if maps.names.get(&topic.name) == Some(&topic.id) {
            maps.names.remove(&topic.name);
        }
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
