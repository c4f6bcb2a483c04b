//! The one step that makes uploaded records part of the log: the pointer.

use tidelog_format::pointer::Pointer;
use tidelog_format::state::ProducerEntry;
use tidelog_meta::{MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_runtime::crash_point;

use super::error::OffloadError;
use crate::node::Node;
use crate::partition::Partition;

/// Makes `pointer` the partition's pointer, provided that this node still leads the partition under the
/// same epoch and that nobody else has moved the pointer.
pub(crate) async fn commit(
    node: &Node,
    partition: &Partition,
    pointer: Pointer,
    producers: &[ProducerEntry],
) -> Result<(), OffloadError> {
    crash_point!("store::offload-before-commit");
    let (leader, previous) =
        partition.with_tiered(|tiered| (tiered.leader_revision, tiered.pointer_revision));
    let key = keys::pointer(partition.id);
    let txn = Txn::new()
        .when_unchanged(&keys::partition(partition.id), leader)
        .when_unchanged(&key, previous)
        .put(&key, &pointer);
    let revision = match node.meta.txn(txn).await {
        Ok(TxnOutcome::Committed(revision)) => revision,
        Ok(TxnOutcome::Conflict(_)) => return Err(OffloadError::Fenced { partition: partition.id }),
        Err(MetaError::OutcomeUnknown(_)) => read_back(node, partition, &pointer).await?,
        Err(error) => return Err(error.into()),
    };
    crash_point!("store::offload-after-commit");
    partition.with_tiered(|tiered| tiered.commit(pointer, revision, producers));
    node.journal.set_covered(partition.id, pointer.tiered_end);
    Ok(())
}

/// Whether the pointer was committed after all. The root's random id tells it from any other.
async fn read_back(node: &Node, partition: &Partition, pointer: &Pointer) -> Result<Revision, OffloadError> {
    match node.meta.read(&keys::pointer(partition.id)).await? {
        Some(stored) if stored.value.root == pointer.root => Ok(stored.mod_revision),
        _ => Err(OffloadError::NotCommitted { partition: partition.id }),
    }
}
