//! What a cluster's controller asks of a store. Every answer names the start of the store that gave it,
//! so that an answer of an earlier life is never taken for one of this life.

use std::time::Duration;

use async_trait::async_trait;
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, Offset, TopicPartition};

use crate::StoreError;

/// How long a leader that was asked to hand over waits for the new epoch before it takes appends again.
pub const HAND_OVER_HOLD: Duration = Duration::from_secs(2);

/// Most partitions named in [`Pong::resigned`]; what does not fit comes with the next one.
pub const RESIGNED_MAX: usize = 4096;

/// A store, as its controller sees it. None of these calls changes what is durable.
#[async_trait]
pub trait StoreControl: Send + Sync {
    /// Answers at once, whatever else the store is doing.
    async fn ping(&self, ping: Ping) -> Result<Pong, StoreError>;

    /// How far the logs of these partitions reach, for those that the store has; it need not lead them.
    async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, StoreError>;

    /// For each partition that is led under the named epoch: takes no more appends (they are refused
    /// without effect) and waits until everything appended is committed. Returns when all are quiet or
    /// cannot become so; the leader stays leader until the epoch is raised, and takes appends again
    /// after [`HAND_OVER_HOLD`]. A `token` lower than one seen before is refused.
    async fn hand_over(&self, token: u64, partitions: Vec<HandOver>) -> Result<(), StoreError>;

    /// How much the store holds locally of each partition that it leads.
    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError>;
}

/// A sign of life asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    pub controller: NodeId,
    /// Larger than that of every earlier controller.
    pub token: u64,
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pong {
    pub directory: DirectoryId,
    pub boot: u64,
    /// False while its disk is too slow to lead.
    pub fit: bool,
    /// Leaderships that the metadata gives to this start and that it has given up: at most
    /// [`RESIGNED_MAX`].
    pub resigned: Vec<(TopicPartition, LeaderEpoch)>,
}

/// The logs of some partitions, on one start of one data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReports {
    pub directory: DirectoryId,
    pub boot: u64,
    pub logs: Vec<LogReport>,
}

/// How far one log reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogReport {
    pub partition: TopicPartition,
    /// Under which epoch its last batch was written.
    pub last_epoch: LeaderEpoch,
    pub log_end: Offset,
}

/// A leadership that is to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    pub partition: TopicPartition,
    /// Another epoch than this is not handed over.
    pub epoch: LeaderEpoch,
    pub to: NodeId,
}

/// The local size of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBytes {
    pub partition: TopicPartition,
    pub bytes: u64,
}
