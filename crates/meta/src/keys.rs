//! Every key of the metadata store, on one screen.
//!
//! | key | holds | written by |
//! |---|---|---|
//! | `cluster` | [`Cluster`]: id and incarnation | the first start, recovery |
//! | `node/{node}` | [`Node`]: data directory and boot counter | the node, at each start |
//! | `live/{node}` | [`Live`]: where the node is reached, what it is; leased | the node, while it runs |
//! | `drain/{node}` | [`Drain`]: an operator wants the node spared | the controller, when told |
//! | `frontend/{frontend}` | [`Frontend`]: where clients reach it; leased | the frontend, while it runs |
//! | `topic/{topic}` | [`Topic`]: name, partitions, settings | create, alter, delete |
//! | `topic-name/{name}` | [`TopicNameOwner`]: which topic has the name | create, delete |
//! | `partition/{topic}/{number}` | [`Partition`]: epoch, leader, replicas, ISR | the controller; the leader its ISR |
//! | `pointer/{topic}/{number}` | [`Pointer`]: the manifest root in the bucket | the leader, at each offload |
//! | `producer-ids` | [`ProducerIds`]: the first id not yet handed out | blocks are taken from it |
//! | `election/{name}/{lease}` | who stands for election; the oldest leads | [`crate::election`] |
//!
//! Partition numbers have six digits, so that a listing is in numeric order.

use std::fmt;
use std::marker::PhantomData;

use tidelog_format::pointer::Pointer;
use tidelog_model::{FrontendId, NodeId, PartitionId, TopicId, TopicName, TopicPartition};

use crate::value::{Cluster, Drain, Frontend, Live, Node, Partition, ProducerIds, Topic, TopicNameOwner};

pub fn cluster() -> Key<Cluster> {
    Key::new("cluster".to_owned())
}

pub fn node(node: NodeId) -> Key<Node> {
    Key::new(format!("node/{node}"))
}

pub fn nodes() -> Prefix<Node> {
    Prefix::new("node/".to_owned())
}

/// Exists as long as the node's lease: its absence is how a death is noticed at the latest.
pub fn live(node: NodeId) -> Key<Live> {
    Key::new(format!("live/{node}"))
}

pub fn live_nodes() -> Prefix<Live> {
    Prefix::new("live/".to_owned())
}

pub fn drain(node: NodeId) -> Key<Drain> {
    Key::new(format!("drain/{node}"))
}

pub fn drains() -> Prefix<Drain> {
    Prefix::new("drain/".to_owned())
}

pub fn frontend(frontend: FrontendId) -> Key<Frontend> {
    Key::new(format!("frontend/{frontend}"))
}

pub fn frontends() -> Prefix<Frontend> {
    Prefix::new("frontend/".to_owned())
}

pub fn topic(topic: TopicId) -> Key<Topic> {
    Key::new(format!("topic/{topic}"))
}

pub fn topics() -> Prefix<Topic> {
    Prefix::new("topic/".to_owned())
}

pub fn topic_name(name: &TopicName) -> Key<TopicNameOwner> {
    Key::new(format!("topic-name/{name}"))
}

pub fn topic_names() -> Prefix<TopicNameOwner> {
    Prefix::new("topic-name/".to_owned())
}

pub fn partition(partition: TopicPartition) -> Key<Partition> {
    Key::new(format!("partition/{}/{:06}", partition.topic, partition.partition.0))
}

pub fn partitions() -> Prefix<Partition> {
    Prefix::new("partition/".to_owned())
}

pub fn partitions_of(topic: TopicId) -> Prefix<Partition> {
    Prefix::new(format!("partition/{topic}/"))
}

pub fn pointer(partition: TopicPartition) -> Key<Pointer> {
    Key::new(format!("pointer/{}/{:06}", partition.topic, partition.partition.0))
}

pub fn pointers() -> Prefix<Pointer> {
    Prefix::new("pointer/".to_owned())
}

pub fn pointers_of(topic: TopicId) -> Prefix<Pointer> {
    Prefix::new(format!("pointer/{topic}/"))
}

pub fn producer_ids() -> Key<ProducerIds> {
    Key::new("producer-ids".to_owned())
}

/// The partition that a key of [`partitions`] or [`pointers`] is about.
pub fn parse_partition(key: &str) -> Option<TopicPartition> {
    let mut parts = key.split('/').skip(1);
    let topic = parts.next()?.parse().ok()?;
    let number = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some(TopicPartition::new(topic, PartitionId(number)))
}

/// The node that a key of [`nodes`], [`live_nodes`] or [`drains`] is about.
pub fn parse_node(key: &str) -> Option<NodeId> {
    let (_, node) = key.split_once('/')?;
    Some(NodeId(node.parse().ok()?))
}

/// The frontend that a key of [`frontends`] is about.
pub fn parse_frontend(key: &str) -> Option<FrontendId> {
    key.strip_prefix("frontend/")?.parse().ok()
}

/// The topic that a key of [`topics`] is about.
pub fn parse_topic(key: &str) -> Option<TopicId> {
    key.strip_prefix("topic/")?.parse().ok()
}

/// A key that knows what it holds.
pub struct Key<V> {
    path: String,
    holds: PhantomData<fn() -> V>,
}

/// The beginning of keys that all hold the same type.
pub struct Prefix<V> {
    path: String,
    holds: PhantomData<fn() -> V>,
}

macro_rules! path_of {
    ($name:ident) => {
        impl<V> $name<V> {
            fn new(path: String) -> Self {
                Self { path, holds: PhantomData }
            }

            pub fn as_str(&self) -> &str {
                &self.path
            }
        }

        impl<V> Clone for $name<V> {
            fn clone(&self) -> Self {
                Self::new(self.path.clone())
            }
        }

        impl<V> fmt::Display for $name<V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.path)
            }
        }

        impl<V> fmt::Debug for $name<V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.path, f)
            }
        }
    };
}

path_of!(Key);
path_of!(Prefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_frontend_keys_come_back() {
        for key in [node(NodeId(7)).to_string(), live(NodeId(7)).to_string()] {
            assert_eq!(parse_node(&key), Some(NodeId(7)));
        }
        assert_eq!(parse_node("live/x"), None);
        let id = FrontendId::from_bytes([3; 16]);
        assert_eq!(parse_frontend(frontend(id).as_str()), Some(id));
        assert_eq!(parse_frontend("live/7"), None);
    }

    #[test]
    fn partition_keys_sort_by_number_and_come_back() {
        let topic = TopicId::from_bytes([7; 16]);
        let key = |n| partition(TopicPartition::new(topic, PartitionId(n))).to_string();
        assert!(key(9) < key(10) && key(99) < key(100));
        assert_eq!(parse_partition(&key(12)), Some(TopicPartition::new(topic, PartitionId(12))));
        assert_eq!(parse_partition("partition/x/1"), None);
        assert_eq!(parse_partition(&format!("{}/3", key(1))), None);
        assert!(key(3).starts_with(partitions_of(topic).as_str()));
    }
}
