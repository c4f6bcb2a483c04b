//! The image and the judgement on who is alive, seen together.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_meta::{Image, Leader, Live, Partition, Presence, Replica, Role};
use tidelog_model::{LeaderEpoch, NodeId, TopicPartition};

use crate::health::Standing;

/// What is not in the metadata: who is alive, who resigned, how large partitions are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// A node that is missing here counts as good as long as it holds its lease.
    pub standings: BTreeMap<NodeId, Standing>,
    /// Leaderships that the named node has given up.
    pub resigned: BTreeSet<(NodeId, TopicPartition, LeaderEpoch)>,
    /// Partitions whose leader has given a sign of life that was asked for after the record was seen as it
    /// is: what it has is there, on the disk that the record names.
    pub vouched: BTreeSet<TopicPartition>,
    /// Local bytes of a partition; missing means unknown, and counts as none.
    pub sizes: BTreeMap<TopicPartition, u64>,
}

/// What plans are made from.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub image: &'a Image,
    pub view: &'a View,
}

impl<'a> World<'a> {
    pub fn new(image: &'a Image, view: &'a View) -> Self {
        Self { image, view }
    }

    pub fn standing(&self, node: NodeId) -> Standing {
        match self.image.live(node) {
            Some(_) => self.view.standings.get(&node).copied().unwrap_or(Standing::Good),
            None => Standing::Dead,
        }
    }

    /// The running process of a node that is believed alive.
    pub fn up(&self, node: NodeId) -> Option<&'a Live> {
        self.image.live(node).filter(|_| self.standing(node) != Standing::Dead)
    }

    /// The running process that has this replica's disk.
    pub fn holder(&self, replica: &Replica) -> Option<&'a Live> {
        self.up(replica.node).filter(|live| live.directory == replica.directory)
    }

    /// It leads nothing and gets nothing new, by its own wish or an operator's.
    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.image.live(node).is_some_and(|live| live.draining) || self.drain(node).is_some()
    }

    /// Its replicas are to go elsewhere.
    pub fn is_decommissioned(&self, node: NodeId) -> bool {
        self.drain(node) == Some(true)
    }

    fn drain(&self, node: NodeId) -> Option<bool> {
        let drain = self.image.nodes.get(&node)?.drain.as_ref()?;
        Some(drain.value.decommission)
    }

    /// How welcome it is as a leader; `None` for one that must not become one by choice.
    pub fn welcome(&self, node: NodeId) -> Option<Standing> {
        let standing = self.standing(node);
        (standing >= Standing::Probation && !self.is_leaving(node)).then_some(standing)
    }

    /// The nodes that new replicas may be put on.
    pub fn targets(&self) -> impl Iterator<Item = &'a Live> + use<'a> {
        let world = *self;
        let eligible = move |live: &&Live| {
            let is_store = live.roles.is_empty() || live.roles.contains(&Role::Store);
            is_store && world.welcome(live.node).is_some()
        };
        self.image.live_nodes().filter(eligible)
    }

    /// How many in-sync replicas it takes to acknowledge. All there are, when the topic cannot be read.
    pub fn floor(&self, partition: TopicPartition, record: &Partition) -> usize {
        self.image.topic(partition.topic).map_or(usize::MAX, |topic| record.isr_floor(topic))
    }

    /// Whether the partition has a leader that works, as far as is known.
    pub fn is_led(&self, partition: TopicPartition, record: &Partition) -> bool {
        let Some(leader) = record.leader else { return false };
        let unreadable =
            self.image.nodes.get(&leader.node).is_some_and(|node| node.presence == Presence::Unreadable);
        unreadable || self.leads(partition, record.epoch, leader)
    }

    fn leads(&self, partition: TopicPartition, epoch: LeaderEpoch, leader: Leader) -> bool {
        self.up(leader.node).is_some_and(|live| leader_of(live) == leader)
            && !self.view.resigned.contains(&(leader.node, partition, epoch))
    }

    pub fn size(&self, partition: TopicPartition) -> u64 {
        self.view.sizes.get(&partition).copied().unwrap_or(0)
    }
}

/// The leader that a running process would be.
pub(crate) fn leader_of(live: &Live) -> Leader {
    Leader { node: live.node, directory: live.directory, boot: live.boot }
}
