//! The topics that a producer has written to, with their partitions.

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

/// Destinations in the order of their topics' names. Every record asks: for the few topics that a
/// producer writes to, comparing names costs less than hashing one.
#[derive(Debug, Default)]
pub(super) struct Topics(RwLock<Vec<Arc<Destination>>>);

fn find(topics: &[Arc<Destination>], name: &str) -> Result<usize, usize> {
    topics.binary_search_by(|destination| (*destination.topic.name).cmp(name))
}

impl Topics {
    pub(super) fn get(&self, name: &str) -> Option<Arc<Destination>> {
        let topics = self.0.read();
        find(&topics, name).ok().map(|place| Arc::clone(&topics[place]))
    }

    /// Adds what `make` makes, unless someone else was first.
    pub(super) fn add(&self, topic: Topic, make: impl FnOnce(Arc<Topic>) -> Destination) -> Arc<Destination> {
        let mut topics = self.0.write();
        let place = find(&topics, &topic.name);
        if let Ok(place) = place
            && topics[place].topic.id == topic.id
        {
            return Arc::clone(&topics[place]);
        }
        let made = Arc::new(make(Arc::new(topic)));
        match place {
            Ok(place) => std::mem::replace(&mut topics[place], Arc::clone(&made)).retire(),
            Err(place) => topics.insert(place, Arc::clone(&made)),
        }
        made
    }

    /// Forgets a topic: the next record for its name asks the server again.
    pub(super) fn forget(&self, name: &str, id: TopicId) {
        let mut topics = self.0.write();
        if let Ok(place) = find(&topics, name)
            && topics[place].topic.id == id
        {
            topics.remove(place).retire();
        }
    }
}

/// Which lane serves a partition.
pub(super) fn lane_of(topic: TopicId, partition: PartitionId, lanes: usize) -> usize {
    let spread = topic.as_bytes().iter().fold(0_usize, |sum, byte| sum + usize::from(*byte));
    (spread + partition.0 as usize) % lanes
}
