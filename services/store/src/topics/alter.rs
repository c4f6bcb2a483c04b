//! Changing a topic's settings, and marking a topic as deleted: changes of the topic's one record.

use std::sync::Arc;

use tidelog_meta::value::Topic as TopicRecord;
use tidelog_meta::{Meta, MetaError, Revision, Stored, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::{ErrorCode, TimestampMs, TopicId};
use tidelog_peer::StoreError;

use super::create::changed;
use crate::error::of_meta;

/// How often a change is tried while others change the same topic.
const ATTEMPTS_MAX: usize = 16;

/// Changes settings; returns the topic's record as it is now, and since when.
pub(crate) async fn alter(
    meta: &Arc<dyn Meta>,
    topic: TopicId,
    changes: &[(String, String)],
) -> Result<(TopicRecord, Revision), StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(meta, topic).await?;
        let config = changed(&stored.value.config(), changes, stored.value.replication_factor)?;
        let mut record = stored.value.clone();
        record.set_config(&config);
        if record == stored.value {
            return Ok((record, stored.mod_revision));
        }
        let key = keys::topic(topic);
        let txn = Txn::new().when_unchanged(&key, stored.mod_revision).put(&key, &record);
        if let Some(revision) = attempt(meta, txn).await? {
            return Ok((record, revision));
        }
    }
    Err(contended(topic))
}

/// Marks a topic as deleted and frees its name.
pub(crate) async fn delete(meta: &Arc<dyn Meta>, topic: TopicId, now: TimestampMs) -> Result<(), StoreError> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(meta, topic).await?;
        let record = TopicRecord { deleted: Some(now), ..stored.value };
        let key = keys::topic(topic);
        let txn = Txn::new()
            .when_unchanged(&key, stored.mod_revision)
            .put(&key, &record)
            .delete(&keys::topic_name(&record.name));
        if attempt(meta, txn).await?.is_some() {
            return Ok(());
        }
    }
    Err(contended(topic))
}

async fn read(meta: &Arc<dyn Meta>, topic: TopicId) -> Result<Stored<TopicRecord>, StoreError> {
    let stored = meta.read(&keys::topic(topic)).await.map_err(|error| of_meta(&error))?;
    stored.filter(|topic| topic.value.deleted.is_none()).ok_or_else(|| {
        StoreError::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic with id {topic}"))
    })
}

/// `None` means: read again and try again. An unknown outcome is one of those cases, because the
/// change is made from what is read.
async fn attempt(meta: &Arc<dyn Meta>, txn: Txn) -> Result<Option<Revision>, StoreError> {
    match meta.txn(txn).await {
        Ok(TxnOutcome::Committed(revision)) => Ok(Some(revision)),
        Ok(TxnOutcome::Conflict(_)) | Err(MetaError::OutcomeUnknown(_)) => Ok(None),
        Err(error) => Err(of_meta(&error)),
    }
}

fn contended(topic: TopicId) -> StoreError {
    let message = format!("topic {topic} is being changed by too many at once");
    StoreError::new(ErrorCode::ThrottlingQuotaExceeded, message)
}
