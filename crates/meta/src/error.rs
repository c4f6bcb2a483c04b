//! What a call to the metadata store can answer instead of a result.

use thiserror::Error;

use crate::{LeaseId, ValueError};

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MetaError {
    /// The request breaks a limit or a rule; the same one will always be refused.
    #[error("the metadata request is not valid: {0}")]
    Invalid(String),
    /// The lease has ended, and its keys with it.
    #[error("lease {0} has ended")]
    LeaseNotFound(LeaseId),
    /// The store could not be asked. Nothing was changed.
    #[error("the metadata store is unavailable: {0}")]
    Unavailable(String),
    /// The answer was lost. The transaction may or may not have been applied: read back.
    #[error("the outcome of a metadata transaction is unknown: {0}")]
    OutcomeUnknown(String),
    /// The store is broken and answers nothing any more; the process should end.
    #[error("the metadata store failed: {0}")]
    Failed(String),
    /// The store was closed by this process.
    #[error("the metadata store is closed")]
    Closed,
    /// A value is there but cannot be read.
    #[error(transparent)]
    Value(#[from] ValueError),
}

impl MetaError {
    /// The same call may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The call certainly changed nothing.
    pub fn has_no_side_effects(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown(_) | Self::Failed(_))
    }
}
