//! The partition's record in the metadata store, as far as replication reads it.

use tidelog_model::{LeaderEpoch, NodeId};

use crate::identity::{Instance, ReplicaId};

/// Who leads the partition, where its replicas belong, which of them are in sync.
///
/// The controller changes epoch, leader and replicas; the leader changes `isr`. Both compare the
/// record's revision, and with it everything in the record.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Record {
    pub epoch: LeaderEpoch,
    pub leader: Option<Instance>,
    pub replicas: Vec<NodeId>,
    pub isr: Vec<ReplicaId>,
    /// The newest epoch that an operator began with a leader from outside the ISR.
    pub unclean_epoch: Option<LeaderEpoch>,
}

/// How a record came here, which decides what may be concluded from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A watch: true at some time, perhaps no longer.
    Watch,
    /// A linearizable read that began after this process had registered its boot and, when it answers
    /// [`Action::ReadBack`](crate::Action::ReadBack), after that action.
    Read,
}

/// A record as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub record: Record,
    /// The record's modification revision in the metadata store.
    pub revision: u64,
    /// The smallest ISR under which anything is acknowledged: the topic's `min.insync.replicas`.
    pub floor: usize,
    pub origin: Origin,
}
