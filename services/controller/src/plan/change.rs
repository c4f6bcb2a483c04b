//! One decision on one partition's record, and the rules that no decision may break.

use std::collections::BTreeSet;

use thiserror::Error;
use tidelog_meta::{Partition, Replica, Revision};
use tidelog_model::TopicPartition;

/// A record to be put in the place of the one that it was planned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub partition: TopicPartition,
    /// The revision of the record that it was planned from.
    pub planned_from: Revision,
    pub record: Partition,
    pub reason: Reason,
}

/// Why a record changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The leader is dead or has given up.
    Failover,
    /// The leader has given up, and there is none better: it leads again, under a new epoch.
    Renewal,
    /// An operator wants a leader at the cost of records that were acknowledged.
    Unclean,
    /// The leader's store drains.
    Drain,
    /// The leader's disk is too slow.
    Unfit,
    /// The leader's replica is about to be removed.
    Removal,
    /// Back to the preferred leader.
    Preferred,
    /// Replicas are added, or their removal is announced.
    ReassignmentBegun,
    /// What was added is in sync; what was to go is gone.
    ReassignmentDone,
    /// To even out stores.
    Balance,
}

/// A rule that a change would break. It is a bug to get one; the change is not made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("the new leader is not in sync")]
    LeaderOutsideIsr,
    #[error("a replica becomes in sync that was not")]
    IsrGrows,
    #[error("the ISR falls to {left}, below the floor of {floor}")]
    BelowFloor { left: usize, floor: usize },
    #[error("the leader changes without a higher epoch, or the epoch without a new leader")]
    EpochAndLeader,
    #[error("the leader or an in-sync replica is none of the replicas")]
    NotAReplica,
    #[error("a node is named twice, or moved without being a replica")]
    Malformed,
}

/// Whether a record may be put in the place of another. `floor` is how many in-sync replicas it takes to
/// acknowledge; an ISR that is smaller already may stay as it is.
pub fn check(old: &Partition, change: &Partition, floor: usize, reason: Reason) -> Result<(), Violation> {
    let distinct: BTreeSet<_> = change.replicas.iter().collect();
    let listed = |nodes: &[_]| nodes.iter().all(|node| distinct.contains(node));
    if distinct.len() != change.replicas.len()
        || !listed(&change.adding)
        || !listed(&change.removing)
        || change.adding.iter().any(|node| change.removing.contains(node))
    {
        return Err(Violation::Malformed);
    }
    let members = change.isr.iter().map(|replica| replica.node);
    if members.chain(change.leader.map(|leader| leader.node)).any(|node| !distinct.contains(&node)) {
        return Err(Violation::NotAReplica);
    }
    let led_anew = change.epoch == old.epoch.next();
    let as_before = change.epoch == old.epoch && change.leader == old.leader;
    let succeeded = led_anew && change.leader.is_some();
    if !(as_before || succeeded) {
        return Err(Violation::EpochAndLeader);
    }
    if reason == Reason::Unclean {
        return Ok(());
    }
    check_isr(old, change, floor)
}

fn check_isr(old: &Partition, change: &Partition, floor: usize) -> Result<(), Violation> {
    let in_sync = |replica: &Replica| old.isr.contains(replica);
    if change.epoch != old.epoch && !change.leader.is_some_and(|leader| in_sync(&leader.replica())) {
        return Err(Violation::LeaderOutsideIsr);
    }
    if change.leader.is_some_and(|leader| !change.isr.contains(&leader.replica())) {
        return Err(Violation::LeaderOutsideIsr);
    }
    if !change.isr.iter().all(in_sync) {
        return Err(Violation::IsrGrows);
    }
    let floor = floor.min(old.isr.len());
    if change.isr.len() < floor {
        return Err(Violation::BelowFloor { left: change.isr.len(), floor });
    }
    Ok(())
}
