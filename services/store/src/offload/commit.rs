//! The one step that makes uploaded records part of the log: the pointer.

use std::sync::Arc;

use tidelog_format::pointer::Pointer;
use tidelog_format::state::ProducerEntry;
use tidelog_meta::{MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_runtime::crash_point;

use super::error::OffloadError;
use crate::node::Node;
use crate::partition::Partition;

/// How often a commit is tried while the partition's in-sync replicas change.
const ATTEMPTS_MAX: usize = 8;

/// Makes `pointer` the partition's pointer, provided that this node still leads the partition under the
/// epoch in which it was made, and that the pointer before it, put at `previous`, has not been moved.
pub(crate) async fn commit(
    node: &Node,
    partition: &Arc<Partition>,
    previous: Revision,
    pointer: Pointer,
    producers: &[ProducerEntry],
) -> Result<(), OffloadError> {
    crash_point!("store::offload-before-commit");
    let revision = put(node, partition, previous, &pointer).await?;
    crash_point!("store::offload-after-commit");
    partition.published(pointer, revision, producers);
    Ok(())
}

async fn put(
    node: &Node,
    partition: &Partition,
    previous: Revision,
    pointer: &Pointer,
) -> Result<Revision, OffloadError> {
    let fenced = || OffloadError::Fenced { partition: partition.id };
    let (known, revision) = partition.record();
    if known.epoch != pointer.epoch {
        return Err(fenced());
    }
    let (key, record) = (keys::pointer(partition.id), keys::partition(partition.id));
    let mut leads_at = Revision(revision);
    for _ in 0..ATTEMPTS_MAX {
        let txn =
            Txn::new().when_unchanged(&record, leads_at).when_unchanged(&key, previous).put(&key, pointer);
        match node.meta.txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => return Ok(revision),
            Ok(TxnOutcome::Conflict(_)) => {}
            Err(MetaError::OutcomeUnknown(_)) => return read_back(node, partition, pointer).await,
            Err(error) => return Err(error.into()),
        }
        // Its in-sync replicas may have changed, which takes nothing from this leadership.
        let stored = node.meta.read(&record).await?.ok_or_else(fenced)?;
        let mine = stored.value.leader == Some(node.identity.leader) && stored.value.epoch == pointer.epoch;
        if !mine || stored.mod_revision == leads_at {
            return Err(fenced());
        }
        leads_at = stored.mod_revision;
    }
    Err(OffloadError::NotCommitted { partition: partition.id })
}

/// Whether the pointer was committed after all. The root's random id tells it from any other.
async fn read_back(node: &Node, partition: &Partition, pointer: &Pointer) -> Result<Revision, OffloadError> {
    match node.meta.read(&keys::pointer(partition.id)).await? {
        Some(stored) if stored.value.root == pointer.root => Ok(stored.mod_revision),
        _ => Err(OffloadError::NotCommitted { partition: partition.id }),
    }
}
