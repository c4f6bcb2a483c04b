//! What can go wrong with a bucket, in the words of someone who has to do something about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};
use thiserror::Error;

/// Longest explanation that is kept of a store's answer: some answer with whole web pages.
const DETAIL_BYTES_MAX: usize = 400;

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Open,
    Read,
    Write,
    List,
    Stat,
    Delete,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Stat => "look up",
            Self::Delete => "delete",
        })
    }
}

/// What an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub operation: Operation,
    /// The object's key, a prefix, or the bucket's URL.
    pub key: String,
    /// What the store said.
    pub detail: String,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.operation, self.key)
    }
}

/// Why an operation on a bucket failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BucketError {
    #[error("{0}: there is no such object")]
    NotFound(Subject),
    #[error("{0}: the bucket does not exist: {detail}", detail = .0.detail)]
    NoBucket(Subject),
    /// The credentials are missing, wrong, expired, or not allowed to do this.
    #[error("{0}: not authorised: {detail}", detail = .0.detail)]
    Denied(Subject),
    /// It can be read and listed, but not written.
    #[error("{0}: the bucket is read-only: {detail}", detail = .0.detail)]
    ReadOnly(Subject),
    /// No connection, no answer in time, or an answer that says so.
    #[error("{0}: the bucket cannot be reached: {detail}", detail = .0.detail)]
    Unreachable(Subject),
    #[error("{0}: the bucket asks for fewer requests: {detail}", detail = .0.detail)]
    Throttled(Subject),
    #[error("{0}: no space is left: {detail}", detail = .0.detail)]
    Full(Subject),
    /// Other bytes came than were asked for: too few, too many, or of another range.
    #[error("{0}: wrong bytes: {detail}", detail = .0.detail)]
    Corrupt(Subject),
    /// The bucket's URL or its options make no sense.
    #[error("{0}: {detail}", detail = .0.detail)]
    Invalid(Subject),
    #[error("{0}: {detail}", detail = .0.detail)]
    Other(Subject),
}

impl BucketError {
    /// The same operation may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Throttled(_) | Self::Full(_) | Self::Corrupt(_) => true,
            Self::NotFound(_)
            | Self::NoBucket(_)
            | Self::Denied(_)
            | Self::ReadOnly(_)
            | Self::Invalid(_)
            | Self::Other(_) => false,
        }
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    pub fn subject(&self) -> &Subject {
        match self {
            Self::NotFound(subject)
            | Self::NoBucket(subject)
            | Self::Denied(subject)
            | Self::ReadOnly(subject)
            | Self::Unreachable(subject)
            | Self::Throttled(subject)
            | Self::Full(subject)
            | Self::Corrupt(subject)
            | Self::Invalid(subject)
            | Self::Other(subject) => subject,
        }
    }

    pub(crate) fn corrupt(operation: Operation, key: &str, detail: impl Into<String>) -> Self {
        Self::Corrupt(Subject { operation, key: key.to_owned(), detail: detail.into() })
    }

    pub(crate) fn invalid(key: &str, detail: impl Into<String>) -> Self {
        let operation = Operation::Open;
        Self::Invalid(Subject { operation, key: key.to_owned(), detail: detail.into() })
    }

    /// Says what a store's error means. Stores wrap their causes deeply and differently, so the whole
    /// chain is looked at.
    pub(crate) fn from_store(operation: Operation, key: &str, error: &object_store::Error) -> Self {
        let detail = detail_of(error);
        let about = Subject { operation, key: key.to_owned(), detail };
        match error {
            object_store::Error::NotFound { .. } if mentions(error, "NoSuchBucket") => Self::NoBucket(about),
            // Whoever writes or lists names no object that could be missing.
            object_store::Error::NotFound { .. }
                if matches!(operation, Operation::Write | Operation::List) =>
            {
                Self::NoBucket(about)
            }
            object_store::Error::NotFound { .. } => Self::NotFound(about),
            object_store::Error::PermissionDenied { .. } if read_only(operation, error) => {
                Self::ReadOnly(about)
            }
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Denied(about)
            }
            object_store::Error::InvalidPath { .. } => Self::Invalid(about),
            _ => Self::from_chain(operation, error, about),
        }
    }

    fn from_chain(operation: Operation, error: &object_store::Error, about: Subject) -> Self {
        if read_only(operation, error) {
            return Self::ReadOnly(about);
        }
        if let Some(status) = status_of(error) {
            return match status {
                401 | 403 => Self::Denied(about),
                404 => Self::NotFound(about),
                507 => Self::Full(about),
                429 | 503 => Self::Throttled(about),
                408 | 500..=599 => Self::Unreachable(about),
                // A redirect without an address or with one: the region or the endpoint is wrong.
                300..=399 => Self::Invalid(about),
                _ => Self::Other(about),
            };
        }
        for cause in causes(error) {
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                return match http.kind() {
                    HttpErrorKind::Decode => Self::Corrupt(about),
                    _ => Self::Unreachable(about),
                };
            }
            if let Some(io) = cause.downcast_ref::<io::Error>() {
                return match io.kind() {
                    io::ErrorKind::NotFound => Self::NotFound(about),
                    io::ErrorKind::PermissionDenied => Self::Denied(about),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(about),
                    io::ErrorKind::UnexpectedEof => Self::Corrupt(about),
                    io::ErrorKind::TimedOut
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => Self::Unreachable(about),
                    _ => Self::Other(about),
                };
            }
        }
        if mentions(error, "redirect without LOCATION") {
            return Self::Invalid(about);
        }
        // Answers that are refused: another range than was asked for, or the whole object instead.
        if ["range", "Range", "non-partial", "Requested "].iter().any(|word| mentions(error, word)) {
            return Self::Corrupt(about);
        }
        Self::Other(about)
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn mentions(error: &(dyn StdError + 'static), what: &str) -> bool {
    causes(error).any(|cause| cause.to_string().contains(what))
}

/// A file system that refuses writes.
fn read_only(operation: Operation, error: &(dyn StdError + 'static)) -> bool {
    matches!(operation, Operation::Write | Operation::Delete)
        && causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|io| {
            matches!(io.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
        })
}

/// The HTTP status of the answer, which `object_store` gives away only in words.
fn status_of(error: &(dyn StdError + 'static)) -> Option<u16> {
    causes(error).find_map(|cause| {
        let text = cause.to_string();
        if text.contains("SlowDown") {
            return Some(503);
        }
        let (_, after) = text.split_once("status code: ")?;
        after.get(..3)?.parse().ok()
    })
}

/// The innermost cause that says something, with an S3 error document reduced to its code and message.
fn detail_of(error: &(dyn StdError + 'static)) -> String {
    let text = causes(error).map(ToString::to_string).filter(|text| !text.is_empty()).last();
    let text = text.unwrap_or_default();
    let text = match (element(&text, "Code"), element(&text, "Message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => text,
    };
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(DETAIL_BYTES_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = document.split_once(&format!("<{name}>"))?;
    let (content, _) = after.split_once(&format!("</{name}>"))?;
    Some(content).filter(|content| !content.is_empty())
}
