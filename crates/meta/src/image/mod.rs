//! What the metadata says of the cluster, in memory: built from listings, kept up by watches.
//!
//! The hazard: a value that cannot be read must never look like one that is not there. It is kept apart
//! ([`Image::unreadable`]), and nothing is concluded from it: a node whose registration cannot be read is
//! neither dead nor usable, a partition whose record cannot be read is left alone.

mod feed;
mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;

use tidelog_model::{NodeId, TopicId, TopicPartition};

pub use self::feed::{Feed, News};
pub use self::mirror::{Mirror, Observer};
use crate::{Drain, Entry, Event, Listing, Live, Node, Partition, Revision, Topic, Value, keys};

/// A value and when it was last put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held<V> {
    pub value: V,
    pub revision: Revision,
}

/// What is known of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeImage {
    /// Which disk it last started with. There for every node that ever started.
    pub registered: Option<Held<Node>>,
    pub presence: Presence,
    /// What an operator wants of it.
    pub drain: Option<Held<Drain>>,
}

/// Whether a node holds its lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Absent,
    Live(Held<Live>),
    /// It holds its lease, and what it says of itself cannot be read.
    Unreadable,
}

/// The cluster as of about now.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub nodes: BTreeMap<NodeId, NodeImage>,
    pub topics: BTreeMap<TopicId, Held<Topic>>,
    pub partitions: BTreeMap<TopicPartition, Held<Partition>>,
    /// Keys whose values cannot be read, and why.
    pub unreadable: BTreeMap<String, String>,
}

/// What one entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Node(NodeId),
    Live(NodeId),
    Drain(NodeId),
    Topic(TopicId),
    Partition(TopicPartition),
}

impl Subject {
    /// What a key of the image is about; `None` for any other key.
    pub fn of(key: &str) -> Option<Self> {
        match key.split_once('/')?.0 {
            "node" => keys::parse_node(key).map(Self::Node),
            "live" => keys::parse_node(key).map(Self::Live),
            "drain" => keys::parse_node(key).map(Self::Drain),
            "topic" => keys::parse_topic(key).map(Self::Topic),
            "partition" => keys::parse_partition(key).map(Self::Partition),
            _ => None,
        }
    }
}

impl Image {
    /// The prefixes that an image is made of.
    pub fn prefixes() -> [String; 5] {
        [
            keys::nodes().to_string(),
            keys::live_nodes().to_string(),
            keys::drains().to_string(),
            keys::topics().to_string(),
            keys::partitions().to_string(),
        ]
    }

