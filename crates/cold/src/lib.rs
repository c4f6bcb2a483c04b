//! The cold tier: a partition's records in a bucket, written once and read by anyone.
//!
//! Owns buckets by URL, uploads of segments, the manifest tree, replays with their caches, and reading a
//! bucket with nothing but the bucket. Object stores and disk caches are named here and nowhere else.
//! Knows nothing of who leads a partition or where pointers are kept: it hands pointers out to be
//! committed, and takes them in to be read.

pub mod bare;
pub mod bucket;
mod cache;
pub mod descriptor;
mod error;
mod flight;
pub mod inspect;
pub mod manifest;
mod reader;
#[cfg(test)]
mod sample;
mod tier;

pub use bucket::{Bucket, BucketError, BucketOptions, ProbeError};
pub use cache::DiskCache;
pub use error::ColdError;
pub use reader::{
    BatchStream, CacheConfig, ColdReader, FoundRecord, PointerSource, ReadOptions, STREAM_REQUESTS,
};
pub use tier::{PART_BYTES, PARTS_PER_SEGMENT, SegmentUpload, Tier, TierConfig, UPLOAD_BYTES_MIN};
