//! Why something of the cold tier could not be written or read.

use std::ops::Range;

use thiserror::Error;
use tidelog_format::segment::SegmentError;
use tidelog_model::{ErrorCode, Offset, TopicPartition};

use crate::bucket::BucketError;
use crate::manifest::ManifestError;

/// Cheap enough to clone: everyone who waits for the same fetch gets it.
#[derive(Clone, Debug, Error)]
pub enum ColdError {
    #[error("{0}")]
    Bucket(#[from] BucketError),
    #[error("{0}")]
    Manifest(ManifestError),
    /// What was to be written is no segment. Nothing of it is published.
    #[error("{tp}: {source}")]
    Segment { tp: TopicPartition, source: SegmentError },
    /// An object is damaged. Nothing of the range is served.
    #[error("{key} is damaged in bytes {} to {}: {detail}", .range.start, .range.end)]
    Corrupt { key: String, range: Range<u64>, detail: String },
    /// An object that a manifest names is not there.
    #[error("{key} is missing from the bucket")]
    Missing { key: String },
    #[error("{tp}: offset {offset} is not in the bucket, which has {log_start} to {tiered_end}")]
    OutOfRange { tp: TopicPartition, offset: Offset, log_start: Offset, tiered_end: Offset },
    /// All memory for uploads is taken by segments that are still being filled; one of them has to be
    /// finished first.
    #[error("{tp}: no memory is left for uploads while {open} segments are being filled")]
    UploadMemory { tp: TopicPartition, open: usize },
    /// An earlier error ended the upload.
    #[error("{tp}: the segment's upload has failed before")]
    UploadFailed { tp: TopicPartition },
    #[error("the disk cache cannot be opened: {0}")]
    DiskCache(String),
}

impl ColdError {
    /// The same request may succeed later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Bucket(error) => error.is_retryable(),
            Self::Manifest(error) => error.is_retryable(),
            Self::UploadMemory { .. } | Self::UploadFailed { .. } => true,
            Self::Segment { .. }
            | Self::Corrupt { .. }
            | Self::Missing { .. }
            | Self::OutOfRange { .. }
            | Self::DiskCache(_) => false,
        }
    }

    /// The code with which the error travels.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Segment { source: SegmentError::Batch(error), .. } => error.code(),
            Self::Segment { .. } | Self::DiskCache(_) | Self::Manifest(ManifestError::Publication(_)) => {
                ErrorCode::Internal
            }
            _ if self.is_damage() => ErrorCode::BucketCorrupt,
            _ => ErrorCode::BucketUnavailable,
        }
    }

    /// An object of the bucket holds other bytes than were written, or is gone.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Missing { .. } | Self::Bucket(BucketError::Corrupt(_)) => true,
            Self::Manifest(error) => match error {
                ManifestError::Bucket(error) => error.is_not_found(),
                ManifestError::Damaged { .. } | ManifestError::TooLarge { .. } => true,
                ManifestError::Publication(_) => false,
            },
            _ => false,
        }
    }

    /// An object that was named is not there: whoever named it may have an outdated pointer.
    pub(crate) fn is_missing(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::Bucket(error) => error.is_not_found(),
            Self::Manifest(error) => {
                matches!(error, ManifestError::Bucket(error) if error.is_not_found())
            }
            _ => false,
        }
    }
}

impl From<ManifestError> for ColdError {
    fn from(error: ManifestError) -> Self {
        match error {
            ManifestError::Bucket(error) if !error.is_not_found() => Self::Bucket(error),
            error => Self::Manifest(error),
        }
    }
}
