//! A new leader for a partition whose leader is dead or has given up.
//!
//! Every in-sync replica has every acknowledged record, so any of them is safe; the one whose log
//! reaches furthest (last epoch, then end) also keeps what was written and not yet acknowledged. Dead
//! members leave the ISR in the same transaction, as far as the floor allows, so that the new leader
//! does not first have to find out for itself that they do not acknowledge.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidelog_meta::{Leader, Partition, Replica};
use tidelog_model::{LeaderEpoch, NodeId, Offset, TopicPartition};
use tidelog_peer::LogReports;

use super::world::leader_of;
use super::{Change, Reason, World};
use crate::health::Standing;

/// A replica that could lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub leader: Leader,
    pub fitness: Fitness,
    /// Under which epoch its last batch was written.
    pub last_epoch: LeaderEpoch,
    pub log_end: Offset,
}

/// What speaks against a candidate. Ordered: what comes later is to be preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fitness {
    /// It has just given this partition up.
    Resigned,
    /// It drains, is slow, fails often, or its replica is to be removed.
    Reluctant,
    Willing,
}

/// What the stores said that could be asked.
#[derive(Clone, Debug, Default)]
pub struct Reports {
    stores: BTreeMap<NodeId, Report>,
}

#[derive(Clone, Debug)]
struct Report {
    leader: Leader,
    logs: HashMap<TopicPartition, (LeaderEpoch, Offset)>,
}

impl Reports {
    /// Takes an answer in. A second one of the same store adds to the first, or replaces it when the
    /// store was started anew in between.
    pub fn add(&mut self, node: NodeId, reports: &LogReports) {
        let leader = Leader { node, directory: reports.directory, boot: reports.boot };
        let empty = || Report { leader, logs: HashMap::new() };
        let report = self.stores.entry(node).or_insert_with(empty);
        if report.leader != leader {
            *report = empty();
        }
        report.logs.extend(reports.logs.iter().map(|log| (log.partition, (log.last_epoch, log.log_end))));
    }

    /// What the process that is registered now said.
    fn of(&self, leader: Leader, partition: TopicPartition) -> Option<(LeaderEpoch, Offset)> {
        let report = self.stores.get(&leader.node).filter(|report| report.leader == leader)?;
        report.logs.get(&partition).copied()
    }
}

/// The partitions that need a new leader and have somebody to ask.
pub fn leaderless(world: &World<'_>, busy: &BTreeSet<TopicPartition>) -> Vec<TopicPartition> {
    let partitions = world.image.partitions.iter().filter(|(id, held)| {
        let deleted = world.image.topics.get(&id.topic).is_some_and(|topic| topic.value.deleted.is_some());
        !deleted
            && !busy.contains(id)
            && !world.is_led(**id, &held.value)
            && held.value.isr.iter().any(|replica| world.holder(replica).is_some())
    });
    partitions.map(|(id, _)| *id).collect()
}

/// Whom to ask about which partitions. For an unclean election, everyone who may have something.
pub fn whom_to_ask(
    world: &World<'_>,
    partitions: &[TopicPartition],
    unclean: bool,
) -> BTreeMap<NodeId, Vec<TopicPartition>> {
    let mut asked: BTreeMap<NodeId, Vec<TopicPartition>> = BTreeMap::new();
    for id in partitions {
        let Some(record) = world.image.partition(*id) else { continue };
        let in_sync = record.isr.iter().filter(|replica| world.holder(replica).is_some());
        let nodes: BTreeSet<NodeId> = if unclean {
            record.replicas.iter().filter(|node| world.up(**node).is_some()).copied().collect()
        } else {
            in_sync.map(|replica| replica.node).collect()
        };
        for node in nodes {
            asked.entry(node).or_default().push(*id);
        }
    }
    asked
}

