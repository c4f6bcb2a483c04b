//! Invariant 1: an acknowledged record is durable, on every disk from which a leader could be elected.

use tidelog_meta::Replica;
use tidelog_model::Offset;

use super::{Invariant, Ledger, Verdict, broken};
use crate::disk::Disk;
use crate::log::Batch;
use crate::metadata::Metadata;

/// Whether a member of the ISR has a batch: on its disk, synced, or behind the pointer in the bucket.
/// `None` when the member's disk is not there any more: nobody can elect it.
fn holds(
    metadata: &Metadata,
    disks: &[&Disk],
    partition: usize,
    member: Replica,
    batch: &Batch,
    tiered_end: Offset,
) -> Option<bool> {
    let disk = disks.iter().enumerate().find(|(node, _)| *node == member.node.0 as usize)?.1;
    if disk.directory != member.directory || metadata.is_outdated(member.node, disk) {
        return None;
    }
    let held = disk.durable(partition).at(batch.base) == Some(batch);
    Some(held || batch.next() <= tiered_end)
}

impl Ledger {
    /// An acknowledgement leaves now.
    pub(crate) fn on_ack(
        &mut self,
        partition: usize,
        batch: &Batch,
        metadata: &Metadata,
        disks: &[&Disk],
        floor: usize,
    ) -> Verdict {
        let promises = &mut self.partitions[partition];
        if promises.committed_at(batch.base) != Some(batch) {
            return broken(Invariant::CommittedAgrees, || {
                format!("p{partition}: {batch:?} is acknowledged and is not what is committed there")
            });
        }
        promises.acknowledged.insert(batch.base, *batch);
        let tiered_end =
            metadata.pointer(partition).map(|(pointer, _)| pointer.tiered_end).unwrap_or_default();
        // A disk that is lost now may have acknowledged before.
        let holds = |member: &&Replica| {
            let mut ever = disks.iter().copied().chain(&self.lost);
            ever.any(|disk| {
                disk.directory == member.directory && disk.durable(partition).at(batch.base) == Some(batch)
            })
        };
        let count = metadata.partition(partition).isr.iter().filter(holds).count();
        if count < floor && batch.next() > tiered_end {
            return broken(Invariant::FloorIsKept, || {
                format!("p{partition}: {batch:?} is acknowledged, {count} members of {floor} have synced it")
            });
        }
        Self::every_member_holds(partition, batch, metadata, disks)
    }

    fn every_member_holds(partition: usize, batch: &Batch, metadata: &Metadata, disks: &[&Disk]) -> Verdict {
        let record = metadata.partition(partition);
        let tiered_end =
            metadata.pointer(partition).map(|(pointer, _)| pointer.tiered_end).unwrap_or_default();
        let held = record
            .isr
            .iter()
            .map(|member| (member, holds(metadata, disks, partition, *member, batch, tiered_end)));
        let held: Vec<_> = held.collect();
        if let Some((member, _)) = held.iter().find(|(_, held)| *held == Some(false)) {
            return broken(Invariant::AcknowledgedIsDurable, || {
                format!("p{partition}: {member:?} is in sync in epoch {} and lacks {batch:?}", record.epoch)
            });
        }
        if held.iter().all(|(_, held)| held.is_none()) && batch.next() > tiered_end {
            return broken(Invariant::AcknowledgedIsDurable, || {
                format!("p{partition}: nobody has {batch:?}")
            });
        }
        Ok(())
    }

    /// Everything that was ever acknowledged.
    pub(super) fn acknowledged_is_durable(
        &self,
        partition: usize,
        metadata: &Metadata,
        disks: &[&Disk],
    ) -> Verdict {
        let tiered_end =
            metadata.pointer(partition).map(|(pointer, _)| pointer.tiered_end).unwrap_or_default();
        let acknowledged = &self.partitions[partition].acknowledged;
        for batch in acknowledged.values().rev().take_while(|batch| batch.next() > tiered_end) {
            Self::every_member_holds(partition, batch, metadata, disks)?;
        }
        Ok(())
    }

    /// A client is told that its batch is at an offset.
    pub(crate) fn on_told(&mut self, partition: usize, base: Offset, value: u32, count: u32) -> Verdict {
        let promises = &mut self.partitions[partition];
        promises.told_end = promises.told_end.max(base + u64::from(count));
        match promises.acknowledged.get(&base) {
            Some(batch) if batch.value == value && batch.count == count => Ok(()),
            other => broken(Invariant::ToldIsTrue, || {
                format!("p{partition}: the client of {value} was told {base}, where {other:?} is")
            }),
        }
    }
}
