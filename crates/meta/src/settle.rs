//! Bringing a transaction of unknown outcome to a known one.
//!
//! The hazard: reading back is not enough. A transaction whose answer was lost may still be on its way, and
//! be applied after the read that did not find it. What settles it is to send it again: if it contradicts
//! its own comparisons, as one that replaces what it compares does, it can be applied once at most.

use crate::{Compare, Entry, Meta, MetaError, Op, Revision, Txn, TxnOutcome};

/// How often it is sent at most.
const ATTEMPTS_MAX: u32 = 4;

/// Commits a transaction, and finds out what became of it when the answer is lost.
///
/// The transaction must contradict itself once it is applied: it puts or deletes a key that it compares
/// for absence or by its mod-revision. Otherwise it is [invalid](MetaError::Invalid).
///
/// [`MetaError::OutcomeUnknown`] remains when no answer came at all, or when someone else has changed the
/// same keys since.
pub async fn settle(meta: &dyn Meta, txn: &Txn) -> Result<TxnOutcome, MetaError> {
    if !contradicts_itself(txn) {
        return Err(MetaError::Invalid("this transaction could be applied twice".to_owned()));
    }
    let mut lost = None;
    for _ in 0..ATTEMPTS_MAX {
        match (meta.txn(txn.clone()).await, &lost) {
            (Ok(TxnOutcome::Conflict(revision)), Some(reason)) => {
                return match applied(meta, txn).await? {
                    Applied::At(revision) => Ok(TxnOutcome::Committed(revision)),
                    Applied::Never => Ok(TxnOutcome::Conflict(revision)),
                    Applied::Unclear => Err(MetaError::OutcomeUnknown(String::clone(reason))),
                };
            }
            (Err(MetaError::OutcomeUnknown(reason)), _) => lost = Some(reason),
            // One that was sent before it may still be applied.
            (Err(error), Some(reason)) => {
                return Err(MetaError::OutcomeUnknown(format!("{reason}; then {error}")));
            }
            (answer, None) | (answer @ Ok(TxnOutcome::Committed(_)), Some(_)) => return answer,
        }
    }
    Err(MetaError::OutcomeUnknown(lost.unwrap_or_default()))
}

fn contradicts_itself(txn: &Txn) -> bool {
    txn.compares.iter().any(|compare| {
        let changes = |op: &Op| match (compare, op) {
            (Compare::Absent { key }, Op::Put { key: put, .. }) => key == put,
            (Compare::ModRevision { key, .. }, op) => key == op.key(),
            _ => false,
        };
        txn.ops.iter().any(changes)
    })
}

enum Applied {
    At(Revision),
    Never,
    Unclear,
}

/// Looks for the traces of a transaction that cannot be applied any more.
async fn applied(meta: &dyn Meta, txn: &Txn) -> Result<Applied, MetaError> {
    let mut put_at = None;
    for op in &txn.ops {
        let found = meta.get(op.key()).await?;
        if untouched(txn, op.key(), found.as_ref()) {
            return Ok(Applied::Never);
        }
        let Op::Put { value, lease, .. } = op else { continue };
        match found {
            Some(entry) if entry.value == *value && entry.lease == *lease => {
                if put_at.is_some_and(|at| at != entry.mod_revision) {
                    return Ok(Applied::Unclear);
                }
                put_at = Some(entry.mod_revision);
            }
            _ => return Ok(Applied::Unclear),
        }
    }
    Ok(put_at.map_or(Applied::Unclear, Applied::At))
}

/// Whether a key that the transaction would have changed still is as it compared it.
fn untouched(txn: &Txn, key: &str, found: Option<&Entry>) -> bool {
    txn.compares.iter().filter(|compare| compare.key() == key).any(|compare| match compare {
        Compare::Absent { .. } => found.is_none(),
        Compare::ModRevision { revision, .. } => found.is_some_and(|entry| entry.mod_revision == *revision),
        _ => false,
    })
}
