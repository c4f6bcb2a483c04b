//! Invariant 2: an (epoch, offset) names one batch for ever; and what is committed is the same everywhere.

use tidelog_model::Offset;
use tidelog_replica::Span;

use super::{Invariant, Ledger, Verdict, broken};
use crate::disk::Disk;
use crate::log::{Batch, Log};
use crate::metadata::Metadata;

impl Ledger {
    /// A batch is written, by its leader or by a follower.
    pub(crate) fn on_append(&mut self, partition: usize, batch: &Batch) -> Verdict {
        let promises = &mut self.partitions[partition];
        promises.appended += 1;
        for offset in batch.base.0..batch.next().0 {
            let named = *promises.named.entry((batch.epoch, Offset(offset))).or_insert(batch.value);
            if named != batch.value {
                return broken(Invariant::OneBatchAnEpochAndOffset, || {
                    format!("p{partition}: {offset} of epoch {} is {named} and {}", batch.epoch, batch.value)
                });
            }
        }
        Ok(())
    }

    /// A batch goes where the log ends.
    pub(crate) fn on_position(node: usize, partition: usize, batch: &Batch, end: Offset) -> Verdict {
        if batch.base == end {
            return Ok(());
        }
        broken(Invariant::OneBatchAnEpochAndOffset, || {
            format!("n{node} p{partition}: {batch:?} is written where the log ends at {end}")
        })
    }

    /// The machine asks for what came with the message to be written, and for nothing else.
    pub(crate) fn on_write(node: usize, partition: usize, span: Span, bytes: Option<&Batch>) -> Verdict {
        if bytes.map(Batch::span) == Some(span) {
            return Ok(());
        }
        broken(Invariant::OneBatchAnEpochAndOffset, || {
            format!("n{node} p{partition}: {span:?} is to be written, {bytes:?} came")
        })
    }

    /// A high watermark rises. What a leader's passes is committed from now on.
    pub(crate) fn on_high_watermark(
        &mut self,
        (node, life): (usize, u64),
        partition: usize,
        high_watermark: Offset,
        log: &Log,
        leads: bool,
    ) -> Verdict {
        let promises = &mut self.partitions[partition];
        let known = promises.watermarks.entry((node, life)).or_default();
        let before = std::mem::replace(known, high_watermark);
        if high_watermark < before {
            return broken(Invariant::HighWatermarkRises, || {
                format!("n{node} p{partition}: the high watermark goes from {before} to {high_watermark}")
            });
        }
        for batch in log.within(before, high_watermark) {
            match promises.committed_at(batch.base) {
                Some(committed) if committed == batch => {}
                None if leads && batch.base == promises.committed_end() => promises.committed.push(*batch),
                other => {
                    return broken(Invariant::CommittedAgrees, || {
                        format!("n{node} p{partition}: {batch:?} counts as committed, {other:?} is")
                    });
                }
            }
        }
        let end = promises.committed_end();
        if high_watermark > end {
            return broken(Invariant::CommittedAgrees, || {
                format!(
                    "n{node} p{partition}: the high watermark is {high_watermark}, committed is up to {end}"
                )
            });
        }
        Ok(())
    }

    /// Only an unclean election takes anything back, and here nobody asks for one.
    pub(crate) fn on_rewound(node: usize, partition: usize, to: Offset) -> Verdict {
        broken(Invariant::HighWatermarkRises, || format!("n{node} p{partition}: rewound to {to}"))
    }

    /// Every member of the ISR has the committed log as far as its own goes, and it goes far enough.
    pub(super) fn members_agree(&self, partition: usize, metadata: &Metadata, disks: &[&Disk]) -> Verdict {
        let promises = &self.partitions[partition];
        let end = promises.acknowledged.values().last().map(Batch::next).unwrap_or_default();
        for member in &metadata.partition(partition).isr {
            let log = disks[member.node.0 as usize].durable(partition);
            let other = log
                .within(log.start(), end)
                .iter()
                .find(|batch| promises.committed_at(batch.base) != Some(batch));
            if let Some(other) = other {
                return broken(Invariant::CommittedAgrees, || {
                    format!("p{partition}: {member:?} has {other:?} instead of what is committed")
                });
            }
        }
        Ok(())
    }
}
