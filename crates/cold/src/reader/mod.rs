//! The reading side of the cold tier.
//!
//! A [`BatchStream`] replays a partition from any offset: whole batches, in order, straight from the
//! ranges as they were fetched. Ranges of a few MiB are fetched many at a time, each once however many
//! wait for it, and checked on arrival: damaged bytes are fetched once more, and if they stay damaged
//! they are an error that names object and range, for whoever wants that range and nobody else.
//!
//! What is read ahead is bounded for all streams together, and a stream that stands still gives way to
//! one that moves; see [`readahead`].

mod fetch;
mod lookup;
mod plan;
mod readahead;
mod segment;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tidelog_format::pointer::Pointer;
use tidelog_format::state::PartitionState;
use tidelog_model::{Offset, TopicPartition};

use crate::bucket::Bucket;
use crate::cache::{DiskCache, RangeCache};
use crate::error::ColdError;
use crate::manifest::Manifests;
use fetch::Fetcher;
use readahead::Readahead;

pub use lookup::FoundRecord;
pub use stream::BatchStream;

/// What readers may use.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Memory for ranges that were read.
    pub memory_bytes: usize,
    /// Local disk for ranges that were read more than once.
    pub disk: Option<DiskCache>,
    /// Memory for ranges that were fetched ahead and not yet handed on, all streams together.
    pub readahead_bytes: usize,
    /// How much is fetched at a time.
    pub range_bytes: usize,
    /// GETs at a time, all readers together. Uploads have their own.
    pub requests: usize,
    /// Memory for nodes of manifests, and again for indexes of segments.
    pub index_bytes: usize,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * 1024 * 1024,
            disk: None,
            readahead_bytes: 96 * 1024 * 1024,
            range_bytes: 4 * 1024 * 1024,
            requests: 64,
            index_bytes: 8 * 1024 * 1024,
        }
    }
}

/// GETs that one stream has in flight when it reads as fast as it can.
pub const STREAM_REQUESTS: usize = 16;

/// How a stream reads.
#[derive(Clone)]
pub struct ReadOptions {
    /// Most ranges that are in flight or waiting for this stream. It starts with few and takes more
    /// whenever its reader had to wait.
    pub ranges_ahead: usize,
    /// The stream ends here, if that is before the tiered end.
    pub end: Option<Offset>,
    /// Asked for a newer pointer when an object is not there any more.
    pub pointers: Option<Arc<dyn PointerSource>>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { ranges_ahead: STREAM_REQUESTS, end: None, pointers: None }
    }
}

impl fmt::Debug for ReadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOptions")
            .field("ranges_ahead", &self.ranges_ahead)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Knows a partition's current pointer.
#[async_trait]
pub trait PointerSource: Send + Sync {
    async fn pointer(&self, tp: TopicPartition) -> Option<Pointer>;
}

/// Reads partitions from a bucket. Cheap to clone; clones share caches and budgets.
#[derive(Clone, Debug)]
pub struct ColdReader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bucket: Bucket,
    manifests: Manifests,
    fetcher: Fetcher,
    readahead: Arc<Readahead>,
}

impl ColdReader {
    /// Opens the disk cache, if there is to be one; the bucket is not asked for anything yet.
    pub async fn new(bucket: Bucket, config: CacheConfig) -> Result<Self, ColdError> {
        let ranges = RangeCache::open(config.memory_bytes, config.disk.as_ref()).await?;
        let inner = Inner {
            manifests: Manifests::new(bucket.clone(), config.index_bytes),
            readahead: Readahead::new(config.readahead_bytes),
            fetcher: Fetcher::new(bucket.clone(), ranges, &config),
            bucket,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    pub fn manifests(&self) -> &Manifests {
        &self.inner.manifests
    }

    /// The partition from the batch that contains `from`, or the first behind it, to the pointer's
    /// tiered end. Nothing is fetched before the first call of [`BatchStream::next`].
    pub fn stream(
        &self,
        tp: TopicPartition,
        pointer: Pointer,
        from: Offset,
        options: ReadOptions,
    ) -> BatchStream {
        BatchStream::new(self.clone(), tp, pointer, from, options)
    }

    /// The partition's state at the tiered end.
    pub async fn state(&self, tp: TopicPartition, pointer: &Pointer) -> Result<PartitionState, ColdError> {
        Ok(self.inner.manifests.state(tp, pointer).await?)
    }

    /// Bytes that the range cache has in memory.
    pub fn cached_bytes(&self) -> usize {
        self.inner.fetcher.ranges().memory_bytes()
    }

    /// Writes out what is on its way to the disk cache.
    pub async fn close(&self) {
        self.inner.fetcher.ranges().close().await;
    }
}