    /// Takes a change in. Changes that are older than what the image has are ignored, so that a change
    /// may be taken in when it is committed and again when a watch delivers it.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Put(entry) => self.put(entry),
            Event::Delete { key, revision } => self.delete(key, *revision),
        }
    }

    /// Takes in everything that is under a prefix, after changes may have been missed.
    pub fn replace(&mut self, prefix: &str, listing: &Listing) {
        let listed: BTreeSet<&str> = listing.entries.iter().map(|entry| &*entry.key).collect();
        for key in self.keys_under(prefix) {
            if !listed.contains(key.as_str()) {
                self.delete(&key, listing.revision);
            }
        }
        listing.entries.iter().for_each(|entry| self.put(entry));
    }

    /// Takes in a partition's record as it was committed.
    pub fn put_partition(&mut self, partition: TopicPartition, record: Partition, revision: Revision) {
        store(&mut self.partitions, partition, Held { value: record, revision });
    }

    pub fn live(&self, node: NodeId) -> Option<&Live> {
        match &self.nodes.get(&node)?.presence {
            Presence::Live(live) => Some(&live.value),
            Presence::Absent | Presence::Unreadable => None,
        }
    }

    /// Every node that holds its lease and can be read.
    pub fn live_nodes(&self) -> impl Iterator<Item = &Live> {
        self.nodes.keys().filter_map(|node| self.live(*node))
    }

    /// A topic that exists; `None` for one that was deleted, too.
    pub fn topic(&self, topic: TopicId) -> Option<&Topic> {
        self.topics.get(&topic).map(|held| &held.value).filter(|topic| topic.deleted.is_none())
    }

    pub fn partition(&self, partition: TopicPartition) -> Option<&Partition> {
        self.partitions.get(&partition).map(|held| &held.value)
    }

    /// The partitions of topics that exist, without those left behind by a creation that did not finish.
    pub fn current(&self) -> impl Iterator<Item = (TopicPartition, &Held<Partition>, &Topic)> {
        self.current_between(..)
    }

    /// Those of [`Image::current`] that are in a range, whose end is not before its beginning.
    pub fn current_between(
        &self,
        range: impl RangeBounds<TopicPartition>,
    ) -> impl Iterator<Item = (TopicPartition, &Held<Partition>, &Topic)> {
        self.partitions.range(range).filter_map(|(id, held)| {
            let topic = self.topic(id.topic)?;
            (id.partition.0 < topic.partitions).then_some((*id, held, topic))
        })
    }

    fn put(&mut self, entry: &Entry) {
        let Some(subject) = Subject::of(&entry.key) else { return };
        match subject {
            Subject::Node(node) => {
                let value = self.read::<Node>(entry);
                let slot = &mut self.nodes.entry(node).or_default().registered;
                // What is known of it stays when the news cannot be read.
                if value.is_some() {
                    replace(slot, value, entry.mod_revision);
                }
            }
            Subject::Live(node) => {
                let value = self.read::<Live>(entry).filter(|live| live.node == node);
                let presence = &mut self.nodes.entry(node).or_default().presence;
                *presence = match (value, &presence) {
                    (_, Presence::Live(held)) if held.revision > entry.mod_revision => return,
                    (Some(value), _) => Presence::Live(Held { value, revision: entry.mod_revision }),
                    (None, _) => Presence::Unreadable,
                };
            }
            Subject::Drain(node) => {
                let value = self.read::<Drain>(entry);
                let slot = &mut self.nodes.entry(node).or_default().drain;
                if value.is_some() {
                    replace(slot, value, entry.mod_revision);
                }
            }
            Subject::Topic(topic) => match self.read::<Topic>(entry) {
                Some(value) => store(&mut self.topics, topic, Held { value, revision: entry.mod_revision }),
                None => drop(self.topics.remove(&topic)),
            },
            Subject::Partition(id) => match self.read::<Partition>(entry) {
                Some(value) => {
                    store(&mut self.partitions, id, Held { value, revision: entry.mod_revision });
                }
                None => drop(self.partitions.remove(&id)),
            },
        }
    }

    /// The entry's value, or `None` and a note of why it cannot be read.
    fn read<V: Value>(&mut self, entry: &Entry) -> Option<V> {
        match V::decode(&entry.value) {
            Ok(value) => {
                self.unreadable.remove(&*entry.key);
                Some(value)
            }
            Err(error) => {
                let reason = error.at(&entry.key).to_string();
                if self.unreadable.insert(entry.key.to_string(), reason.clone()).is_none() {
                    tracing::error!(key = %entry.key, reason, "a record cannot be read and is left alone");
                }
                None
            }
        }
    }

    fn delete(&mut self, key: &str, revision: Revision) {
        self.unreadable.remove(key);
        match Subject::of(key) {
            Some(Subject::Node(node)) => self.change_node(node, |n| clear(&mut n.registered, revision)),
            Some(Subject::Live(node)) => self.change_node(node, |n| match &n.presence {
                Presence::Live(live) if live.revision > revision => {}
                _ => n.presence = Presence::Absent,
            }),
            Some(Subject::Drain(node)) => self.change_node(node, |n| clear(&mut n.drain, revision)),
            Some(Subject::Topic(topic)) => discard(&mut self.topics, &topic, revision),
            Some(Subject::Partition(partition)) => discard(&mut self.partitions, &partition, revision),
            None => {}
        }
    }

    fn change_node(&mut self, node: NodeId, change: impl FnOnce(&mut NodeImage)) {
        if let Some(image) = self.nodes.get_mut(&node) {
            change(image);
            if *image == NodeImage::default() {
                self.nodes.remove(&node);
            }
        }
    }

    fn keys_under(&self, prefix: &str) -> Vec<String> {
        let mut all: Vec<String> = self.unreadable.keys().cloned().collect();
        for (node, image) in &self.nodes {
            all.extend(image.registered.is_some().then(|| keys::node(*node).to_string()));
            all.extend((image.presence != Presence::Absent).then(|| keys::live(*node).to_string()));
            all.extend(image.drain.is_some().then(|| keys::drain(*node).to_string()));
        }
        all.extend(self.topics.keys().map(|topic| keys::topic(*topic).to_string()));
        all.extend(self.partitions.keys().map(|partition| keys::partition(*partition).to_string()));
        all.retain(|key| key.starts_with(prefix));
        all
    }
}

