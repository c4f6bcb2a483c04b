//! What must be true of every change, written down a second time: not with the code that is tested.

use std::collections::BTreeSet;

use tidelog_meta::Partition;

use super::cluster::Log;
use crate::plan::{Change, Reason, World, check};

pub(super) fn assert_safe(world: &World<'_>, old: &Partition, change: &Change, log: &Log) {
    let new = &change.record;
    let floor = world.floor(change.partition, old);
    assert_eq!(check(old, new, floor, change.reason), Ok(()), "{old:?} to {new:?}");
    assert_ne!(change.reason, Reason::Unclean, "no plan is unclean");

    let was: BTreeSet<_> = old.isr.iter().map(|replica| (replica.node, replica.directory)).collect();
    let is: BTreeSet<_> = new.isr.iter().map(|replica| (replica.node, replica.directory)).collect();
    assert!(is.is_subset(&was), "the ISR grows: {old:?} to {new:?}");
    assert!(is.len() >= was.len().min(floor), "below the floor of {floor}: {old:?} to {new:?}");
    assert!(new.epoch >= old.epoch);
    for node in old.replicas.iter().filter(|node| !new.replicas.contains(node)) {
        let replaced = old.adding.iter().all(|added| old.isr.iter().any(|replica| replica.node == *added));
        let never_came = old.adding.contains(node) && !old.isr.iter().any(|replica| replica.node == *node);
        assert!(replaced || never_came, "removed before others were added: {old:?} to {new:?}");
    }

    if (new.leader, new.epoch) == (old.leader, old.epoch) {
        return;
    }
    assert_eq!(new.epoch.0, old.epoch.0 + 1);
    let leader = new.leader.expect("nobody is deposed without a successor");
    assert!(was.contains(&(leader.node, leader.directory)), "{leader:?} is not in sync in {old:?}");
    let live = world.up(leader.node).expect("the new leader is alive");
    assert_eq!((live.directory, live.boot), (leader.directory, leader.boot));
    let held = log.held.get(&leader.replica()).copied().unwrap_or(0);
    assert_eq!(held, log.acknowledged, "{leader:?} lacks acknowledged records of {}", change.partition);
}
