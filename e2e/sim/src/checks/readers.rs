//! Invariant 8 and linearizability: what readers see is committed, in order, and as new as it claims.

use tidelog_model::Offset;

use super::{Invariant, Ledger, Verdict, broken};
use crate::log::Batch;

impl Ledger {
    /// A store, or the bucket, gives these to a reader.
    pub(crate) fn on_read(&self, node: usize, partition: usize, batches: &[Batch]) -> Verdict {
        let promises = &self.partitions[partition];
        match batches.iter().find(|batch| promises.committed_at(batch.base) != Some(batch)) {
            None => Ok(()),
            Some(batch) => broken(Invariant::ReadersSeeCommitted, || {
                format!("n{node} p{partition} serves {batch:?}, which is not committed")
            }),
        }
    }

    /// A consumer at `from` gets these.
    pub(crate) fn on_consumed(partition: usize, from: Offset, batches: &[Batch]) -> Verdict {
        let mut position = from;
        for batch in batches {
            if batch.base != position {
                return broken(Invariant::ReadersSeeCommitted, || {
                    format!("p{partition}: a reader at {position} gets {batch:?}")
                });
            }
            position = batch.next();
        }
        Ok(())
    }

    /// What an answer to "latest" that is asked for now must not be below.
    pub(crate) fn latest_floor(&self, partition: usize) -> Offset {
        self.partitions[partition].told_end
    }

    /// A client that asked when `floor` was known is told this.
    pub(crate) fn on_latest(&mut self, partition: usize, floor: Offset, end: Offset) -> Verdict {
        let promises = &mut self.partitions[partition];
        let committed = promises.committed_end();
        promises.told_end = promises.told_end.max(end);
        if floor <= end && end <= committed {
            return Ok(());
        }
        broken(Invariant::LatestIsLinearizable, || {
            format!("p{partition}: latest is {end}, {floor} was known before, {committed} is committed")
        })
    }

    /// A producer is told that nothing was appended.
    pub(crate) fn on_refused(&mut self, partition: usize, value: u32) {
        self.partitions[partition].refused.insert(value);
    }

    /// Nothing that was refused is committed, and nothing of an idempotent producer twice.
    pub(super) fn refused_is_absent(&self, partition: usize) -> Verdict {
        let promises = &self.partitions[partition];
        let mut origins = Vec::new();
        for batch in &promises.committed {
            if promises.refused.contains(&batch.value) {
                return broken(Invariant::RefusedIsAbsent, || format!("p{partition}: {batch:?} was refused"));
            }
            origins.extend(batch.origin.map(|origin| (origin.producer, origin.sequence)));
        }
        origins.sort_unstable();
        match origins.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(()),
            Some(twice) => broken(Invariant::RefusedIsAbsent, || {
                format!("p{partition}: producer and sequence {:?} are there twice", twice[0])
            }),
        }
    }
}
