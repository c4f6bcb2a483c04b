//! Moving replicas: those that come are added first, and those that go are removed once the new ones
//! are in sync. The record says all there is to know about it, so that any controller can go on.

use std::collections::BTreeSet;

use tidelog_meta::{Partition, Topic};
use tidelog_model::{NodeId, TopicPartition};

use super::placement::Loads;
use super::{Change, Reason, World};

/// Where the replicas will be when what is under way is done.
pub fn target_of(record: &Partition) -> Vec<NodeId> {
    record.replicas.iter().filter(|node| !record.removing.contains(node)).copied().collect()
}

/// The record on its way to `target`, the preferred leader first. Replaces what was under way: a replica
/// that was being added and is not wanted any more goes at once, or like any other if it is in sync.
pub fn towards(record: &Partition, target: &[NodeId]) -> Partition {
    let is_settled = |node: &&NodeId| record.replicas.contains(node) && !record.adding.contains(node);
    let adding: Vec<_> = target.iter().filter(|node| !is_settled(node)).copied().collect();
    let in_sync = |node: &NodeId| record.isr.iter().any(|replica| replica.node == *node);
    let goes = |node: &&NodeId| !target.contains(node) && (!record.adding.contains(node) || in_sync(node));
    let removing: Vec<_> = record.replicas.iter().filter(goes).copied().collect();
    let replicas = target.iter().chain(&removing).copied().collect();
    Partition { replicas, adding, removing, ..record.clone() }
}

/// What is ready to be finished. Being alive is an opinion, and may be one of a disk that is lost already:
/// nobody who is in sync is removed before the leader, who stays, has answered since the removal was known.
pub fn completions(world: &World<'_>, busy: &BTreeSet<TopicPartition>) -> Vec<Change> {
    let moving = world.image.current().filter(|(id, held, _)| held.value.is_moving() && !busy.contains(id));
    moving
        .filter(|(id, held, _)| world.is_led(*id, &held.value))
        .filter_map(|(id, held, topic)| {
            let record = complete(&held.value, topic)?;
            let takes_away = record.isr.len() < held.value.isr.len();
            let is_safe = !takes_away || world.view.vouched.contains(&id);
            is_safe.then_some(Change {
                partition: id,
                planned_from: held.revision,
                record,
                reason: Reason::ReassignmentDone,
            })
        })
        .collect()
}

/// The record after the move, if everything that was added is in sync, the leader stays, and what stays
/// is enough to acknowledge.
fn complete(record: &Partition, topic: &Topic) -> Option<Partition> {
    let in_sync = |node: &NodeId| record.isr.iter().any(|replica| replica.node == *node);
    let stays = |node: NodeId| !record.removing.contains(&node);
    if !record.adding.iter().all(in_sync) || !stays(record.leader?.node) {
        return None;
    }
    let isr: Vec<_> = record.isr.iter().filter(|replica| stays(replica.node)).copied().collect();
    let after = Partition {
        replicas: target_of(record),
        isr,
        adding: Vec::new(),
        removing: Vec::new(),
        ..record.clone()
    };
    // An ISR that shrinks must not fall below the floor, neither today's nor the one that holds then.
    let floor = after.isr_floor(topic).max(record.isr_floor(topic));
    (after.isr.len() == record.isr.len() || after.isr.len() >= floor).then_some(after)
}

/// The moves to begin because a store is decommissioned or a topic wants another number of replicas, at
/// most so many that `at_once` partitions are on the move.
pub fn begin(world: &World<'_>, busy: &BTreeSet<TopicPartition>, at_once: usize) -> Vec<Change> {
    let moving = world.image.current().filter(|(_, held, _)| held.value.is_moving()).count();
    let mut room = at_once.saturating_sub(moving);
    let mut loads = None;
    let mut changes = Vec::new();
    for (partition, held, topic) in world.image.current() {
        let record = &held.value;
        if busy.contains(&partition) || !needs_another_target(world, record, topic) {
            continue;
        }
        // One that moves already takes no further room.
        if room == 0 && !record.is_moving() {
            continue;
        }
        let loads = loads.get_or_insert_with(|| Loads::of(world));
        let Some(target) = better_target(world, partition, record, topic, loads) else { continue };
        room = room.saturating_sub(usize::from(!record.is_moving()));
        let record = towards(record, &target);
        changes.push(Change {
            partition,
            planned_from: held.revision,
            record,
            reason: Reason::ReassignmentBegun,
        });
    }
    changes
}

fn needs_another_target(world: &World<'_>, record: &Partition, topic: &Topic) -> bool {
    let target = target_of(record);
    target.len() != topic.replication_factor as usize
        || target.iter().any(|node| world.is_decommissioned(*node))
}

/// A target without decommissioned nodes and with the wanted number of replicas, counted into `loads`;
/// `None` when there are not enough stores.
fn better_target(
    world: &World<'_>,
    partition: TopicPartition,
    record: &Partition,
    topic: &Topic,
    loads: &mut Loads,
) -> Option<Vec<NodeId>> {
    let old = target_of(record);
    let wanted = topic.replication_factor as usize;
    let mut target: Vec<_> = old.iter().filter(|node| !world.is_decommissioned(**node)).copied().collect();
    while target.len() > wanted {
        let last = target.iter().skip(1).max_by_key(|node| {
            let in_sync = record.isr.iter().any(|r| r.node == **node && world.holder(r).is_some());
            (!in_sync, loads.neighbours(**node, &target), loads.share(**node), **node)
        });
        let last = *last?;
        target.retain(|node| *node != last);
    }
    loads.fill(&mut target, wanted).ok()?;
    let size = world.size(partition);
    loads.remove(&old, size);
    loads.add(&target, size);
    (target != old).then_some(target)
}
