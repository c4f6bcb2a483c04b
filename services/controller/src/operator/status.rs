//! What the controller tells of the cluster.

use serde::Serialize;
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, PartitionId, TopicId, TopicName};

/// The cluster in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterStatus {
    pub controller: NodeId,
    pub nodes: usize,
    /// Nodes that are not [`NodeState::Up`].
    pub nodes_not_up: usize,
    pub topics: usize,
    pub partitions: usize,
    /// Without a leader that works.
    pub offline: usize,
    /// With fewer in-sync replicas than it takes to acknowledge.
    pub below_floor: usize,
    /// With fewer in-sync replicas than their topics want.
    pub under_replicated: usize,
    /// On the move.
    pub moving: usize,
    /// Led by another than the preferred replica.
    pub not_preferred: usize,
    /// Keys whose values cannot be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    pub node: NodeId,
    pub state: NodeState,
    pub address: Option<String>,
    pub rack: Option<String>,
    pub software: Option<String>,
    pub directory: Option<DirectoryId>,
    pub boot: Option<u64>,
    /// It leads nothing and gets nothing new, by its own wish or an operator's.
    pub draining: bool,
    /// An operator wants it to leave for good; it has when it has no replicas any more.
    pub decommissioned: bool,
    pub replicas: usize,
    pub leads: usize,
    /// Local bytes of its replicas, as their leaders told.
    pub bytes: u64,
}

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
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
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    pub topic: TopicId,
    pub name: TopicName,
    pub partition: PartitionId,
    pub state: PartitionState,
    pub epoch: LeaderEpoch,
    pub leader: Option<NodeId>,
    /// How many replicas its topic wants.
    pub wanted: u32,
    /// The preferred leader first.
    pub replicas: Vec<NodeId>,
    pub isr: Vec<NodeId>,
    pub adding: Vec<NodeId>,
    pub removing: Vec<NodeId>,
    /// The newest epoch that began with a loss of acknowledged records accepted by an operator.
    pub unclean_epoch: Option<LeaderEpoch>,
    pub bytes: u64,
}

/// How a partition is; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartitionState {
    /// No leader that works.
    Offline,
    /// Too few in-sync replicas to acknowledge.
    BelowFloor,
    UnderReplicated,
    Moving,
    Healthy,
}

/// A leader from outside the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Elected {
    pub topic: TopicId,
    pub partition: PartitionId,
    pub node: NodeId,
    pub epoch: LeaderEpoch,
}
