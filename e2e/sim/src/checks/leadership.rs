//! Invariant 6: epochs fence everything.

use tidelog_meta::Partition;
use tidelog_model::{LeaderEpoch, NodeId};
use tidelog_replica::Instance;

use super::{Invariant, Ledger, Verdict, broken};
use crate::metadata::{Metadata, instance_of};

impl Ledger {
    /// A process takes itself for the leader.
    pub(crate) fn on_leading(&self, partition: usize, epoch: LeaderEpoch, me: Instance) -> Verdict {
        let named = self.partitions[partition].leaders.get(&epoch);
        if named == Some(&me) {
            return Ok(());
        }
        broken(Invariant::LeaderIsOfTheRecord, || {
            format!("p{partition}: {me:?} leads epoch {epoch}, which is {named:?}'s")
        })
    }

    /// The record never names two leaders under one epoch.
    pub(super) fn leaders_are_named_once(&mut self, partition: usize, metadata: &Metadata) -> Verdict {
        let record = metadata.partition(partition);
        let Some(leader) = record.leader else { return Ok(()) };
        let leader = instance_of(leader);
        let named = *self.partitions[partition].leaders.entry(record.epoch).or_insert(leader);
        if named == leader {
            return Ok(());
        }
        broken(Invariant::LeaderIsOfTheRecord, || {
            format!("p{partition}: epoch {} is {named:?}'s and {leader:?}'s", record.epoch)
        })
    }

    /// The ISR does not become smaller than the floor, if it was not.
    pub(super) fn isr_keeps_the_floor(
        &mut self,
        partition: usize,
        floor: usize,
        metadata: &Metadata,
    ) -> Verdict {
        let promises = &mut self.partitions[partition];
        let isr = metadata.partition(partition).isr.len();
        let before = std::mem::replace(&mut promises.isr_size, isr);
        if isr >= floor.min(before) {
            return Ok(());
        }
        broken(Invariant::IsrKeepsTheFloor, || {
            format!("p{partition}: the ISR shrinks from {before} to {isr}, below {floor}")
        })
    }

    /// What a controller may make of a record.
    pub(super) fn record_keeps_rules(&mut self, partition: usize, metadata: &Metadata) -> Verdict {
        let new = metadata.partition(partition);
        let known = &mut self.partitions[partition].record;
        if known == new {
            return Ok(());
        }
        let old = std::mem::replace(known, new.clone());
        // Before it is seen first, it is made.
        match if old == Partition::default() { None } else { broken_rule(&old, new) } {
            None => Ok(()),
            Some(rule) => {
                broken(Invariant::RecordKeepsRules, || format!("p{partition}: {rule}: {old:?} to {new:?}"))
            }
        }
    }

    /// A controller has planned.
    pub(crate) fn on_plan(node: usize, rules_broken: u64) -> Verdict {
        if rules_broken == 0 {
            return Ok(());
        }
        broken(Invariant::RecordKeepsRules, || format!("n{node} held {rules_broken} decisions back"))
    }
}

fn broken_rule(old: &Partition, new: &Partition) -> Option<&'static str> {
    let led_anew = new.epoch != old.epoch;
    let in_sync = |node: &NodeId| old.isr.iter().any(|member| member.node == *node);
    let gone = || old.replicas.iter().filter(|node| !new.replicas.contains(node));
    let replaced = old.adding.iter().all(in_sync);
    let never_came = |node: &&NodeId| old.adding.contains(node) && !in_sync(node);
    if led_anew && new.epoch != old.epoch.next() {
        Some("the epoch jumps")
    } else if !led_anew && new.leader != old.leader {
        Some("another leader under the same epoch")
    } else if led_anew && !new.leader.is_some_and(|leader| old.isr.contains(&leader.replica())) {
        Some("the new leader was not in sync")
    } else if led_anew && !new.isr.iter().all(|member| old.isr.contains(member)) {
        Some("the ISR grows with a new leader")
    } else if new.isr.iter().any(|member| !new.replicas.contains(&member.node)) {
        Some("who is in sync is no replica")
    } else if !gone().all(|node| replaced || never_came(&node)) {
        Some("a replica goes before another has come")
    } else {
        None
    }
}
