//! How commands end: the exit codes, and the one line that says why.

use std::io::Write as _;
use std::process::ExitCode;

use tidelog_cold::bucket::BucketError;
use tidelog_cold::inspect::InspectError;
use tidelog_frontend::StartError;
use tidelog_journal::DirectoryError;
use tidelog_meta::MetaError;
use tidelog_model::ErrorCode;
use tidelog_runtime::config::ConfigError;
use tidelog_runtime::http::HttpError;
use tidelog_wire::{IdentityError, ListenError};

use crate::cluster::etcd::NameError;

/// Shown at the end of `--help`; the codes are part of the interface and do not change.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed; trying again will not help by itself
  2  the command line or the configuration is not valid
  3  not found: no such topic, partition, offset or object
  4  not available now: no connection, in use, full, timed out; try again
  5  what is stored cannot be used: damaged, or written by a newer version
  130  interrupted";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Success = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unavailable = 4,
    Unusable = 5,
    Interrupted = 130,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// An error of the command line itself, with the code it ends in.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: Code,
    pub message: String,
}

impl Failure {
    pub fn error(code: Code, message: impl Into<String>) -> anyhow::Error {
        Self { code, message: message.into() }.into()
    }

    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::error(Code::Usage, message)
    }
}

/// Says on standard error what went wrong and returns the exit code. A reader that has gone away is no
/// error: `tidelog consume … | head` is a way to work.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return Code::Success.into();
    }
    let mut text = format!("error: {}", sentence_of(error));
    for more in problems_of(error).into_iter().chain(hint_of(error).map(str::to_owned)) {
        text.extend(["; ", &more]);
    }
    // When standard error is gone too, the code has to do.
    let _ = writeln!(std::io::stderr(), "{text}");
    code_of(error).into()
}

/// The error with its causes. Some errors repeat their cause's words; those are said once.
fn sentence_of(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.extend([": ", &cause]);
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    io.into_iter().any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The one table from errors to exit codes.
fn code_of(error: &anyhow::Error) -> Code {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.code;
        }
        if cause.is::<ConfigError>() {
            return Code::Usage;
        }
        if let Some(error) = cause.downcast_ref::<tidelog::Error>() {
            return code_of_client(error);
        }
        if let Some(error) = cause.downcast_ref::<InspectError>() {
            return code_of_inspection(error);
        }
        if let Some(error) = cause.downcast_ref::<BucketError>() {
            return code_of_bucket(error);
        }
        if let Some(code) = code_of_start(cause) {
            return code;
        }
    }
    Code::Failed
}

/// Why a server did not start.
fn code_of_start(error: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(error) = error.downcast_ref::<HttpError>() {
        return Some(match error {
            HttpError::InUse { .. } => Code::Unavailable,
            HttpError::Listen { .. } => Code::Failed,
        });
    }
    if let Some(error) = error.downcast_ref::<StartError>() {
        return Some(match error {
            StartError::Exposed { .. } => Code::Usage,
            StartError::Listen(error) => code_of_listening(error),
        });
    }
    if let Some(error) = error.downcast_ref::<ListenError>() {
        return Some(code_of_listening(error));
    }
    if let Some(error) = error.downcast_ref::<tidelog_store::OpenError>() {
        return code_of_store(error);
    }
    if let Some(error) = error.downcast_ref::<MetaError>() {
        return Some(code_of_meta(error));
    }
    if error.is::<NameError>() || error.is::<IdentityError>() {
        return Some(Code::Usage);
    }
    if let Some(error) = error.downcast_ref::<DirectoryError>() {
        return Some(match error {
            DirectoryError::InUse { .. } => Code::Unavailable,
            DirectoryError::Io { .. } => Code::Failed,
            DirectoryError::NewerFormat { .. }
            | DirectoryError::Corrupt { .. }
            | DirectoryError::NoIdentity { .. } => Code::Unusable,
        });
    }
    if let Some(error) = error.downcast_ref::<tidelog_journal::OpenError>() {
        return Some(match error {
            tidelog_journal::OpenError::Config(_) => Code::Usage,
            tidelog_journal::OpenError::Io { .. } if error.is_retryable() => Code::Unavailable,
            tidelog_journal::OpenError::Io { .. } => Code::Failed,
            _ => Code::Unusable,
        });
    }
    if let Some(error) = error.downcast_ref::<tidelog_meta::OpenError>() {
        return Some(match error {
            tidelog_meta::OpenError::InUse { .. } => Code::Unavailable,
            tidelog_meta::OpenError::Io { .. } => Code::Failed,
            _ => Code::Unusable,
        });
    }
    None
}

/// `None`: a cause further down says more.
fn code_of_store(error: &tidelog_store::OpenError) -> Option<Code> {
    use tidelog_store::{OpenError, OwnerError};
    match error {
        OpenError::Bucket(OwnerError::OtherCluster { .. }) => Some(Code::Usage),
        OpenError::Bucket(OwnerError::Bucket(_) | OwnerError::Unusable(_)) | OpenError::Journal(_) => None,
        OpenError::Meta(error) => Some(code_of_meta(error)),
        _ => Some(Code::Unusable),
    }
}

