//! What can go wrong, by operation.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tidelog_model::{Offset, TopicPartition};

/// The disk failed under the writer. Whether the appends that were under way are on disk is unknown,
/// nothing can be appended any more, and the process should exit.
#[derive(Clone, Debug, Error)]
#[error("the journal failed: {what} {path}: {source}")]
pub struct Fatal {
    pub what: &'static str,
    pub path: PathBuf,
    pub source: Arc<io::Error>,
}

/// Why a journal does not open. Nothing was changed on disk.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("impossible journal settings: {0}")]
    Config(&'static str),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is a journal file of format version {found}; this software reads up to {supported}")]
    NewerFormat { path: PathBuf, found: u16, supported: u16 },
    /// Bytes that were durable are damaged, and records that are in no bucket may be among them.
    #[error(
        "{path} is damaged at position {position}{}: {reason}; restore the file, or open with \
         quarantine to go on without what it held",
        describe(*.partition)
    )]
    Corrupt { path: PathBuf, position: u64, partition: Option<(TopicPartition, Offset)>, reason: String },
    /// Files that hold records, or may, are not there.
    #[error(
        "{path} is missing: the journal must have the files {first} to {last}{}; put what is missing back (is \
         everything mounted?), or open with quarantine to go on without what it held",
        recorded(extent.as_deref())
    )]
    MissingFile {
        /// The first that is missing.
        path: PathBuf,
        first: u64,
        last: u64,
        /// The file that says so. Without one there is a gap between the files.
        extent: Option<PathBuf>,
    },
}

fn describe(partition: Option<(TopicPartition, Offset)>) -> String {
    partition.map(|(tp, offset)| format!(" (partition {tp}, offset {offset})")).unwrap_or_default()
}

fn recorded(extent: Option<&Path>) -> String {
    extent.map(|path| format!(", says {}", path.display())).unwrap_or_default()
}

impl OpenError {
    /// What was durable is damaged or gone.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::MissingFile { .. })
    }

    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Why something was not appended.
#[derive(Clone, Debug, Error)]
pub enum AppendError {
    /// The disk has no room for another file. Passes when space returns.
    #[error("the disk is full")]
    Full,
    /// The local budget is full of data that is not in the bucket yet. Passes as it gets there.
    #[error("the local budget is full of records that are not in the bucket yet")]
    Backlog,
    #[error("{bytes} bytes are more than one append can hold ({max})")]
    TooLarge { bytes: usize, max: usize },
    #[error("the journal is closed")]
    Closed,
    #[error(transparent)]
    Failed(#[from] Fatal),
}

impl AppendError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Backlog | Self::Closed)
    }

    /// Nothing of the append is on disk, or ever will be.
    pub fn has_no_side_effects(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

/// Why a read failed.
#[derive(Clone, Debug, Error)]
pub enum ReadError {
    /// The offset is not here: below the local start, or at or past the end.
    #[error("offset {offset} of {partition} is not in the hot tier (which has {start} to {end})")]
    NotLocal { partition: TopicPartition, offset: Offset, start: Offset, end: Offset },
    /// Bytes on disk are not what was written. Never served; the record may still be in the bucket.
    #[error("{path} is damaged at position {position} (partition {partition}, offset {offset}): {reason}")]
    Corrupt { path: PathBuf, position: u64, partition: TopicPartition, offset: Offset, reason: String },
    /// The batch was lost to damage that was accepted when the journal was opened.
    #[error("offset {offset} of {partition} was lost to a damaged journal file")]
    Quarantined { partition: TopicPartition, offset: Offset },
    #[error("reading {path}: {source}")]
    Io { path: PathBuf, source: Arc<io::Error> },
    #[error("the journal is closed")]
    Closed,
}

impl ReadError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}
