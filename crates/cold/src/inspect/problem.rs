//! What can be wrong in a bucket, said so that one can act on it.

use std::fmt;

use serde::Serialize;
use tidelog_model::{PartitionId, TopicId, TopicPartition};

use super::InspectError;
use crate::bucket::BucketError;
use crate::manifest::ManifestError;

/// What sort of problem it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// The object is there and its bytes are wrong, or it is another object than the one named.
    Damaged,
    /// The object is named and not there.
    Missing,
    /// The object could not be read.
    Unreadable,
    /// The object is written by newer software.
    Newer,
    /// Offsets are covered by no segment.
    Gap,
}

/// A range, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// The object, by its key below the bucket's prefix.
    pub key: Option<String>,
    pub topic: Option<TopicId>,
    pub partition: Option<PartitionId>,
    /// The offsets that cannot be read because of it.
    pub offsets: Option<Range>,
    /// The bytes of the object that are concerned, where it is not the whole.
    pub bytes: Option<Range>,
    pub what: String,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self { kind, key: None, topic: None, partition: None, offsets: None, bytes: None, what }
    }

    /// Damage, or newer software, by what a parser says.
    pub(super) fn of_decoding(error: &tidelog_format::object::DecodeError) -> Self {
        let newer = error.needs_newer_software();
        Self::new(if newer { ProblemKind::Newer } else { ProblemKind::Damaged }, error)
    }

    /// What is wrong with one object. When it is the whole bucket that cannot be read, that ends the
    /// inspection.
    pub(super) fn of_bucket(error: BucketError) -> Result<Self, InspectError> {
        let kind = match error {
            BucketError::NotFound(_) => ProblemKind::Missing,
            BucketError::Corrupt(_) => ProblemKind::Damaged,
            BucketError::NoBucket(_) | BucketError::Unreachable(_) | BucketError::Throttled(_) => {
                return Err(error.into());
            }
            _ => ProblemKind::Unreadable,
        };
        Ok(Self::new(kind, error))
    }

    pub(super) fn of_manifest(error: ManifestError) -> Result<Self, InspectError> {
        match error {
            ManifestError::Bucket(error) => Self::of_bucket(error),
            ManifestError::Damaged { source, .. } => Ok(Self::of_decoding(&source)),
            ManifestError::TooLarge { .. } | ManifestError::Publication(_) => {
                Ok(Self::new(ProblemKind::Damaged, error))
            }
        }
    }

    pub(super) fn at(mut self, key: impl fmt::Display) -> Self {
        self.key = Some(key.to_string());
        self
    }

    pub(super) fn of(mut self, tp: TopicPartition) -> Self {
        self.topic = Some(tp.topic);
        self.partition = Some(tp.partition);
        self
    }

    pub(super) fn offsets(mut self, first: u64, last: u64) -> Self {
        self.offsets = Some(Range { first, last });
        self
    }

    pub(super) fn bytes(mut self, bytes: std::ops::Range<u64>) -> Self {
        self.bytes = Some(Range { first: bytes.start, last: bytes.end.saturating_sub(1) });
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "{key}")?;
            if let Some(bytes) = &self.bytes {
                write!(f, " (bytes {bytes})")?;
            }
            write!(f, ": ")?;
        }
        write!(f, "{}", self.what)?;
        if let Some(offsets) = &self.offsets {
            write!(f, "; offsets {offsets}")?;
        }
        match (self.topic, self.partition) {
            (Some(topic), Some(partition)) => write!(f, " of {topic}/{partition}"),
            _ => Ok(()),
        }
    }
}