fn code_of_listening(error: &ListenError) -> Code {
    match error {
        ListenError::Identity(_) => Code::Usage,
        ListenError::InUse { .. } => Code::Unavailable,
        ListenError::Bind { .. } => Code::Failed,
    }
}

fn code_of_meta(error: &MetaError) -> Code {
    match error {
        error if error.is_retryable() => Code::Unavailable,
        MetaError::Unauthenticated(_) | MetaError::Denied(_) | MetaError::Untrusted(_) => Code::Usage,
        MetaError::Restored { .. } | MetaError::Value(_) => Code::Unusable,
        _ => Code::Failed,
    }
}

fn code_of_client(error: &tidelog::Error) -> Code {
    if let Some(code) = error.code() {
        return code_of_answer(code);
    }
    match error {
        tidelog::Error::Invalid { .. } | tidelog::Error::Context { .. } => Code::Usage,
        tidelog::Error::Connection(_) => Code::Unavailable,
        error if error.is_retryable() => Code::Unavailable,
        _ => Code::Failed,
    }
}

fn code_of_answer(code: ErrorCode) -> Code {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::OffsetOutOfRange => Code::NotFound,
        ErrorCode::InvalidTopic
        | ErrorCode::InvalidPartitions
        | ErrorCode::InvalidReplicationFactor
        | ErrorCode::InvalidReplicaAssignment
        | ErrorCode::InvalidConfig => Code::Usage,
        ErrorCode::CorruptMessage | ErrorCode::BucketCorrupt | ErrorCode::JournalCorrupt => Code::Unusable,
        code if code.is_retryable() => Code::Unavailable,
        _ => Code::Failed,
    }
}

fn code_of_inspection(error: &InspectError) -> Code {
    match error {
        InspectError::Bucket(error) => code_of_bucket(error),
        InspectError::NoSuchTopic(_) | InspectError::NoSuchPartition { .. } => Code::NotFound,
        InspectError::AmbiguousTopic { .. } => Code::Usage,
        InspectError::Manifest(error) if error.is_retryable() => Code::Unavailable,
        InspectError::Manifest(_) | InspectError::Damaged(_) => Code::Unusable,
    }
}

fn code_of_bucket(error: &BucketError) -> Code {
    match error {
        BucketError::NotFound(_) | BucketError::NoBucket(_) => Code::NotFound,
        BucketError::Invalid(_) => Code::Usage,
        BucketError::Corrupt(_) => Code::Unusable,
        error if error.is_retryable() => Code::Unavailable,
        _ => Code::Failed,
    }
}

/// Settings that a server refused, where its message does not name them.
fn problems_of(error: &anyhow::Error) -> Vec<String> {
    let Some(tidelog::Error::Server(refusal)) = error.chain().find_map(|cause| cause.downcast_ref()) else {
        return Vec::new();
    };
    let unnamed = refusal.problems.iter().filter(|problem| !refusal.message.contains(&problem.key));
    unnamed.map(|problem| format!("{}={}: {}", problem.key, problem.value, problem.reason)).collect()
}

/// What to do next, where the error itself does not say.
fn hint_of(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(hint) = error.chain().find_map(hint_at_start) {
        return Some(hint);
    }
    let error = error.chain().find_map(|cause| cause.downcast_ref::<tidelog::Error>())?;
    if matches!(error, tidelog::Error::Connection(_)) {
        return Some("is the server running? start one with `tidelog dev`, or name another with --bootstrap");
    }
    match error.code()? {
        ErrorCode::UnknownTopicOrPartition => Some("`tidelog topic list` shows what there is"),
        ErrorCode::StorageFull => Some("free some space on the server's disk, then try again"),
        ErrorCode::BacklogFull => Some("check the bucket, or raise journal.budget_bytes, then try again"),
        _ => None,
    }
}

fn hint_at_start(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(DirectoryError::InUse { .. }), _) => {
            Some("stop the server that uses it, or choose another directory with --data-dir")
        }
        (Some(DirectoryError::NewerFormat { .. }), _) => {
            Some("start the version of tidelog that wrote it, or a newer one")
        }
        (_, Some(StartError::Listen(ListenError::InUse { .. }))) => {
            Some("stop what uses it, or choose another with --quic")
        }
        _ if matches!(error.downcast_ref(), Some(ListenError::InUse { .. })) => {
            Some("stop what uses it, or choose another with cluster.listen")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn an_errors_code_is_found_below_its_context() {
        let error =
            Err::<(), _>(Failure::error(Code::NotFound, "no such thing")).context("looking").unwrap_err();
        assert_eq!(code_of(&error), Code::NotFound);
        assert_eq!(format!("{error:#}"), "looking: no such thing");
        assert_eq!(code_of(&anyhow::anyhow!("anything")), Code::Failed);
    }

    #[test]
    fn a_reader_that_left_is_no_error() {
        let gone =
            anyhow::Error::new(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("writing");
        assert!(is_broken_pipe(&gone) && !is_broken_pipe(&anyhow::anyhow!("x")));
    }
}
