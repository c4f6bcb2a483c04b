//! The cluster as its controller sees it, and commands to it.

use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, PartitionId, TopicId};
use tidelog_proto::v1;

use super::Admin;
use crate::Error;
use crate::client::call::{Repeat, ask};
use crate::client::topic::{by_name, topic_id};

/// The cluster in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The node whose store is the controller.
    pub controller: NodeId,
    /// Every node that ever was part of the cluster.
    pub nodes: u32,
    /// Those that are not [`NodeState::Up`].
    pub nodes_not_up: u32,
    pub topics: u32,
    pub partitions: u32,
    /// Partitions without a leader that works.
    pub offline: u32,
    /// Partitions with fewer in-sync replicas than it takes to acknowledge.
    pub below_floor: u32,
    /// Partitions with fewer in-sync replicas than their topics want.
    pub under_replicated: u32,
    /// Partitions whose replicas are being added or removed.
    pub moving: u32,
    /// Partitions led by another than the first of their replicas.
    pub not_preferred: u32,
    /// How many records of the metadata cannot be read.
    pub unreadable: u32,
    /// The first of their keys, and why they cannot be read.
    pub unreadable_shown: Vec<(String, String)>,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatus {
    pub node: NodeId,
    pub state: NodeState,
    /// `host:port` of its internal port, where it is known.
    pub address: Option<String>,
    pub rack: Option<String>,
    pub software: Option<String>,
    /// The data directory that it last started with, and how often it was started.
    pub directory: Option<DirectoryId>,
    pub boot: Option<u64>,
    /// It leads nothing and gets nothing new, by its own wish or an operator's.
    pub draining: bool,
    /// An operator wants it to leave for good; it has when it has no replicas any more.
    pub decommissioned: bool,
    pub replicas: u32,
    pub leads: u32,
    /// Local bytes of its replicas.
    pub bytes: u64,
}

/// What the controller thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeState {
    Up,
    /// It came back a short while ago and is given no leaderships yet.
    Probation,
    /// Its disk is too slow to lead.
    Slow,
    /// It holds its lease and does not answer.
    Silent,
    /// It holds its lease, and what it says of itself cannot be read.
    Unreadable,
    /// It has no lease.
    Down,
    /// Something that this version does not know; not up.
    Unknown,
}

impl NodeState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Probation => "probation",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Unreadable => "unreadable",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

/// A partition and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStatus {
    pub topic_id: TopicId,
    pub topic: String,
    pub partition: PartitionId,
    pub state: PartitionState,
    pub epoch: LeaderEpoch,
    /// The leader that the metadata names, whether it works or not.
    pub leader: Option<NodeId>,
    /// How many replicas its topic wants.
    pub replicas_wanted: u32,
    /// The preferred leader first. While it moves, both those that come and those that go.
    pub replicas: Vec<NodeId>,
    /// Those that have every acknowledged record.
    pub isr: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// The newest epoch that began with an unclean election: records acknowledged before it may be lost.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// Local bytes, as its leader told.
    pub bytes: u64,
}

/// How a partition is: the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PartitionState {
    /// No leader that works.
    Offline,
    /// Too few in-sync replicas to acknowledge.
    BelowFloor,
    /// Fewer in-sync replicas than its topic wants.
    UnderReplicated,
    /// Something that this version does not know; not healthy.
    Unknown,
    /// Replicas are being added or removed.
    Moving,
    Healthy,
}

impl PartitionState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::BelowFloor => "below-floor",
            Self::UnderReplicated => "under-replicated",
            Self::Unknown => "unknown",
            Self::Moving => "moving",
            Self::Healthy => "healthy",
        }
    }
}

/// A leader that an unclean election made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Elected {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub node: NodeId,
    pub epoch: LeaderEpoch,
}

