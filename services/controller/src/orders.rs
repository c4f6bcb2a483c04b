//! What an operator orders: what speaks against it, and what it changes. Pure.

use std::collections::BTreeSet;

use tidelog_meta::{Role, Topic};
use tidelog_model::limits::REPLICATION_FACTOR_MAX;
use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::{PARTITIONS_PER_COMMAND_MAX, Reassignment};

use crate::operator::Refusal;
use crate::plan::reassignment::towards;
use crate::plan::{Change, Reason, World};

/// A node may be drained unless something would be left without a leader.
pub fn drain(world: &World<'_>, node: NodeId) -> Result<(), Refusal> {
    known(world, node)?;
    last_replicas(world, node, |world, other| world.up(other).is_some() && !world.is_leaving(other))
}

/// A node may be decommissioned if the others have room for its replicas and, when it is dead, its data.
pub fn decommission(world: &World<'_>, node: NodeId) -> Result<(), Refusal> {
    known(world, node)?;
    let stores = world.targets().filter(|live| live.node != node).count();
    let of_node = world.image.current().filter(|(_, held, _)| held.value.replicas.contains(&node));
    let wanted = of_node.map(|(_, _, topic)| topic.replication_factor as usize).max().unwrap_or(0);
    if wanted > stores {
        return Err(Refusal::TooFewStores { wanted, stores });
    }
    if world.up(node).is_some() {
        return Ok(());
    }
    last_replicas(world, node, |world, other| world.up(other).is_some())
}

fn known(world: &World<'_>, node: NodeId) -> Result<(), Refusal> {
    world.image.nodes.get(&node).map(drop).ok_or(Refusal::UnknownNode(node))
}

/// Refuses when the node is in an ISR in which nobody else is good enough.
fn last_replicas(
    world: &World<'_>,
    node: NodeId,
    is_enough: impl Fn(&World<'_>, NodeId) -> bool,
) -> Result<(), Refusal> {
    let mut last = world.image.current().filter(|(_, held, _)| {
        let isr = &held.value.isr;
        let other = |replica: &tidelog_meta::Replica| {
            replica.node != node && world.holder(replica).is_some() && is_enough(world, replica.node)
        };
        isr.iter().any(|replica| replica.node == node) && !isr.iter().any(other)
    });
    match last.next() {
        Some((partition, ..)) => Err(Refusal::LastReplica { node, partition, others: last.count() }),
        None => Ok(()),
    }
}

/// The topic's record with another replication factor.
pub fn replication_factor(world: &World<'_>, topic: TopicId, replicas: u32) -> Result<Topic, Refusal> {
    let record = world.image.topic(topic).ok_or(Refusal::UnknownTopic)?;
    let record = Topic { replication_factor: replicas, ..record.clone() };
    enough_stores(world, &record)?;
    Ok(record)
}

/// Whether a topic's replication factor can be had.
pub(crate) fn enough_stores(world: &World<'_>, topic: &Topic) -> Result<(), Refusal> {
    let replicas = topic.replication_factor;
    if replicas == 0 {
        return Err(Refusal::NoReplicas);
    }
    if replicas > REPLICATION_FACTOR_MAX {
        return Err(Refusal::TooManyReplicas { asked: replicas, most: REPLICATION_FACTOR_MAX });
    }
    let floor = topic.isr_floor();
    if replicas < floor {
        return Err(Refusal::BelowFloor { replicas, floor });
    }
    let (wanted, stores) = (replicas as usize, world.targets().count());
    if wanted > stores {
        return Err(Refusal::TooFewStores { wanted, stores });
    }
    Ok(())
}

/// The changes that move partitions to these nodes, the preferred leader first. A partition that is there
/// already needs none; one in `busy` has a decision under way.
pub fn reassignments(
    world: &World<'_>,
    busy: &BTreeSet<TopicPartition>,
    moves: &[Reassignment],
) -> Result<Vec<Change>, Refusal> {
    count(moves.len())?;
    let mut named = BTreeSet::new();
    for step in moves {
        if !named.insert(step.partition) {
            return Err(Refusal::MovedTwice(step.partition));
        }
        takes_target(world, step)?;
    }
    if let Some(busy) = named.intersection(busy).next() {
        return Err(Refusal::Busy(*busy));
    }
    let changes = moves.iter().filter_map(|Reassignment { partition, replicas }| {
        let held = &world.image.partitions[partition];
        let (record, planned_from) = (towards(&held.value, replicas), held.revision);
        let reason = Reason::ReassignmentBegun;
        (record != held.value).then_some(Change { partition: *partition, planned_from, record, reason })
    });
    Ok(changes.collect())
}

fn takes_target(world: &World<'_>, step: &Reassignment) -> Result<(), Refusal> {
    let Reassignment { partition, replicas: target } = step;
    let partition = *partition;
    let current = world.image.partition(partition).zip(world.image.topic(partition.topic));
    let (record, topic) = current.ok_or(Refusal::UnknownPartition(partition))?;
    let mut nodes = BTreeSet::new();
    if let Some(node) = target.iter().find(|node| !nodes.insert(**node)) {
        return Err(Refusal::NamedTwice { partition, node: *node });
    }
    let wanted = topic.replication_factor;
    if target.len() != wanted as usize {
        return Err(Refusal::WrongCount { partition, wanted, named: target.len() });
    }
    for node in target.iter().filter(|node| !record.replicas.contains(node)) {
        takes_replicas(world, *node)?;
    }
    Ok(())
}

fn takes_replicas(world: &World<'_>, node: NodeId) -> Result<(), Refusal> {
    known(world, node)?;
    let live = world.up(node).ok_or(Refusal::NodeDown(node))?;
    if !live.roles.is_empty() && !live.roles.contains(&Role::Store) {
        return Err(Refusal::NoStore(node));
    }
    if world.is_leaving(node) { Err(Refusal::NodeLeaving(node)) } else { Ok(()) }
}

/// Partitions may get an unclean leader while they have none, and nobody who is in sync is alive.
pub(crate) fn unclean(world: &World<'_>, partitions: &[TopicPartition]) -> Result<(), Refusal> {
    count(partitions.len())?;
    for partition in partitions {
        let record = world.image.partition(*partition).ok_or(Refusal::UnknownPartition(*partition))?;
        if world.is_led(*partition, record) {
            return Err(Refusal::HasLeader(*partition));
        }
        if let Some(alive) = record.isr.iter().find(|replica| world.holder(replica).is_some()) {
            return Err(Refusal::InSyncAlive { partition: *partition, node: alive.node });
        }
    }
    Ok(())
}

fn count(named: usize) -> Result<(), Refusal> {
    let most = PARTITIONS_PER_COMMAND_MAX;
    if named > most { Err(Refusal::TooMany { named, most }) } else { Ok(()) }
}
