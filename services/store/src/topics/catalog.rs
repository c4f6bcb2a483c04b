//! The topics and partitions of this node, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tidelog_meta::Revision;
use tidelog_meta::value::Topic as TopicRecord;
use tidelog_model::{ErrorCode, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition};
use tidelog_peer::{StoreError, TopicInfo, TopicRef};

use crate::partition::{Partition, not_leader};

/// A topic. Its settings may change, and partitions may be added.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: TopicName,
    pub(crate) created: TimestampMs,
    current: RwLock<Current>,
    /// The revision of the settings that the bucket was told of by this process.
    described: AtomicU64,
}

/// What may change of a topic.
#[derive(Clone, Debug)]
struct Current {
    revision: Revision,
    partitions: u32,
    replication_factor: u32,
    config: Arc<TopicConfig>,
    /// The smallest in-sync set that acknowledges, for partitions that have as many replicas.
    isr_floor: usize,
}

impl Current {
    fn of(record: &TopicRecord, revision: Revision) -> Self {
        Self {
            revision,
            partitions: record.partitions,
            replication_factor: record.replication_factor,
            config: Arc::new(record.config()),
            isr_floor: record.isr_floor() as usize,
        }
    }
}

impl Topic {
    /// A topic as its record says.
    pub(crate) fn new(id: TopicId, record: &TopicRecord, revision: Revision) -> Arc<Self> {
        Arc::new(Self {
            id,
            name: record.name.clone(),
            created: record.created,
            current: RwLock::new(Current::of(record, revision)),
            described: AtomicU64::new(0),
        })
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.current.read().partitions
    }

    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.current.read().config)
    }

    pub(crate) fn isr_floor(&self) -> usize {
        self.current.read().isr_floor
    }

    /// When the record was last changed.
    pub(crate) fn revision(&self) -> Revision {
        self.current.read().revision
    }

    pub(crate) fn described(&self) -> Revision {
        Revision(self.described.load(Ordering::Relaxed))
    }

    pub(crate) fn set_described(&self, revision: Revision) {
        self.described.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// Takes over a record, unless a newer one is there already.
    pub(crate) fn change(&self, record: &TopicRecord, revision: Revision) {
        let mut current = self.current.write();
        if revision > current.revision {
            *current = Current::of(record, revision);
        }
    }

    pub(crate) fn info(&self) -> TopicInfo {
        let Current { partitions, replication_factor, config, .. } = self.current.read().clone();
        TopicInfo {
            id: self.id,
            name: self.name.clone(),
            partitions,
            replication_factor,
            config: TopicConfig::clone(&config),
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

    /// Makes one more partition of a topic visible.
    pub(crate) fn insert_partition(&self, partition: Arc<Partition>) {
        self.maps.write().partitions.insert(partition.id, partition);
    }

    /// Takes one partition out: this store holds no replica of it any more.
    pub(crate) fn remove_partition(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        self.maps.write().partitions.remove(&id)
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
            Some(topic) if id.partition.0 < topic.partitions() => return Err(not_leader(id)),
            Some(topic) => format!(
                "topic {} has partitions 0 to {}, there is no partition {}",
                topic.name,
                topic.partitions() - 1,
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
    (0..topic.partitions()).map(move |number| TopicPartition::new(id, PartitionId(number)))
}
