//! Invariant 6: epochs fence everything.

use tidelog_model::LeaderEpoch;
use tidelog_replica::Instance;

use super::{Invariant, Ledger, Verdict, broken};
use crate::metadata::Metadata;

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
}
