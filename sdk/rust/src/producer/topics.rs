//! The topics that a producer has written to, with their partitions.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tidelog_model::{PartitionId, TopicId};

use super::lane::Partition;
use super::partitioner::{Sticky, partition_of};
use super::record::ProducerRecord;
use crate::Error;
use crate::client::topic::Topic;

/// A topic with the queues of its partitions.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) topic: Arc<Topic>,
    pub(super) partitions: Vec<Arc<Partition>>,
    sticky: Sticky,
}

impl Destination {
    pub(super) fn new(topic: Arc<Topic>, partitions: Vec<Arc<Partition>>, turn_bytes: usize) -> Self {
        let sticky = Sticky::new(topic.partitions, turn_bytes, rand::random());
        Self { topic, partitions, sticky }
    }

    fn retire(&self) {
        self.partitions.iter().for_each(|partition| partition.retire());
    }

    /// The partition for a record of `bytes`.
    pub(super) fn choose(&self, record: &ProducerRecord<'_>, bytes: usize) -> Result<&Arc<Partition>, Error> {
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => self.topic.partition(partition)?,
            (None, Some(key)) => partition_of(key, self.topic.partitions),
            (None, None) => self.sticky.choose(bytes, rand::random),
        };
        Ok(&self.partitions[partition.0 as usize])
    }
}

/// Destinations by their topic's name.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<HashMap<Arc<str>, Arc<Destination>>>);

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Destination>> {
        self.0.read().get(name).cloned()
    }

    /// Adds what `make` makes, unless someone else was first.
    pub(super) fn add(&self, topic: Topic, make: impl FnOnce(Arc<Topic>) -> Destination) -> Arc<Destination> {
        let mut topics = self.0.write();
        if let Some(known) = topics.get(&topic.name)
            && known.topic.id == topic.id
        {
            return Arc::clone(known);
        }
        let topic = Arc::new(topic);
        let made = Arc::new(make(Arc::clone(&topic)));
        if let Some(old) = topics.insert(Arc::clone(&topic.name), Arc::clone(&made)) {
            old.retire();
        }
        made
    }

    /// Forgets a topic: the next record for its name asks the server again.
    pub(super) fn forget(&self, name: &str, id: TopicId) {
        let mut topics = self.0.write();
        if topics.get(name).is_some_and(|known| known.topic.id == id) {
            topics.remove(name).inspect(|old| old.retire());
        }
    }
}

/// Which lane serves a partition.
pub(super) fn lane_of(topic: TopicId, partition: PartitionId, lanes: usize) -> usize {
    let spread = topic.as_bytes().iter().fold(0_usize, |sum, byte| sum + usize::from(*byte));
    (spread + partition.0 as usize) % lanes
}
