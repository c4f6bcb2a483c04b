//! What a call to a store can answer instead of a result.

use thiserror::Error;
use tidelog_model::{ConfigError, ErrorCode};

/// An error as it travels between processes: a code that says what the caller may do, and a sentence
/// that says what happened to what.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct StoreError {
    pub code: ErrorCode,
    pub message: String,
}

impl StoreError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Every problem with a topic's settings in one sentence.
    pub fn of_settings(problems: &[ConfigError]) -> Self {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Self::new(ErrorCode::InvalidConfig, problems.join("; "))
    }

    /// The same call may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }

    /// The call certainly changed nothing. When false the outcome is unknown, and only an idempotent
    /// call may be repeated.
    pub fn has_no_side_effects(&self) -> bool {
        self.code.has_no_side_effects()
    }
}

impl From<ErrorCode> for StoreError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.to_string())
    }
}