/// The change that gives a partition a new leader, if it needs one and one of its in-sync replicas has
/// answered.
pub fn elect(world: &World<'_>, partition: TopicPartition, reports: &Reports) -> Option<Change> {
    let held = world.image.partitions.get(&partition)?;
    let record = &held.value;
    if world.is_led(partition, record) {
        return None;
    }
    let members = record.isr.iter().filter_map(|replica| {
        candidate(world, partition, record, leader_of(world.holder(replica)?), reports)
    });
    let chosen = choose(record, &members.collect::<Vec<_>>())?.leader;
    let reason = if record.leader == Some(chosen) { Reason::Renewal } else { Reason::Failover };
    let alive = |replica: &Replica| world.holder(replica).is_some();
    let record = promote(record, chosen, alive, world.floor(partition, record));
    Some(Change { partition, planned_from: held.revision, record, reason })
}

/// The change that makes the best of what is left: only on an operator's command, and only while no
/// in-sync replica can be reached.
pub fn elect_unclean(world: &World<'_>, partition: TopicPartition, reports: &Reports) -> Option<Change> {
    let held = world.image.partitions.get(&partition)?;
    let record = &held.value;
    if world.is_led(partition, record) || record.isr.iter().any(|replica| world.holder(replica).is_some()) {
        return None;
    }
    let replicas = record
        .replicas
        .iter()
        .filter_map(|node| candidate(world, partition, record, leader_of(world.up(*node)?), reports));
    let chosen = replicas.max_by_key(|candidate| rank(record, candidate))?;
    let record = promote_unclean(record, chosen.leader);
    Some(Change { partition, planned_from: held.revision, record, reason: Reason::Unclean })
}

fn candidate(
    world: &World<'_>,
    partition: TopicPartition,
    record: &Partition,
    leader: Leader,
    reports: &Reports,
) -> Option<Candidate> {
    let (last_epoch, log_end) = reports.of(leader, partition)?;
    let node = leader.node;
    let fitness = if world.view.resigned.contains(&(node, partition, record.epoch)) {
        Fitness::Resigned
    } else if world.welcome(node) != Some(Standing::Good) || record.removing.contains(&node) {
        Fitness::Reluctant
    } else {
        Fitness::Willing
    };
    Some(Candidate { leader, fitness, last_epoch, log_end })
}

/// The in-sync candidate to be preferred. Candidates outside the ISR are passed over.
pub fn choose(record: &Partition, candidates: &[Candidate]) -> Option<Candidate> {
    let in_sync = candidates.iter().filter(|candidate| record.isr.contains(&candidate.leader.replica()));
    in_sync.max_by_key(|candidate| rank(record, candidate)).copied()
}

fn rank(record: &Partition, candidate: &Candidate) -> (Fitness, LeaderEpoch, Offset, Reverse<usize>) {
    let position = record.replicas.iter().position(|node| *node == candidate.leader.node);
    let position = Reverse(position.unwrap_or(usize::MAX));
    (candidate.fitness, candidate.last_epoch, candidate.log_end, position)
}

/// The same partition under a new leader and a new epoch. Members of the ISR that are not alive leave
/// it, but never so many that fewer than `floor` are left.
pub fn promote(
    record: &Partition,
    leader: Leader,
    is_alive: impl Fn(&Replica) -> bool,
    floor: usize,
) -> Partition {
    let stays = |replica: &Replica| *replica == leader.replica() || is_alive(replica);
    let alive = record.isr.iter().filter(|replica| stays(replica)).count();
    let mut dead_kept = floor.saturating_sub(alive);
    let mut isr = record.isr.clone();
    isr.retain(|replica| {
        stays(replica) || {
            let keep = dead_kept > 0;
            dead_kept = dead_kept.saturating_sub(1);
            keep
        }
    });
    Partition { epoch: record.epoch.next(), leader: Some(leader), isr, ..record.clone() }
}

/// The same partition under a leader that may lack acknowledged records, marked as such.
pub fn promote_unclean(record: &Partition, leader: Leader) -> Partition {
    let epoch = record.epoch.next();
    Partition {
        epoch,
        leader: Some(leader),
        isr: vec![leader.replica()],
        unclean_epoch: Some(epoch),
        ..record.clone()
    }
}
