//! One table from what the layers below say to what travels to a caller.

use tidelog_cold::{BucketError, ColdError};
use tidelog_journal::ReadError;
use tidelog_meta::MetaError;
use tidelog_model::ErrorCode;
use tidelog_peer::StoreError;

/// An error of the metadata store, for a caller who asked for something else.
pub(crate) fn of_meta(error: &MetaError) -> StoreError {
    let code = match error {
        MetaError::Unavailable(_) => ErrorCode::NotLeaderOrFollower,
        MetaError::Closed => ErrorCode::ShuttingDown,
        MetaError::OutcomeUnknown(_) => ErrorCode::RequestTimedOut,
        MetaError::Failed(_) => ErrorCode::StorageError,
        MetaError::Invalid(_)
        | MetaError::LeaseNotFound(_)
        | MetaError::Value(_)
        | MetaError::Unauthenticated(_)
        | MetaError::Denied(_)
        | MetaError::Untrusted(_)
        | MetaError::Restored { .. } => ErrorCode::Internal,
    };
    StoreError::new(code, error.to_string())
}

/// An error of a bucket's operation.
pub(crate) fn of_bucket(error: &BucketError) -> StoreError {
    let code = match error {
        BucketError::Corrupt(_) | BucketError::NotFound(_) => ErrorCode::BucketCorrupt,
        _ => ErrorCode::BucketUnavailable,
    };
    StoreError::new(code, error.to_string())
}

/// An error of reading the journal.
pub(crate) fn of_read(error: &ReadError) -> StoreError {
    let code = match error {
        ReadError::NotLocal { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } | ReadError::Quarantined { .. } => ErrorCode::JournalCorrupt,
        ReadError::Io { .. } => ErrorCode::StorageError,
        ReadError::Closed => ErrorCode::ShuttingDown,
    };
    StoreError::new(code, error.to_string())
}

/// An error of reading or publishing in the bucket.
pub(crate) fn of_cold(error: &ColdError) -> StoreError {
    StoreError::new(error.code(), error.to_string())
}
