//! `partition/{topic}/{number}`: who leads, under which epoch.

use serde::{Deserialize, Serialize};
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId};

use super::JsonValue;

/// A partition's leadership and replicas.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Partition {
    /// Raised in the transaction that names a new leader; everything the leader does is fenced by it.
    pub epoch: LeaderEpoch,
    pub leader: Option<Leader>,
    /// Where replicas belong, the preferred leader first.
    #[serde(default)]
    pub replicas: Vec<NodeId>,
    /// Which replicas have every acknowledged record.
    #[serde(default)]
    pub isr: Vec<Replica>,
}

/// Leadership belongs to one start of one data directory: a node that restarted never resumes an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub node: NodeId,
    pub directory: DirectoryId,
    pub boot: u64,
}

/// A replica on one data directory: with another disk, it is another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Replica {
    pub node: NodeId,
    pub directory: DirectoryId,
}

impl Partition {
    /// The same partition under a new leader, who is its only replica for now.
    #[must_use]
    pub fn led_by(&self, leader: Leader) -> Self {
        Self {
            epoch: self.epoch.next(),
            leader: Some(leader),
            replicas: vec![leader.node],
            isr: vec![Replica { node: leader.node, directory: leader.directory }],
        }
    }
}

impl JsonValue for Partition {
    const NAME: &'static str = "partition";
    const VERSION: u32 = 1;
}