fn replace<V>(slot: &mut Option<Held<V>>, value: Option<V>, revision: Revision) {
    if slot.as_ref().is_none_or(|held| held.revision <= revision) {
        *slot = value.map(|value| Held { value, revision });
    }
}

fn clear<V>(slot: &mut Option<Held<V>>, revision: Revision) {
    if slot.as_ref().is_some_and(|held| held.revision <= revision) {
        *slot = None;
    }
}

fn store<K: Ord, V>(map: &mut BTreeMap<K, Held<V>>, key: K, held: Held<V>) {
    if map.get(&key).is_none_or(|known| known.revision <= held.revision) {
        map.insert(key, held);
    }
}

fn discard<K: Ord, V>(map: &mut BTreeMap<K, Held<V>>, key: &K, revision: Revision) {
    if map.get(key).is_some_and(|known| known.revision <= revision) {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tidelog_model::{LeaderEpoch, PartitionId};

    use super::*;

    fn id() -> TopicPartition {
        TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(0))
    }

    fn entry(key: String, value: Bytes, revision: u64) -> Entry {
        let mod_revision = Revision(revision);
        Entry { key: key.into(), value, create_revision: mod_revision, mod_revision, version: 1, lease: None }
    }

    fn partition(epoch: u32, revision: u64) -> Entry {
        let record = Partition { epoch: LeaderEpoch(epoch), ..Partition::default() };
        entry(keys::partition(id()).to_string(), record.encode(), revision)
    }

    #[test]
    fn a_change_that_comes_late_does_not_undo_a_newer_one() {
        let mut image = Image::default();
        image.apply(&Event::Put(partition(2, 20)));
        image.apply(&Event::Put(partition(1, 10)));
        image.apply(&Event::Delete { key: keys::partition(id()).to_string().into(), revision: Revision(15) });
        assert_eq!(image.partition(id()).unwrap().epoch, LeaderEpoch(2));
    }

    #[test]
    fn a_listing_removes_what_is_gone_and_nothing_newer() {
        let mut image = Image::default();
        image.apply(&Event::Put(partition(2, 20)));
        image.replace("partition/", &Listing { revision: Revision(19), entries: vec![] });
        assert!(image.partition(id()).is_some());
        image.replace("partition/", &Listing { revision: Revision(21), entries: vec![] });
        assert!(image.partition(id()).is_none());
    }

    #[test]
    fn a_registration_that_cannot_be_read_is_no_absence() {
        let mut image = Image::default();
        let key = keys::live(NodeId(3)).to_string();
        image.apply(&Event::Put(entry(key.clone(), Bytes::from_static(b"{\"version\":99}"), 5)));
        assert_eq!(image.nodes[&NodeId(3)].presence, Presence::Unreadable);
        assert!(image.unreadable.contains_key(&key));
        image.apply(&Event::Delete { key: key.into(), revision: Revision(6) });
        assert!(image.nodes.is_empty() && image.unreadable.is_empty());
    }
}
