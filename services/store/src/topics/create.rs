//! Creating a topic.
//!
//! A topic of many partitions does not fit into one transaction. So that a crash half way leaves
//! nothing that anyone could see, the topic is first written as a deleted one, without its name, then
//! its partitions, and the last transaction gives it its name and its life. What a crash leaves behind
//! is a deleted topic, which the next start clears away like any other.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tidelog_meta::limits::TXN_OPS_MAX;
use tidelog_meta::value::{Leader, Partition as PartitionRecord, Topic as TopicRecord, TopicNameOwner};
use tidelog_meta::{Meta, MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::{ErrorCode, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition};
use tidelog_peer::{CreateTopic, NewTopic, StoreError};

use crate::error::of_meta;

/// Transactions of one creation that are under way at a time; they share commits.
const CHUNKS_AT_ONCE: usize = 8;

/// Partitions that fit into one transaction beside the topic and its name.
const PARTITIONS_AT_ONCE: usize = TXN_OPS_MAX - 2;

/// A topic as the metadata store has it now.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) record: TopicRecord,
    pub(crate) revision: Revision,
    /// Each partition's record and when it was put, in order of their numbers.
    pub(crate) partitions: Vec<(PartitionRecord, Revision)>,
}

/// One store alone has one replica of everything.
const REPLICAS: u32 = 1;

pub(crate) fn check(request: &CreateTopic) -> Result<NewTopic, StoreError> {
    let alone = |replicas: u32| {
        let message = format!(
            "this is a single process with one store: a replication factor is {REPLICAS} here, not {replicas}"
        );
        StoreError::new(ErrorCode::InvalidReplicationFactor, message)
    };
    match request.replication_factor {
        Some(replicas) if replicas != REPLICAS => Err(alone(replicas)),
        _ => CreateTopic { replication_factor: Some(REPLICAS), ..request.clone() }.check(),
    }
}

/// `config` with changes, for a topic with so many replicas; every problem at once when there is one.
pub(crate) fn changed(
    config: &TopicConfig,
    changes: &[(String, String)],
    replication_factor: u32,
) -> Result<TopicConfig, StoreError> {
    let pairs = changes.iter().map(|(key, value)| (key, value));
    let config = config.with(pairs).map_err(|problems| StoreError::of_settings(&problems))?;
    config.check_replicas(replication_factor).map_err(|error| StoreError::of_settings(&[error]))?;
    Ok(config)
}

/// Puts the topic and its partitions into the metadata store, led by `leader` from epoch 1. When it
/// fails, something of a deleted topic `id` may be left behind.
pub(crate) async fn create(
    meta: &Arc<dyn Meta>,
    id: TopicId,
    request: &NewTopic,
    leader: Leader,
    now: TimestampMs,
) -> Result<Created, StoreError> {
    let taken = meta.read(&keys::topic_name(&request.name)).await.map_err(|error| of_meta(&error))?;
    if taken.is_some() {
        return Err(exists(&request.name));
    }
    let record = TopicRecord::new(request.name.clone(), request.partitions, &request.config, now);
    let all: Vec<_> = (0..request.partitions).map(|n| TopicPartition::new(id, PartitionId(n))).collect();
    let (early, last) = all.split_at(all.len().saturating_sub(PARTITIONS_AT_ONCE));
    let hidden = if early.is_empty() { Revision::NONE } else { hide(meta, id, &record).await? };
    let mut partitions = put_partitions(meta, early, leader).await?;
    let key = keys::topic(id);
    let name = keys::topic_name(&request.name);
    let txn = Txn::new()
        .when_unchanged(&key, hidden)
        .when_absent(&name)
        .put(&key, &record)
        .put(&name, &TopicNameOwner { topic: id });
    let revision = match meta.txn(with_partitions(txn, last, leader)).await {
        Ok(TxnOutcome::Committed(revision)) => revision,
        Ok(TxnOutcome::Conflict(_)) => return Err(exists(&request.name)),
        Err(MetaError::OutcomeUnknown(_)) => {
            read_back(meta, id).await?.ok_or_else(|| exists(&request.name))?
        }
        Err(error) => return Err(of_meta(&error)),
    };
    partitions.resize(all.len(), revision);
    let led = PartitionRecord::default().led_by(leader);
    let partitions = partitions.into_iter().map(|revision| (led.clone(), revision)).collect();
    Ok(Created { record, revision, partitions })
}

fn exists(name: &TopicName) -> StoreError {
    StoreError::new(ErrorCode::TopicAlreadyExists, format!("topic {name} already exists"))
}

async fn hide(meta: &Arc<dyn Meta>, id: TopicId, record: &TopicRecord) -> Result<Revision, StoreError> {
    let key = keys::topic(id);
    let hidden = TopicRecord { deleted: Some(record.created), ..record.clone() };
    let txn = Txn::new().when_absent(&key).put(&key, &hidden);
    let outcome = meta.txn(txn).await.map_err(|error| of_meta(&error))?;
    outcome.committed().ok_or_else(|| {
        StoreError::new(ErrorCode::Internal, format!("another topic has the new topic's id {id}"))
    })
}

fn with_partitions(txn: Txn, partitions: &[TopicPartition], leader: Leader) -> Txn {
    let record = PartitionRecord::default().led_by(leader);
    partitions.iter().fold(txn, |txn, id| txn.put(&keys::partition(*id), &record))
}

async fn put_partitions(
    meta: &Arc<dyn Meta>,
    partitions: &[TopicPartition],
    leader: Leader,
) -> Result<Vec<Revision>, StoreError> {
    let chunks: Vec<_> = partitions
        .chunks(TXN_OPS_MAX)
        .map(|chunk| put_chunk(Arc::clone(meta), with_partitions(Txn::new(), chunk, leader), chunk.len()))
        .collect();
    let revisions: Vec<Vec<Revision>> =
        stream::iter(chunks).buffered(CHUNKS_AT_ONCE).try_collect().await.map_err(|error| of_meta(&error))?;
    Ok(revisions.concat())
}

async fn put_chunk(meta: Arc<dyn Meta>, txn: Txn, partitions: usize) -> Result<Vec<Revision>, MetaError> {
    let revision = meta.txn(txn).await?.committed();
    Ok(vec![revision.expect("a transaction without comparisons has no conflict"); partitions])
}

/// Whether the last transaction was applied after all.
async fn read_back(meta: &Arc<dyn Meta>, id: TopicId) -> Result<Option<Revision>, StoreError> {
    let stored = meta.read(&keys::topic(id)).await.map_err(|error| of_meta(&error))?;
    Ok(stored.filter(|topic| topic.value.deleted.is_none()).map(|topic| topic.mod_revision))
}
