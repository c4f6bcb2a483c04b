//! `partition/{topic}/{number}`: who leads, under which epoch.

use serde::{Deserialize, Serialize};
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId};

use super::{JsonValue, Topic};

/// A partition's leadership and replicas.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Partition {
    /// Raised in the transaction that names a new leader; everything the leader does is fenced by it.
    pub epoch: LeaderEpoch,
    pub leader: Option<Leader>,
    /// Where replicas belong, the preferred leader first. While a reassignment is under way, both those
    /// that come and those that go are among them.
    #[serde(default)]
    pub replicas: Vec<NodeId>,
    /// Which replicas have every acknowledged record.
    #[serde(default)]
    pub isr: Vec<Replica>,
    /// Which of the replicas a reassignment adds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adding: Vec<NodeId>,
    /// Which of the replicas a reassignment removes, once those that it adds are in sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removing: Vec<NodeId>,
    /// The newest epoch that an operator began with a leader from outside the ISR: what was acknowledged
    /// before it may be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclean_epoch: Option<LeaderEpoch>,
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
            isr: vec![leader.replica()],
            adding: Vec::new(),
            removing: Vec::new(),
            unclean_epoch: self.unclean_epoch,
        }
    }

    /// Below how many in-sync replicas this partition takes no writes, and its ISR never shrinks: what
    /// the topic says, but no more than the replicas that are not still on their way in. So a topic
    /// whose replication factor is raised stays writable while the new replicas fill.
    pub fn isr_floor(&self, topic: &Topic) -> usize {
        self.floor(topic.isr_floor() as usize)
    }

    /// The same, where the topic's [`isr_floor`](Topic::isr_floor) is known already.
    pub fn floor(&self, topic: usize) -> usize {
        let settled = self.replicas.len().saturating_sub(self.adding.len()).max(1);
        topic.min(settled)
    }

    /// Whether a reassignment is under way.
    pub fn is_moving(&self) -> bool {
        !self.adding.is_empty() || !self.removing.is_empty()
    }
}

impl Leader {
    /// The replica that this leader is, among the in-sync ones.
    pub fn replica(&self) -> Replica {
        Replica { node: self.node, directory: self.directory }
    }
}

impl JsonValue for Partition {
    const NAME: &'static str = "partition";
    /// Version 1 knew no reassignment: a program of that time would drop its fields when it writes back.
    const VERSION: u32 = 2;

    fn check(&self) -> Result<(), String> {
        let strangers = self.adding.iter().chain(&self.removing).find(|node| !self.replicas.contains(node));
        match strangers {
            Some(node) => Err(format!("node {node} is being moved and is no replica")),
            None => Ok(()),
        }
    }
}
