//! One table from what the layers below say to what travels to a caller.

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
        MetaError::Invalid(_) | MetaError::LeaseNotFound(_) | MetaError::Value(_) => ErrorCode::Internal,
    };
    StoreError::new(code, error.to_string())
}
