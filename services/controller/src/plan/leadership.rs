//! Leaderships that should be elsewhere although the leader works: its store drains or is slow, its
//! replica is about to go, or the preferred replica is back.
//!
//! The leader is told first, so that it lets what is under way finish and refuses the rest without
//! effect; whether it answers or not, the epoch is raised after that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use tidelog_meta::{Live, Partition};
use tidelog_model::{LeaderEpoch, NodeId, TopicPartition};

use super::election::promote;
use super::world::leader_of;
use super::{Change, Reason, World};
use crate::health::Standing;

/// A leadership to be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub partition: TopicPartition,
    /// The epoch that ends.
    pub epoch: LeaderEpoch,
    pub from: NodeId,
    pub to: NodeId,
    pub reason: Reason,
}

/// The moves to make now: at most `relieve` away from where a leadership should not be, and at most
/// `prefer` back to where it belongs.
pub fn moves(world: &World<'_>, busy: &BTreeSet<TopicPartition>, relieve: usize, prefer: usize) -> Vec<Move> {
    let mut led = leaderships(world);
    let (mut moves, mut relieved, mut preferred) = (Vec::new(), 0, 0);
    for (partition, held, _) in world.image.current() {
        if busy.contains(&partition) || !world.is_led(partition, &held.value) {
            continue;
        }
        let Some((from, reason)) = unwanted(world, &held.value) else { continue };
        let room = if reason == Reason::Preferred { preferred < prefer } else { relieved < relieve };
        let Some(to) = room.then(|| successor(world, &held.value, from, reason, &led)).flatten() else {
            continue;
        };
        *if reason == Reason::Preferred { &mut preferred } else { &mut relieved } += 1;
        *led.entry(to).or_default() += 1;
        moves.push(Move { partition, epoch: held.value.epoch, from, to, reason });
    }
    moves
}

/// The change that ends a hand-over, if it still makes sense.
pub fn carry_out(world: &World<'_>, step: &Move) -> Option<Change> {
    let held = world.image.partitions.get(&step.partition)?;
    let record = &held.value;
    let unchanged = record.epoch == step.epoch && record.leader.is_some_and(|l| l.node == step.from);
    if !unchanged || world.welcome(step.to).is_none() {
        return None;
    }
    let to = member(world, record, step.to)?;
    let alive = |replica: &_| world.holder(replica).is_some();
    let record = promote(record, leader_of(to), alive, world.floor(step.partition, record));
    Some(Change { partition: step.partition, planned_from: held.revision, record, reason: step.reason })
}

/// How many partitions each node leads.
pub fn leaderships(world: &World<'_>) -> BTreeMap<NodeId, usize> {
    let mut led = BTreeMap::new();
    for leader in world.image.current().filter_map(|(_, held, _)| held.value.leader) {
        *led.entry(leader.node).or_default() += 1;
    }
    led
}

/// Whether, and why, the leader should be another.
fn unwanted(world: &World<'_>, record: &Partition) -> Option<(NodeId, Reason)> {
    let from = record.leader?.node;
    let added = record.adding.iter().all(|node| record.isr.iter().any(|replica| replica.node == *node));
    if world.is_leaving(from) {
        Some((from, Reason::Drain))
    } else if record.removing.contains(&from) && added {
        Some((from, Reason::Removal))
    } else if world.standing(from) == Standing::Unfit {
        Some((from, Reason::Unfit))
    } else {
        let preferred = *record.replicas.first()?;
        (preferred != from && !record.is_moving()).then_some((from, Reason::Preferred))
    }
}

/// Who takes over: an in-sync replica that may lead, the preferred one or else the one with least to do.
fn successor(
    world: &World<'_>,
    record: &Partition,
    from: NodeId,
    reason: Reason,
    led: &BTreeMap<NodeId, usize>,
) -> Option<NodeId> {
    let preferred = record.replicas.first().copied();
    let wanted = |node: &NodeId| match reason {
        Reason::Preferred => Some(*node) == preferred && world.welcome(*node) == Some(Standing::Good),
        Reason::Unfit => world.welcome(*node) == Some(Standing::Good),
        _ => world.welcome(*node).is_some(),
    };
    record
        .replicas
        .iter()
        .filter(|node| **node != from && !record.removing.contains(node) && wanted(node))
        .filter(|node| member(world, record, **node).is_some())
        .max_by_key(|node| {
            let duties = led.get(node).copied().unwrap_or(0);
            (world.welcome(**node), Some(**node) == preferred, Reverse(duties), Reverse(**node))
        })
        .copied()
}

/// The running process of an in-sync replica.
fn member<'a>(world: &World<'a>, record: &Partition, node: NodeId) -> Option<&'a Live> {
    record.isr.iter().find(|replica| replica.node == node).and_then(|replica| world.holder(replica))
}
