//! Evening stores out, a few replicas at a time.
//!
//! A step is taken only if it lowers, in this order, the pairs of replicas that share a rack, or the
//! unevenness of replicas and bytes by more than a grain, or the unevenness of preferred leaders.
//! Each of these is a whole number that cannot fall for ever, so balancing comes to rest.

use std::collections::BTreeSet;

use tidelog_model::{NodeId, TopicPartition};

use super::placement::Loads;
use super::reassignment::{target_of, towards};
use super::{Change, Reason, World};
use crate::health::Standing;

/// A move has to lower the unevenness by this part of what a wholly even cluster has, so that a few
/// bytes are no reason to move a partition.
const GRAIN: u128 = 200;

/// The steps to take now, at most so many that `at_once` partitions are on the move. None while a store
/// is not well: what it has will be needed or replaced soon enough.
pub fn steps(world: &World<'_>, busy: &BTreeSet<TopicPartition>, at_once: usize) -> Vec<Change> {
    let mut loads = Loads::of(world);
    let live = world.image.live_nodes().map(|live| live.node);
    let unwell = live.chain(loads.holders()).any(|node| world.standing(node) != Standing::Good);
    let moving = world.image.current().filter(|(_, held, _)| held.value.is_moving()).count();
    if unwell || moving >= at_once {
        return Vec::new();
    }
    let mut moved = busy.clone();
    let mut changes = Vec::new();
    while moving + changes.len() < at_once {
        let Some((partition, target)) = best_move(world, &loads, &moved) else { break };
        changes.extend(change(world, &mut loads, partition, &target));
        moved.insert(partition);
    }
    if changes.is_empty() {
        changes = reorder(world, &mut loads, busy);
    }
    changes
}

fn change(
    world: &World<'_>,
    loads: &mut Loads,
    partition: TopicPartition,
    target: &[NodeId],
) -> Option<Change> {
    let held = world.image.partitions.get(&partition)?;
    let size = world.size(partition);
    loads.remove(&target_of(&held.value), size);
    loads.add(target, size);
    let record = towards(&held.value, target);
    Some(Change { partition, planned_from: held.revision, record, reason: Reason::Balance })
}

/// What a step improves; compared in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gain {
    crowding: usize,
    unevenness: u128,
}

/// The replica whose move gains most, and the partition's replicas after it.
fn best_move(
    world: &World<'_>,
    loads: &Loads,
    moved: &BTreeSet<TopicPartition>,
) -> Option<(TopicPartition, Vec<NodeId>)> {
    let nodes = loads.targets().len().max(1) as u128;
    let grain = 2 * 1_000_000 * 1_000_000 / nodes / GRAIN;
    let mut best: Option<(Gain, TopicPartition, Vec<NodeId>)> = None;
    for (partition, held, _) in world.image.current() {
        if held.value.is_moving() || moved.contains(&partition) || !world.is_led(partition, &held.value) {
            continue;
        }
        let replicas = &held.value.replicas;
        for (position, from) in replicas.iter().enumerate().filter(|(_, from)| loads.targets().contains(from))
        {
            for to in loads.targets().iter().filter(|to| !replicas.contains(to)) {
                let mut target = replicas.clone();
                target[position] = *to;
                let Some(gain) = gain(loads, replicas, &target, *from, *to, world.size(partition), grain)
                else {
                    continue;
                };
                if best.as_ref().is_none_or(|(known, ..)| gain > *known) {
                    best = Some((gain, partition, target));
                }
            }
        }
    }
    best.map(|(_, partition, target)| (partition, target))
}

fn gain(
    loads: &Loads,
    old: &[NodeId],
    new: &[NodeId],
    from: NodeId,
    to: NodeId,
    bytes: u64,
    grain: u128,
) -> Option<Gain> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    let before = loads.unevenness(from, 0, 0) + loads.unevenness(to, 0, 0);
    let after = loads.unevenness(from, -1, -bytes) + loads.unevenness(to, 1, bytes);
    let unevenness = before.saturating_sub(after);
    let more_replicas = loads.load(from).replicas > loads.load(to).replicas + 1;
    let worthwhile = unevenness > if more_replicas { 0 } else { grain };
    // Mostly there is nothing to gain, and that is settled without a look at racks.
    let crowded = loads.crowding(old);
    if crowded == 0 && !worthwhile {
        return None;
    }
    let crowding = crowded.checked_sub(loads.crowding(new))?;
    (crowding > 0 || worthwhile).then_some(Gain { crowding, unevenness })
}

/// Makes other replicas the preferred leaders where a node is preferred for more than its share. Nothing
/// is copied for it, so all of it is done at once.
fn reorder(world: &World<'_>, loads: &mut Loads, busy: &BTreeSet<TopicPartition>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (partition, held, _) in world.image.current() {
        let replicas = &held.value.replicas;
        if held.value.is_moving() || busy.contains(&partition) || replicas.is_empty() {
            continue;
        }
        let preferred = |node: NodeId| loads.load(node).preferred;
        let candidates =
            (1..replicas.len()).filter(|position| loads.targets().contains(&replicas[*position]));
        let Some(better) = candidates.min_by_key(|position| preferred(replicas[*position])) else { continue };
        if preferred(replicas[0]) > preferred(replicas[better]) + 1 {
            let mut target = replicas.clone();
            target.swap(0, better);
            changes.extend(change(world, loads, partition, &target));
        }
    }
    changes
}
