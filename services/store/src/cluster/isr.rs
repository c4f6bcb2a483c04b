//! Changes of in-sync sets: many partitions to a transaction.
//!
//! A leader proposes, and goes on counting whom it proposed until it knows what became of it. Proposals
//! that come while a transaction is under way share the next one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_meta::image::Mirror;
use tidelog_meta::limits::{self, RECORD_KEY_ROOM, TXN_BYTES_MAX, TXN_OPS_MAX};
use tidelog_meta::value::Partition as PartitionRecord;
use tidelog_meta::{MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, Value as _, keys};
use tidelog_model::TopicPartition;
use tidelog_replica::{Event, IsrOutcome};
use tidelog_runtime::CancellationToken;
use tokio::sync::Notify;

use crate::node::Node;
use crate::partition::Partition;
use crate::partition::outside::Proposal;
use crate::partition::step::NoSink;
use crate::records;

/// How long a transaction may take before its outcome counts as unknown.
const COMMIT_WAIT: Duration = Duration::from_secs(5);

/// The newest proposal of each partition that was not handed in yet.
#[derive(Default)]
pub(super) struct IsrChanges {
    waiting: Mutex<HashMap<TopicPartition, (Arc<Partition>, Proposal)>>,
    wake: Notify,
}

/// A proposal with the record that is to be put.
struct Change {
    partition: Arc<Partition>,
    proposal: Proposal,
    record: PartitionRecord,
}

impl Change {
    fn answer(self, outcome: IsrOutcome) {
        let event = Event::IsrChange { ticket: self.proposal.ticket, outcome };
        self.partition.step(event, None, &mut NoSink);
    }
}

impl IsrChanges {
    pub(super) fn propose(&self, partition: Arc<Partition>, proposal: Proposal) {
        self.waiting.lock().insert(partition.id, (partition, proposal));
        self.wake.notify_one();
    }
}

/// Runs until cancelled.
pub(super) async fn run(
    node: Arc<Node>,
    mirror: Arc<Mirror>,
    changes: Arc<IsrChanges>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let waiting = std::mem::take(&mut *changes.waiting.lock());
        if waiting.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = changes.wake.notified() => continue,
            }
        }
        let mut ready = Vec::new();
        for (partition, proposal) in waiting.into_values() {
            match record(&node, &mirror, &partition, &proposal).await {
                Ok(Some(record)) => ready.push(Change { partition, proposal, record }),
                Ok(None) => answer(&partition, &proposal, IsrOutcome::Conflict),
                Err(error) => {
                    tracing::warn!(partition = %partition.id, %error, "an in-sync set could not be changed");
                    answer(&partition, &proposal, IsrOutcome::Unknown);
                }
            }
        }
        commit(&node, chunks(ready)).await;
    }
}

fn answer(partition: &Arc<Partition>, proposal: &Proposal, outcome: IsrOutcome) {
    let event = Event::IsrChange { ticket: proposal.ticket, outcome };
    partition.step(event, None, &mut NoSink);
}

/// The record with the proposed set, as it is to be put: all of it, and not only what replication knows.
/// `None` when it has changed since.
async fn record(
    node: &Node,
    mirror: &Mirror,
    partition: &Partition,
    proposal: &Proposal,
) -> Result<Option<PartitionRecord>, MetaError> {
    let known = {
        let image = mirror.image();
        image.partitions.get(&partition.id).map(|held| (held.value.clone(), held.revision))
    };
    let at = Revision(proposal.revision);
    let record = match known {
        Some((record, revision)) if revision == at => Some(record),
        Some((_, revision)) if revision > at => None,
        // The leader saw its own change before the watch did.
        _ => {
            let stored = node.meta.read(&keys::partition(partition.id)).await?;
            stored.filter(|stored| stored.mod_revision == at).map(|stored| stored.value)
        }
    };
    let isr = proposal.isr.iter().copied().map(records::member).collect();
    Ok(record.map(|record| PartitionRecord { isr, ..record }))
}

fn chunks(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let bytes = |change: &Change| change.record.encode().len() + RECORD_KEY_ROOM;
    limits::pack(changes, TXN_OPS_MAX, TXN_BYTES_MAX, bytes)
}

/// Commits what can be. A conflict is narrowed down to the records that it is about.
async fn commit(node: &Node, mut pending: Vec<Vec<Change>>) {
    while let Some(mut chunk) = pending.pop() {
        let txn = chunk.iter().fold(Txn::new(), |txn, change| {
            let key = keys::partition(change.partition.id);
            txn.when_unchanged(&key, Revision(change.proposal.revision)).put(&key, &change.record)
        });
        let outcome = match tokio::time::timeout(COMMIT_WAIT, node.meta.txn(txn)).await {
            Ok(Ok(TxnOutcome::Committed(revision))) => IsrOutcome::Committed { revision: revision.0 },
            Ok(Ok(TxnOutcome::Conflict(_))) if chunk.len() > 1 => {
                pending.push(chunk.split_off(chunk.len() / 2));
                pending.push(chunk);
                continue;
            }
            Ok(Ok(TxnOutcome::Conflict(_))) => IsrOutcome::Conflict,
            Ok(Err(error)) => {
                tracing::warn!(%error, partitions = chunk.len(), "in-sync sets could not be changed");
                IsrOutcome::Unknown
            }
            Err(_) => IsrOutcome::Unknown,
        };
        for change in chunk {
            if let IsrOutcome::Committed { .. } = outcome {
                tracing::info!(partition = %change.partition.id, isr = ?change.proposal.isr, "the in-sync set changed");
            }
            change.answer(outcome);
        }
    }
}
