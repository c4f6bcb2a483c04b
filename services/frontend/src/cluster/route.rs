//! Where a partition's records are, as the image of the cluster has it.

use std::fmt;

use tidelog_meta::{Image, Live, Replica};
use tidelog_model::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, TopicPartition};
use tidelog_peer::StoreError;

/// One start of one store, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Store {
    pub(super) node: NodeId,
    pub(super) directory: DirectoryId,
    pub(super) boot: u64,
    /// `host:port` of its internal port.
    pub(super) address: String,
}

impl From<&Live> for Store {
    fn from(live: &Live) -> Self {
        let Live { node, directory, boot, .. } = *live;
        Self { node, directory, boot, address: live.address.clone() }
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} at {}", self.node, self.address)
    }
}

/// Who leads a partition, under which epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) store: Store,
    pub(super) epoch: LeaderEpoch,
}

/// Why there is no route to a partition's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoute {
    /// There is no such topic, or it has no such partition.
    Unknown,
    /// Nobody leads it.
    NoLeader,
    /// Who led it is not there any more, or was started again, and nobody was elected since.
    Gone(NodeId),
}

impl NoRoute {
    pub(super) fn of(self, image: &Image, partition: TopicPartition) -> StoreError {
        let name = name(image, partition);
        match self {
            Self::Unknown => {
                StoreError::new(ErrorCode::UnknownTopicOrPartition, format!("there is no {name}"))
            }
            Self::NoLeader => {
                StoreError::new(ErrorCode::LeaderNotAvailable, format!("{name} has no leader at the moment"))
            }
            Self::Gone(node) => {
                let message = format!("node {node}, which led {name}, is gone, and no other leads it yet");
                StoreError::new(ErrorCode::LeaderNotAvailable, message)
            }
        }
    }
}

/// The way to a partition's leader.
pub(super) fn route(image: &Image, partition: TopicPartition) -> Result<Route, NoRoute> {
    let topic = image.topic(partition.topic).ok_or(NoRoute::Unknown)?;
    if partition.partition.0 >= topic.partitions {
        return Err(NoRoute::Unknown);
    }
    let record = image.partition(partition).ok_or(NoRoute::NoLeader)?;
    let leader = record.leader.ok_or(NoRoute::NoLeader)?;
    let live = image.live(leader.node).ok_or(NoRoute::Gone(leader.node))?;
    // Leadership belongs to one start: a later one never resumes it.
    if (live.directory, live.boot) != (leader.directory, leader.boot) {
        return Err(NoRoute::Gone(leader.node));
    }
    Ok(Route { store: Store::from(live), epoch: record.epoch })
}

/// An in-sync follower in this rack; `None` when there is none, or the leader is there itself. Of several
/// it is always the same one for one partition, and another for the next.
pub(super) fn nearby(image: &Image, partition: TopicPartition, rack: &str) -> Option<Store> {
    let record = image.partition(partition)?;
    let here = |replica: &Replica| {
        let live = image.live(replica.node)?;
        (live.directory == replica.directory && live.rack.as_deref() == Some(rack)).then_some(live)
    };
    let leader = record.leader.map(|leader| leader.node);
    let near: Vec<&Live> = record.isr.iter().filter_map(here).collect();
    if near.iter().any(|live| Some(live.node) == leader) {
        return None;
    }
    let turn = partition.partition.0 as usize % near.len().max(1);
    near.get(turn).map(|live| Store::from(*live))
}

/// What people call a partition.
pub(super) fn name(image: &Image, partition: TopicPartition) -> String {
    match image.topic(partition.topic) {
        Some(topic) => format!("partition {} of topic {}", partition.partition, topic.name),
        None => format!("partition {} of a topic with id {}", partition.partition, partition.topic),
    }
}

#[cfg(test)]
mod tests {
    use tidelog_meta::{Held, Leader, NodeImage, Partition, Presence, Revision, Topic};
    use tidelog_model::{PartitionId, TimestampMs, TopicConfig, TopicId, TopicName};

    use super::*;

    fn id(partition: u32) -> TopicPartition {
        TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(partition))
    }

    fn live(node: u32, boot: u64, rack: &str) -> Live {
        Live {
            node: NodeId(node),
            directory: DirectoryId::from_bytes([node as u8; 16]),
            boot,
            address: format!("store-{node}:9441"),
            rack: Some(rack.to_owned()),
            software: String::new(),
            roles: Vec::new(),
            draining: false,
        }
    }

    fn held<V>(value: V) -> Held<V> {
        Held { value, revision: Revision(1) }
    }

    /// Two partitions, led by node 1, on nodes 1 to 3, of which 1 and 2 are in sync.
    fn image() -> Image {
        let mut image = Image::default();
        for node in 1..=3 {
            let presence = Presence::Live(held(live(node, 5, if node == 1 { "a" } else { "b" })));
            image.nodes.insert(NodeId(node), NodeImage { presence, ..NodeImage::default() });
        }
        let name = TopicName::new("orders").unwrap();
        let topic = Topic::new(name, 2, &TopicConfig::default(), TimestampMs(0));
        image.topics.insert(id(0).topic, held(topic));
        let replica =
            |node| Replica { node: NodeId(node), directory: DirectoryId::from_bytes([node as u8; 16]) };
        let record = Partition {
            epoch: LeaderEpoch(4),
            leader: Some(Leader { node: NodeId(1), directory: replica(1).directory, boot: 5 }),
            replicas: (1..=3).map(NodeId).collect(),
            isr: vec![replica(1), replica(2)],
            ..Partition::default()
        };
        image.partitions.insert(id(0), held(record));
        image
    }

    fn set_live(image: &mut Image, live: Live) {
        let node = image.nodes.get_mut(&live.node).unwrap();
        node.presence = Presence::Live(held(live));
    }

    #[test]
    fn a_leader_is_one_start_of_a_store() {
        let mut image = image();
        assert_eq!(route(&image, id(0)).unwrap().store, Store::from(&live(1, 5, "a")));
        set_live(&mut image, live(1, 6, "a"));
        assert_eq!(route(&image, id(0)), Err(NoRoute::Gone(NodeId(1))));
        assert_eq!(route(&image, id(1)), Err(NoRoute::NoLeader));
        assert_eq!(route(&image, id(2)), Err(NoRoute::Unknown));
    }

    #[test]
    fn the_nearest_is_an_in_sync_follower_in_the_rack() {
        let mut image = image();
        assert_eq!(nearby(&image, id(0), "b"), Some(Store::from(&live(2, 5, "b"))));
        assert_eq!(nearby(&image, id(0), "a"), None, "the leader is there");
        assert_eq!(nearby(&image, id(0), "c"), None);
        let mut other_disk = live(2, 6, "b");
        other_disk.directory = DirectoryId::from_bytes([9; 16]);
        set_live(&mut image, other_disk);
        assert_eq!(nearby(&image, id(0), "b"), None, "another disk is another replica");
    }

    #[test]
    fn errors_name_the_topic() {
        let image = image();
        let error = NoRoute::Gone(NodeId(1)).of(&image, id(0));
        assert_eq!(error.code, ErrorCode::LeaderNotAvailable);
        assert!(error.message.contains("partition 0 of topic orders"), "{error}");
    }
}
