//! Why records did not get to the bucket.

use thiserror::Error;
use tidelog_cold::ColdError;
use tidelog_format::batch::BatchError;
use tidelog_journal::ReadError;
use tidelog_meta::MetaError;
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_peer::StoreError;

use super::cutter::CutError;

#[derive(Debug, Error)]
pub(crate) enum OffloadError {
    #[error(transparent)]
    Cold(#[from] ColdError),
    #[error("the bucket cannot be used: {0}")]
    Bucket(StoreError),
    #[error("the journal cannot be read: {0}")]
    Journal(#[from] ReadError),
    #[error("the journal gave a damaged batch: {0}")]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Cut(#[from] CutError),
    #[error("{partition}: another leader took over, or the topic was deleted")]
    Fenced { partition: TopicPartition },
    #[error("{partition}: the pointer was not committed")]
    NotCommitted { partition: TopicPartition },
    #[error(transparent)]
    Meta(#[from] MetaError),
}

impl OffloadError {
    /// What someone who asked for the offload is told.
    pub(crate) fn to_store_error(&self) -> StoreError {
        let code = match self {
            Self::Cold(error) => return crate::error::of_cold(error),
            Self::Bucket(error) => return error.clone(),
            Self::Meta(error) => return crate::error::of_meta(error),
            Self::Journal(error) => return crate::error::of_read(error),
            Self::Batch(_) | Self::Cut(_) => ErrorCode::JournalCorrupt,
            Self::Fenced { .. } => ErrorCode::NotLeaderOrFollower,
            Self::NotCommitted { .. } => ErrorCode::RequestTimedOut,
        };
        StoreError::new(code, self.to_string())
    }
}