/// Carried out by the cluster's controller, whom the server finds. A server without a cluster refuses them
/// with [`crate::ErrorCode::UnsupportedVersion`].
///
/// A command that changes something returns when the change is committed: what follows from it (moving
/// replicas, say) goes on after that, and shows in the status.
impl Admin {
    /// The cluster in numbers.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        let link = &self.client.link;
        let answer = ask!(link, ClusterStatus, v1::ClusterStatusRequest {}, Repeat::Always, self.within())?;
        let unreadable = answer.unreadable_shown.into_iter().map(|shown| (shown.key, shown.reason));
        Ok(ClusterStatus {
            controller: NodeId(answer.controller),
            nodes: answer.nodes,
            nodes_not_up: answer.nodes_not_up,
            topics: answer.topics,
            partitions: answer.partitions,
            offline: answer.offline,
            below_floor: answer.below_floor,
            under_replicated: answer.under_replicated,
            moving: answer.moving,
            not_preferred: answer.not_preferred,
            unreadable: answer.unreadable,
            unreadable_shown: unreadable.collect(),
        })
    }

    /// Every node that ever was part of the cluster, by number.
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        let mut nodes: Vec<NodeStatus> = Vec::new();
        loop {
            let after = nodes.last().map(|last| last.node.0);
            let request = v1::ListNodesRequest { after, limit: 0 };
            let page = ask!(&self.client.link, ListNodes, request, Repeat::Always, self.within())?;
            for message in page.nodes {
                nodes.push(node(message)?);
            }
            if !page.more {
                return Ok(nodes);
            }
            if nodes.last().map(|last| last.node.0) <= after {
                return Err(Error::Protocol("a page of nodes that leads nowhere"));
            }
        }
    }

    /// The partitions of one topic or of all, by topic id and number; with `problems_only` those that are
    /// offline, below the floor or under-replicated.
    pub async fn partitions(
        &self,
        topic: Option<&str>,
        problems_only: bool,
    ) -> Result<Vec<PartitionStatus>, Error> {
        let mut partitions: Vec<PartitionStatus> = Vec::new();
        let place = |status: &PartitionStatus| (status.topic_id, status.partition);
        loop {
            let after = partitions.last().map(place);
            let request = v1::ListPartitionsRequest {
                topic: topic.map(by_name),
                problems_only,
                after: after.map(|(topic, partition)| v1::TopicPartition {
                    topic_id: topic.as_bytes().to_vec().into(),
                    partition: partition.0,
                }),
                limit: 0,
            };
            let page = ask!(&self.client.link, ListPartitions, request, Repeat::Always, self.within())?;
            for message in page.partitions {
                partitions.push(partition(message)?);
            }
            if !page.more {
                return Ok(partitions);
            }
            if partitions.last().map(place) <= after {
                return Err(Error::Protocol("a page of partitions that leads nowhere"));
            }
        }
    }

    /// Takes a node's leaderships away and gives it nothing new. Its replicas stay and keep following.
    /// Refused while it has the last in-sync replica of anything. Lasts until [`Admin::undrain`].
    pub async fn drain(&self, node: NodeId) -> Result<(), Error> {
        self.drain_node(node, false).await
    }

    /// Moves everything that a node has to others, for good. Works for a node that is dead too, if the
    /// others have its data. Refused where there are too few others.
    pub async fn decommission(&self, node: NodeId) -> Result<(), Error> {
        self.drain_node(node, true).await
    }

    async fn drain_node(&self, node: NodeId, decommission: bool) -> Result<(), Error> {
        let request = v1::DrainNodeRequest { node: node.0, decommission };
        ask!(&self.client.link, DrainNode, request, Repeat::Always, self.within()).map(drop)
    }

    /// Ends a drain, and a decommission that is not finished; replicas that have moved stay moved.
    pub async fn undrain(&self, node: NodeId) -> Result<(), Error> {
        let request = v1::UndrainNodeRequest { node: node.0 };
        ask!(&self.client.link, UndrainNode, request, Repeat::Always, self.within()).map(drop)
    }

    /// Moves a partition to these nodes, as many as its topic's replication factor says, the preferred
    /// leader first. Replaces a move that is under way.
    pub async fn reassign(
        &self,
        topic: &str,
        partition: PartitionId,
        replicas: &[NodeId],
    ) -> Result<(), Error> {
        let step = v1::reassign_request::Move {
            topic: Some(by_name(topic)),
            partition: partition.0,
            replicas: replicas.iter().map(|node| node.0).collect(),
        };
        let request = v1::ReassignRequest { moves: vec![step] };
        ask!(&self.client.link, Reassign, request, Repeat::Always, self.within()).map(drop)
    }

    /// Evens leaderships and replicas out now rather than bit by bit. Returns how many leaderships move
    /// back to their preferred replicas; replicas follow at the usual rate.
    pub async fn rebalance(&self) -> Result<u32, Error> {
        let request = v1::RebalanceRequest {};
        let answer = ask!(&self.client.link, Rebalance, request, Repeat::IfUnchanged, self.within())?;
        Ok(answer.leaderships)
    }

    /// Gives a partition of which no in-sync replica can be reached to the best of its other replicas.
    /// **Acknowledged records may be lost.** Refused while an in-sync replica is alive.
    pub async fn elect_unclean(&self, topic: &str, partition: PartitionId) -> Result<Elected, Error> {
        let lost =
            v1::elect_unclean_request::Partition { topic: Some(by_name(topic)), partition: partition.0 };
        let request = v1::ElectUncleanRequest { partitions: vec![lost] };
        let answer = ask!(&self.client.link, ElectUnclean, request, Repeat::IfUnchanged, self.within())?;
        let elected = answer.elected.into_iter().next().ok_or(Error::Protocol("an election of nobody"))?;
        Ok(Elected {
            topic_id: topic_id(&elected.topic_id)?,
            partition: PartitionId(elected.partition),
            node: NodeId(elected.node),
            epoch: LeaderEpoch(elected.epoch),
        })
    }
}

