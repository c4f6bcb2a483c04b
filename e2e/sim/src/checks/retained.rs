//! Invariants 3 to 5: nothing goes before the bucket has it, and the bucket has what was committed.

use tidelog_model::Offset;

use super::{Invariant, Ledger, Verdict, broken};
use crate::bucket::Bucket;
use crate::metadata::Metadata;

impl Ledger {
    /// A store drops what lies below `to`; the pointer covers what lies below `covered`.
    pub(crate) fn on_trim(partition: usize, to: Offset, covered: Offset) -> Verdict {
        if to <= covered {
            return Ok(());
        }
        broken(Invariant::NothingUntieredIsDropped, || {
            format!("p{partition}: dropped up to {to}, the bucket has up to {covered}")
        })
    }

    /// A pointer leads to the committed log, from its beginning to the pointer's end.
    pub(super) fn bucket_agrees(
        &mut self,
        partition: usize,
        metadata: &Metadata,
        bucket: &Bucket,
    ) -> Verdict {
        let Some((pointer, revision)) = metadata.pointer(partition) else { return Ok(()) };
        let promises = &mut self.partitions[partition];
        if std::mem::replace(&mut promises.judged.1, revision) == revision {
            return Ok(());
        }
        let root = bucket.root(pointer.root);
        let agrees = promises.committed.get(..root.batches.len()) == Some(&root.batches[..]);
        if agrees && root.end() == pointer.tiered_end {
            return Ok(());
        }
        broken(Invariant::BucketAgrees, || {
            format!("p{partition}: {pointer:?} leads to what was not committed: {:?}", root.batches.last())
        })
    }
}
