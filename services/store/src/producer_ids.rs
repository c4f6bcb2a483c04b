//! Producer ids, taken from the metadata store in blocks: an id costs no transaction, and what is left
//! of a block when the process stops is lost, never handed out again.

use std::ops::Range;

use parking_lot::Mutex;
use tidelog_meta::value::ProducerIds;
use tidelog_meta::{MetaError, Revision, SharedMeta, Txn, TxnOutcome, TypedMeta, keys};
use tidelog_model::{ErrorCode, ProducerId};
use tidelog_peer::StoreError;

use crate::error::of_meta;

/// How often a block is tried for while others take blocks too.
const ATTEMPTS_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct ProducerIdSource {
    meta: SharedMeta,
    left: Mutex<Range<i64>>,
}

impl ProducerIdSource {
    pub(crate) fn new(meta: SharedMeta) -> Self {
        Self { meta, left: Mutex::new(0..0) }
    }

    /// An id that nobody has.
    pub(crate) async fn next(&self) -> Result<ProducerId, StoreError> {
        for _ in 0..ATTEMPTS_MAX {
            if let Some(id) = self.left.lock().next() {
                return Ok(ProducerId(id));
            }
            // Two callers may both fetch a block; then the ids of one are lost, which harms nobody.
            if let Some(block) = self.take_block().await.map_err(|error| of_meta(&error))? {
                *self.left.lock() = block;
            }
        }
        let message = "too many stores take producer ids at once";
        Err(StoreError::new(ErrorCode::ThrottlingQuotaExceeded, message))
    }

    /// The next block; `None` when another store was faster or the outcome is not known.
    async fn take_block(&self) -> Result<Option<Range<i64>>, MetaError> {
        let key = keys::producer_ids();
        let stored = self.meta.read(&key).await?;
        let (ids, revision) = match stored {
            Some(stored) => (stored.value, stored.mod_revision),
            None => (ProducerIds::FIRST, Revision::NONE),
        };
        let Some(rest) = ids.after_block() else {
            return Err(MetaError::Invalid("there are no producer ids left".to_owned()));
        };
        let txn = Txn::new().when_unchanged(&key, revision).put(&key, &rest);
        match self.meta.txn(txn).await {
            Ok(TxnOutcome::Committed(_)) => Ok(Some(ids.next.0..rest.next.0)),
            Ok(TxnOutcome::Conflict(_)) | Err(MetaError::OutcomeUnknown(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