fn node(message: v1::NodeStatus) -> Result<NodeStatus, Error> {
    let state = match message.state() {
        v1::NodeState::Unspecified => NodeState::Unknown,
        v1::NodeState::Up => NodeState::Up,
        v1::NodeState::Probation => NodeState::Probation,
        v1::NodeState::Slow => NodeState::Slow,
        v1::NodeState::Silent => NodeState::Silent,
        v1::NodeState::Unreadable => NodeState::Unreadable,
        v1::NodeState::Down => NodeState::Down,
    };
    let directory = |bytes: &[u8]| {
        bytes
            .try_into()
            .map(DirectoryId::from_bytes)
            .map_err(|_| Error::Protocol("an id that is not 16 bytes long"))
    };
    Ok(NodeStatus {
        node: NodeId(message.node),
        state,
        address: message.address,
        rack: message.rack,
        software: message.software,
        directory: message.directory.as_deref().map(directory).transpose()?,
        boot: message.boot,
        draining: message.draining,
        decommissioned: message.decommissioned,
        replicas: message.replicas,
        leads: message.leads,
        bytes: message.bytes,
    })
}

fn partition(message: v1::PartitionStatus) -> Result<PartitionStatus, Error> {
    let state = match message.state() {
        v1::PartitionState::Unspecified => PartitionState::Unknown,
        v1::PartitionState::Offline => PartitionState::Offline,
        v1::PartitionState::BelowFloor => PartitionState::BelowFloor,
        v1::PartitionState::UnderReplicated => PartitionState::UnderReplicated,
        v1::PartitionState::Moving => PartitionState::Moving,
        v1::PartitionState::Healthy => PartitionState::Healthy,
    };
    let nodes = |numbers: Vec<u32>| numbers.into_iter().map(NodeId).collect();
    Ok(PartitionStatus {
        topic_id: topic_id(&message.topic_id)?,
        topic: message.topic,
        partition: PartitionId(message.partition),
        state,
        epoch: LeaderEpoch(message.epoch),
        leader: message.leader.map(NodeId),
        replicas_wanted: message.replicas_wanted,
        replicas: nodes(message.replicas),
        isr: nodes(message.isr),
        adding: nodes(message.adding),
        removing: nodes(message.removing),
        unclean_epoch: message.unclean_epoch.map(LeaderEpoch),
        bytes: message.bytes,
    })
}
