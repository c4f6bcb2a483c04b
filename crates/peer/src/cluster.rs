//! What an operator asks of a cluster's controller, and what it tells of the cluster.

use async_trait::async_trait;
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, PartitionId, TopicId, TopicName, TopicPartition};

use crate::StoreError;

/// Most partitions in one page. With the longest names and the most replicas a page stays below the
/// 1 MiB that a client takes as one header.
pub const PARTITIONS_PER_PAGE_MAX: usize = 500;

/// Most nodes in one page.
pub const NODES_PER_PAGE_MAX: usize = 500;

/// Most partitions that one command can name.
pub const PARTITIONS_PER_COMMAND_MAX: usize = 1_000;

/// Most keys in [`ClusterStatus::unreadable_shown`].
pub const UNREADABLE_SHOWN_MAX: usize = 20;

/// A cluster's controller, as an operator uses it. A process that is not the controller answers
/// `NotController` and changes nothing.
///
/// A command that changes something answers when the change is committed: what follows from it (moving
/// replicas, say) goes on after that, whoever is controller, and shows in the status.
#[async_trait]
pub trait ClusterAdmin: Send + Sync {
    /// The cluster as a whole.
    async fn status(&self) -> Result<ClusterStatus, StoreError>;

    /// Every node that ever was part of the cluster, by number: those after `after`, at most `limit` and
    /// [`NODES_PER_PAGE_MAX`].
    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError>;

    /// Partitions of one topic or of all, by topic id and number.
    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError>;

    /// Takes a node's leaderships away and gives it nothing new. Its replicas stay and keep following.
    /// Refused while it has the last replica in sync of anything. Lasts until [`ClusterAdmin::undrain`].
    async fn drain(&self, node: NodeId) -> Result<(), StoreError>;

    /// Moves everything that a node has to others, for good. Works for a node that is dead too, if the
    /// others have its data. Refused where there are too few others.
    async fn decommission(&self, node: NodeId) -> Result<(), StoreError>;

    /// Ends a drain, and a decommission that is not finished; replicas that have moved stay moved.
    async fn undrain(&self, node: NodeId) -> Result<(), StoreError>;

    /// Moves partitions: all of them or, when one is refused, none. Replaces moves that are under way.
    /// At most [`PARTITIONS_PER_COMMAND_MAX`].
    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError>;

    /// Evens leaderships and replicas out now rather than bit by bit. Answers how many leaderships move
    /// back to their preferred replicas; replicas follow at the usual rate.
    async fn rebalance(&self) -> Result<u32, StoreError>;

    /// Gives partitions of which no in-sync replica can be reached to the best of the others.
    /// **Acknowledged records may be lost.** Refused while an in-sync replica is alive. At most
    /// [`PARTITIONS_PER_COMMAND_MAX`].
    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError>;

    /// Changes how many replicas each partition of a topic has; they are added and removed bit by bit.
    async fn set_replication_factor(&self, topic: TopicId, replicas: u32) -> Result<(), StoreError>;

    /// Gives a topic more partitions, up to this number altogether; when this returns, each can be
    /// written to.
    async fn add_partitions(&self, topic: TopicId, partitions: u32) -> Result<(), StoreError>;
}

/// A part of a long list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// There are more after the last of these.
    pub more: bool,
}

/// Which partitions are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PartitionQuery {
    /// `None` for those of all topics.
    pub topic: Option<TopicId>,
    /// Only those of which [`PartitionState::is_problem`].
    pub problems_only: bool,
    /// Those after this one.
    pub after: Option<TopicPartition>,
    /// At most so many, and at most [`PARTITIONS_PER_PAGE_MAX`]; 0 for as many as that.
    pub limit: usize,
}

/// Where a partition is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassignment {
    pub partition: TopicPartition,
    /// As many nodes as the topic's replication factor says, the preferred leader first.
    pub replicas: Vec<NodeId>,
}

/// The cluster in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    pub controller: NodeId,
    pub nodes: u32,
    /// Nodes that are not [`NodeState::Up`].
    pub nodes_not_up: u32,
    pub topics: u32,
    pub partitions: u32,
    /// Without a leader that works.
    pub offline: u32,
    /// With fewer in-sync replicas than it takes to acknowledge.
    pub below_floor: u32,
    /// With fewer in-sync replicas than their topics want.
    pub under_replicated: u32,
    /// On the move.
    pub moving: u32,
    /// Led by another than the preferred replica.
    pub not_preferred: u32,
    /// Keys whose values cannot be read.
    pub unreadable: u32,
    /// The first [`UNREADABLE_SHOWN_MAX`] of them, and why.
    pub unreadable_shown: Vec<(String, String)>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub replicas: u32,
    pub leads: u32,
    /// Local bytes of its replicas, as their leaders told.
    pub bytes: u64,
}

/// What is thought of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl PartitionStatus {
    pub fn id(&self) -> TopicPartition {
        TopicPartition::new(self.topic, self.partition)
    }
}

/// How a partition is; the first that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// No leader that works.
    Offline,
    /// Too few in-sync replicas to acknowledge.
    BelowFloor,
    /// Fewer in-sync replicas than its topic wants.
    UnderReplicated,
    /// Replicas are being added or removed.
    Moving,
    Healthy,
}

impl PartitionState {
    /// Whether something is not as it is meant to be. A move is.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::Offline | Self::BelowFloor | Self::UnderReplicated)
    }
}

/// A leader from outside the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elected {
    pub partition: TopicPartition,
    pub node: NodeId,
    pub epoch: LeaderEpoch,
}
