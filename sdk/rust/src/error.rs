//! What can go wrong, and what a caller can do about it.

use std::time::Duration;

use thiserror::Error;
use tidelog_format::batch::BatchError;
use tidelog_model::{ConfigError, ErrorCode, Offset};
use tidelog_proto::v1;
use tidelog_wire::WireError;

/// Any error of this crate. Two questions matter to most callers: [`Error::is_retryable`] and
/// [`Error::has_no_side_effects`].
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The server cannot be reached, or the connection to it failed.
    #[error(transparent)]
    Connection(WireError),
    /// The server refused the request.
    #[error("{0}")]
    Server(Box<ServerError>),
    /// It did not happen within the time that was given for it.
    #[error("{what} did not succeed within {}{}", seconds(*.after), because(.last.as_deref()))]
    TimedOut { what: &'static str, after: Duration, last: Option<Box<Error>> },
    /// The request may or may not have been carried out.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(Box<Error>),
    /// The client, the producer or the consumer was closed.
    #[error("the {0} is closed")]
    Closed(&'static str),
    /// What was asked for makes no sense.
    #[error("{what}: {reason}")]
    Invalid { what: &'static str, reason: String },
    #[error("a record of {bytes} bytes does not fit the largest batch of the topic, {max} bytes")]
    RecordTooLarge { bytes: usize, max: usize },
    #[error("topic {topic} has no partition {partition}, it has {partitions}")]
    NoSuchPartition { topic: String, partition: u32, partitions: u32 },
    /// No room in the producer's memory (see `Producer::try_send`).
    #[error("the producer's buffer is full")]
    BufferFull,
    /// Bytes that the server sent are damaged.
    #[error("{topic}/{partition} from offset {offset} on: {error}")]
    Damaged { topic: String, partition: u32, offset: Offset, error: BatchError },
    /// A record that was to be sent cannot be encoded.
    #[error(transparent)]
    Encode(BatchError),
    /// The server's answer breaks the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(&'static str),
    /// A context file cannot be used.
    #[error("{}: {reason}", path.display())]
    Context { path: std::path::PathBuf, reason: String },
}

/// A request that the server refused.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct ServerError {
    /// What went wrong; `None` when this version does not know the code.
    pub code: Option<ErrorCode>,
    /// The code as it came.
    pub number: u32,
    /// For people.
    pub message: String,
    pub retryable: bool,
    pub no_side_effects: bool,
    /// How long the server asks to wait before a retry.
    pub retry_after: Option<Duration>,
    /// Topic settings that were refused.
    pub problems: Vec<SettingProblem>,
    /// With [`ErrorCode::OffsetOutOfRange`]: the log start offset and the high watermark.
    pub offsets: Option<(Offset, Offset)>,
}

/// One topic setting that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingProblem {
    pub key: String,
    pub value: String,
    pub reason: String,
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

fn because(last: Option<&Error>) -> String {
    last.map(|error| format!(": {error}")).unwrap_or_default()
}

impl Error {
    /// The same call may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection(error) => error.is_retryable(),
            Self::Server(error) => error.retryable,
            Self::OutcomeUnknown(error) => error.is_retryable(),
            // A batch that arrived damaged may arrive whole the next time.
            Self::TimedOut { .. } | Self::BufferFull | Self::Damaged { .. } => true,
            _ => false,
        }
    }

    /// The call certainly changed nothing. When false the outcome is unknown: a record may be in the
    /// log although the call failed.
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Connection(error) => error.has_no_side_effects(),
            Self::Server(error) => error.no_side_effects,
            Self::OutcomeUnknown(_) | Self::Protocol(_) => false,
            _ => true,
        }
    }

    /// The error as a code of the protocol, where there is one for it.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Server(error) => error.code,
            Self::OutcomeUnknown(error) => error.code(),
            Self::TimedOut { last, .. } => last.as_ref().and_then(|error| error.code()),
            Self::RecordTooLarge { .. } => Some(ErrorCode::MessageTooLarge),
            Self::NoSuchPartition { .. } => Some(ErrorCode::UnknownTopicOrPartition),
            Self::Encode(error) | Self::Damaged { error, .. } => Some(error.code()),
            _ => None,
        }
    }

    /// The error with its outcome marked as unknown.
    #[must_use]
    pub(crate) fn unknown(self) -> Self {
        if self.has_no_side_effects() { Self::OutcomeUnknown(Box::new(self)) } else { self }
    }

    /// How long to wait before a retry, where the server said so.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Server(error) => error.retry_after,
            _ => None,
        }
    }
}

impl From<WireError> for Error {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Remote(remote) => (*remote).into(),
            other => Self::Connection(other),
        }
    }
}

impl From<v1::Error> for Error {
    fn from(error: v1::Error) -> Self {
        Self::Server(Box::new(error.into()))
    }
}

impl From<v1::Error> for ServerError {
    fn from(error: v1::Error) -> Self {
        let offsets = match error.detail {
            Some(v1::error::Detail::Offsets(bounds)) => {
                Some((Offset(bounds.log_start), Offset(bounds.high_watermark)))
            }
            _ => None,
        };
        let code = ErrorCode::from_code(error.code);
        let message = match code {
            Some(code) if error.message.is_empty() => code.to_string(),
            None if error.message.is_empty() => format!("error {}", error.code),
            _ => error.message,
        };
        let problem = |p: v1::Problem| SettingProblem { key: p.key, value: p.value, reason: p.reason };
        Self {
            code,
            number: error.code,
            message,
            retryable: error.retryable,
            no_side_effects: error.no_side_effects,
            retry_after: (error.retry_after_ms > 0).then(|| Duration::from_millis(error.retry_after_ms)),
            problems: error.problems.into_iter().map(problem).collect(),
            offsets,
        }
    }
}

impl From<Vec<ConfigError>> for Error {
    fn from(errors: Vec<ConfigError>) -> Self {
        let reasons: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Self::Invalid { what: "topic settings", reason: reasons.join("; ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: ErrorCode) -> Error {
        v1::Error {
            code: code as u32,
            retryable: code.is_retryable(),
            no_side_effects: code.has_no_side_effects(),
            ..v1::Error::default()
        }
        .into()
    }

    #[test]
    fn flags_come_from_the_server_even_for_codes_unknown_here() {
        let error: Error = v1::Error { code: 9999, retryable: true, ..v1::Error::default() }.into();
        assert!(error.is_retryable() && !error.has_no_side_effects());
        assert_eq!(error.code(), None);
        assert_eq!(error.to_string(), "error 9999");
    }

    #[test]
    fn an_unknown_outcome_is_never_called_harmless() {
        let full = refusal(ErrorCode::StorageFull);
        assert!(full.has_no_side_effects() && full.is_retryable());
        let unknown = full.unknown();
        assert!(!unknown.has_no_side_effects() && unknown.is_retryable());
        assert_eq!(unknown.code(), Some(ErrorCode::StorageFull));
        assert!(
            matches!(unknown.clone().unknown(), Error::OutcomeUnknown(inner) if matches!(*inner, Error::Server(_)))
        );
    }

    #[test]
    fn a_lost_connection_leaves_the_outcome_open() {
        let lost: Error = WireError::Lost("reset".to_owned()).into();
        assert!(lost.is_retryable() && !lost.has_no_side_effects());
        let refused: Error = WireError::Connect { addr: "x:1".to_owned(), reason: "no".to_owned() }.into();
        assert!(refused.is_retryable() && refused.has_no_side_effects());
    }
}
