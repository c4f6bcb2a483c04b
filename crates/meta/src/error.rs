//! What a call to the metadata store can answer instead of a result.

use thiserror::Error;

use crate::{LeaseId, Seen, ValueError};

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
    /// The user or the password is not accepted.
    #[error("the metadata store does not accept who we are: {0}")]
    Unauthenticated(String),
    /// The user may not do this.
    #[error("the metadata store denies access: {0}")]
    Denied(String),
    /// TLS could not be agreed on: a certificate is not trusted, has expired or is missing.
    #[error("no trusted connection to the metadata store: {0}")]
    Untrusted(String),
    /// The store is not the one it was, or has lost what it had.
    #[error(
        "the metadata store was replaced or restored from an older copy: it was {remembered}, and is {found}"
    )]
    Restored { remembered: Seen, found: Seen },
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
    /// The same call may succeed later without anyone repairing anything but the store.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }

    /// The call certainly changed nothing.
    pub fn has_no_side_effects(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown(_) | Self::Failed(_))
    }
}
