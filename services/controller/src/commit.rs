//! Putting decisions into the metadata: many records to a transaction, each compared with the record it
//! was planned from, and all with the controller's election key.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tidelog_meta::election::{self, Leadership};
use tidelog_meta::limits::{self, RECORD_KEY_ROOM, TXN_BYTES_MAX, TXN_OPS_MAX};
use tidelog_meta::{Meta, MetaError, Revision, Txn, TxnOutcome, Value as _, keys};
use tidelog_model::TopicPartition;
use tidelog_runtime::crash_point;

use crate::ELECTION;
use crate::plan::Change;

/// Records to a transaction: one comparison is the election key's.
pub(crate) const RECORDS_PER_TXN: usize = TXN_OPS_MAX - 1;

/// Transactions under way at a time.
const TXNS_AT_ONCE: usize = 8;

/// What became of a set of changes.
#[derive(Debug, Default)]
pub struct Committed {
    pub done: Vec<(Change, Revision)>,
    /// The record is not the one that was planned from.
    pub conflicts: Vec<TopicPartition>,
    /// The answer was lost: it has to be read back.
    pub unknown: Vec<TopicPartition>,
    /// Certainly not applied.
    pub unavailable: Vec<TopicPartition>,
    /// Someone else is controller.
    pub deposed: bool,
    /// Why it was unknown or unavailable.
    pub error: Option<MetaError>,
}

/// Commits what can be. A conflict is narrowed down to the records that it is about.
pub(crate) async fn commit(
    meta: &dyn Meta,
    leadership: &Leadership,
    changes: Vec<Change>,
    wait: Duration,
) -> Committed {
    let mut result = Committed::default();
    let mut pending = chunks(changes);
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < TXNS_AT_ONCE
            && let Some(chunk) = pending.pop()
        {
            running.push(attempt(meta, leadership, chunk, wait));
        }
        let Some((mut chunk, outcome)) = running.next().await else { return result };
        match outcome {
            Ok(TxnOutcome::Committed(revision)) => {
                result.done.extend(chunk.into_iter().map(|change| (change, revision)));
            }
            Ok(TxnOutcome::Conflict(_)) => {
                if !result.deposed && is_deposed(meta, leadership).await {
                    result.deposed = true;
                }
                if chunk.len() == 1 || result.deposed {
                    result.conflicts.extend(partitions(&chunk));
                } else {
                    pending.push(chunk.split_off(chunk.len() / 2));
                    pending.push(chunk);
                }
            }
            Err(error) => {
                let into =
                    if error.has_no_side_effects() { &mut result.unavailable } else { &mut result.unknown };
                into.extend(partitions(&chunk));
                result.error = Some(error);
            }
        }
        if result.deposed || result.error.is_some() {
            result.unavailable.extend(pending.drain(..).flat_map(|chunk| partitions(&chunk)));
        }
    }
}

/// Whether someone else certainly leads.
pub(crate) async fn is_deposed(meta: &dyn Meta, leadership: &Leadership) -> bool {
    match election::leader(meta, ELECTION).await {
        Ok(leader) => leader.is_none_or(|leader| leader.token != leadership.token()),
        Err(_) => false,
    }
}

/// Hands a transaction in; one that is not answered in time has an unknown outcome.
pub(crate) async fn submit(meta: &dyn Meta, txn: Txn, wait: Duration) -> Result<TxnOutcome, MetaError> {
    let late = || MetaError::OutcomeUnknown(format!("no answer within {wait:?}"));
    tokio::time::timeout(wait, meta.txn(txn)).await.map_err(|_| late())?
}

fn partitions(chunk: &[Change]) -> Vec<TopicPartition> {
    chunk.iter().map(|change| change.partition).collect()
}

/// The election key is compared, too.
fn chunks(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let bytes = |change: &Change| change.record.encode().len() + RECORD_KEY_ROOM;
    limits::pack(changes, RECORDS_PER_TXN, TXN_BYTES_MAX - RECORD_KEY_ROOM, bytes)
}

async fn attempt(
    meta: &dyn Meta,
    leadership: &Leadership,
    chunk: Vec<Change>,
    wait: Duration,
) -> (Vec<Change>, Result<TxnOutcome, MetaError>) {
    let txn = chunk.iter().fold(Txn::new().when(leadership.compare()), |txn, change| {
        let key = keys::partition(change.partition);
        txn.when_unchanged(&key, change.planned_from).put(&key, &change.record)
    });
    crash_point!("controller::before-commit");
    let outcome = submit(meta, txn, wait).await;
    crash_point!("controller::after-commit");
    (chunk, outcome)
}

#[cfg(test)]
mod tests;
