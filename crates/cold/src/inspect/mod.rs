//! Reads a bucket with nothing but the bucket: no server, no metadata store.
//!
//! [`list()`] says what is there, [`Cat`] gives a partition's batches back, [`verify()`] reads every
//! object that the newest sound root of every partition names, checks all checksums and offsets, and
//! names each damaged object and the range it costs. All of them only read.

mod cat;
mod list;
mod problem;
mod segment;
mod survey;
#[cfg(test)]
mod tests;
mod verify;

use thiserror::Error;
use tidelog_model::PartitionId;

use crate::bucket::BucketError;
use crate::manifest::ManifestError;

pub use cat::{Cat, CatOptions, Piece};
pub use list::{ClusterListing, Listing, PartitionListing, SegmentListing, TopicListing, list, segments};
pub use problem::{Problem, ProblemKind, Range};
pub use verify::{Checked, PROBLEMS_MAX, PartitionReport, Report, VerifyOptions, verify};

/// Why a bucket cannot be inspected. Damage that was found is no error but a [`Problem`], except
/// where it ends the output of [`Cat`].
#[derive(Debug, Error)]
pub enum InspectError {
    #[error("{0}")]
    Bucket(#[from] BucketError),
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    #[error("the bucket has no topic {0:?}")]
    NoSuchTopic(String),
    #[error("the bucket has more than one topic named {name:?}; use one of the ids {ids}")]
    AmbiguousTopic { name: String, ids: String },
    #[error("the bucket has nothing of partition {partition} of topic {topic:?}")]
    NoSuchPartition { topic: String, partition: PartitionId },
    #[error("{0}")]
    Damaged(Box<Problem>),
}

impl InspectError {
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Bucket(error) => error.is_retryable(),
            Self::Manifest(error) => error.is_retryable(),
            Self::NoSuchTopic(_)
            | Self::AmbiguousTopic { .. }
            | Self::NoSuchPartition { .. }
            | Self::Damaged(_) => false,
        }
    }
}
