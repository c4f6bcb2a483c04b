//! Taking over the partitions of this node: every start leads under new epochs.
//!
//! Leadership belongs to one start of one data directory. What the last start had handed to the disk
//! without learning whether it got there must never be followed by other records under the same epoch
//! and offset, so no start continues an epoch, whoever stopped the last one.

use std::collections::HashMap;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tidelog_meta::limits::TXN_OPS_MAX;
use tidelog_meta::value::{Leader, Partition};
use tidelog_meta::{Meta, MetaError, Revision, Stored, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::TopicPartition;

/// Transactions under way at a time; they share commits.
const CHUNKS_AT_ONCE: usize = 8;

/// How often the partitions are gone through while someone else changes some of them.
const ROUNDS_MAX: usize = 8;

/// The leadership of a partition that this start took over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) record: Partition,
    /// When the partition's key was put for it.
    pub(crate) revision: Revision,
}

/// Makes `leader` the leader of every partition that its node led or that has no leader.
pub(crate) async fn take_over(
    meta: &dyn Meta,
    leader: Leader,
) -> Result<HashMap<TopicPartition, Led>, MetaError> {
    let mut led = HashMap::new();
    for _ in 0..ROUNDS_MAX {
        let mut open = Vec::new();
        for stored in meta.read_all(&keys::partitions()).await?.items {
            let id = keys::parse_partition(&stored.key)
                .ok_or_else(|| MetaError::Invalid(format!("{:?} is no partition's key", stored.key)))?;
            match stored.value.leader {
                Some(current) if current == leader => {
                    let taken = Led { record: stored.value, revision: stored.mod_revision };
                    led.insert(id, taken);
                }
                Some(current) if current.node != leader.node => {}
                _ => open.push((id, stored)),
            }
        }
        if open.is_empty() {
            return Ok(led);
        }
        raise(meta, leader, &open).await?;
    }
    Err(MetaError::Unavailable("the partitions are being changed by someone else all the time".to_owned()))
}

/// Raises the epochs of `partitions`. What became of it is read back, not assumed.
async fn raise(
    meta: &dyn Meta,
    leader: Leader,
    partitions: &[(TopicPartition, Stored<Partition>)],
) -> Result<(), MetaError> {
    let chunks: Vec<_> = partitions
        .chunks(TXN_OPS_MAX)
        .map(|chunk| {
            chunk.iter().fold(Txn::new(), |txn, (id, stored)| {
                let key = keys::partition(*id);
                txn.when_unchanged(&key, stored.mod_revision).put(&key, &stored.value.led_by(leader))
            })
        })
        .map(|txn| attempt(meta, txn))
        .collect();
    stream::iter(chunks).buffer_unordered(CHUNKS_AT_ONCE).try_collect().await
}

async fn attempt(meta: &dyn Meta, txn: Txn) -> Result<(), MetaError> {
    match meta.txn(txn).await {
        Ok(TxnOutcome::Committed(_) | TxnOutcome::Conflict(_)) | Err(MetaError::OutcomeUnknown(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
