//! The writing side of the cold tier: segments, then the manifest root that names them.
//!
//! Nothing here makes anything visible. [`Tier::publish`] returns the pointer that would; whoever
//! leads the partition commits it.

mod budget;
mod parts;
mod segment;
#[cfg(test)]
mod tests;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{SegmentEntry, SegmentOptions};
use tidelog_format::state::PartitionState;
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{Clock, Incarnation, LeaderEpoch, Offset, SharedClock, TimestampMs, TopicPartition};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::bucket::{Bucket, Buffers};
use crate::error::ColdError;
use crate::manifest::{Manifests, Publish};
use budget::{Bandwidth, MemoryBudget};

pub use segment::SegmentUpload;

/// Size of all parts of an object but the last. S3 wants 5 MiB at least and 10,000 parts at most, so
/// this bounds a segment to 80 GB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// Parts of one segment that are on their way at a time.
pub const PARTS_PER_SEGMENT: usize = 4;

/// The least memory with which uploads can be relied on to go on: one part, and one batch of the
/// largest size.
pub const UPLOAD_BYTES_MIN: usize = PART_BYTES + BATCH_BYTES_MAX;

/// Memory for nodes of manifests, the larger ones of which have some 100 KiB.
const MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// What uploads may use.
#[derive(Clone, Debug)]
pub struct TierConfig {
    /// Memory for what is being filled and sent, all segments together; at least [`UPLOAD_BYTES_MIN`].
    pub memory_bytes: usize,
    /// Requests at a time, all segments together. Reads have their own.
    pub requests: usize,
    /// What is sent, at most; `None` for as fast as it goes.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Stamps segments and roots.
    pub clock: SharedClock,
}

impl Default for TierConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 96 * 1024 * 1024,
            requests: 8,
            bytes_per_second: None,
            clock: Arc::new(WallClock),
        }
    }
}

#[derive(Debug)]
struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> TimestampMs {
        let elapsed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Writes to the bucket on behalf of one incarnation of the cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bucket: Bucket,
    incarnation: Incarnation,
    manifests: Manifests,
    memory: Arc<MemoryBudget>,
    /// What is being filled and sent lies in these.
    buffers: Buffers,
    requests: Semaphore,
    bandwidth: Bandwidth,
    clock: SharedClock,
    part_bytes: usize,
    segments: SegmentOptions,
    open: AtomicUsize,
    aborts: TaskTracker,
}

impl Inner {
    fn open_segments(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn count_open(self: &Arc<Self>) -> OpenSegment {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenSegment(self.clone())
    }
}

/// Counts a segment while it is being filled.
#[derive(Debug)]
struct OpenSegment(Arc<Inner>);

impl Drop for OpenSegment {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Tier {
    pub fn new(bucket: Bucket, incarnation: Incarnation) -> Self {
        Self::with_config(bucket, incarnation, TierConfig::default())
    }

    pub fn with_config(bucket: Bucket, incarnation: Incarnation, config: TierConfig) -> Self {
        let memory_bytes = config.memory_bytes.max(UPLOAD_BYTES_MIN);
        let config = TierConfig { memory_bytes, ..config };
        Self::with_sizes(bucket, incarnation, config, PART_BYTES, SegmentOptions::default())
    }

    fn with_sizes(
        bucket: Bucket,
        incarnation: Incarnation,
        config: TierConfig,
        part_bytes: usize,
        segments: SegmentOptions,
    ) -> Self {
        let inner = Inner {
            manifests: Manifests::new(bucket.clone(), MANIFEST_BYTES),
            bucket,
            incarnation,
            part_bytes,
            segments,
            memory: MemoryBudget::new(config.memory_bytes),
            buffers: Buffers::default(),
            requests: Semaphore::new(config.requests.max(1)),
            bandwidth: Bandwidth::new(config.bytes_per_second),
            clock: config.clock,
            open: AtomicUsize::new(0),
            aborts: TaskTracker::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn bucket(&self) -> &Bucket {
        &self.inner.bucket
    }

    pub fn incarnation(&self) -> Incarnation {
        self.inner.incarnation
    }

    pub fn manifests(&self) -> &Manifests {
        &self.inner.manifests
    }

    /// Begins a segment, written under leader epoch `epoch`. Nothing is sent before there is enough.
    pub fn segment(&self, tp: TopicPartition, epoch: LeaderEpoch) -> SegmentUpload {
        SegmentUpload::new(self.inner.clone(), tp, epoch)
    }

    /// Writes the state object and a new manifest root with these segments behind those that
    /// `previous` leads to. Returns the pointer to commit; until then nothing has changed. The log
    /// start stays where it is.
    pub async fn publish(
        &self,
        tp: TopicPartition,
        epoch: LeaderEpoch,
        previous: Option<&Pointer>,
        segments: Vec<SegmentEntry>,
        state: &PartitionState,
    ) -> Result<Pointer, ColdError> {
        let first = segments.first().map_or(state.end, |segment| segment.first_offset);
        let log_start = previous.map_or(first, |pointer| pointer.log_start);
        self.publish_from(tp, epoch, previous, &segments, state, log_start).await
    }

    /// [`Tier::publish`] with another log start, which never goes back.
    pub async fn publish_from(
        &self,
        tp: TopicPartition,
        epoch: LeaderEpoch,
        previous: Option<&Pointer>,
        segments: &[SegmentEntry],
        state: &PartitionState,
        log_start: Offset,
    ) -> Result<Pointer, ColdError> {
        let incarnation = self.inner.incarnation;
        let now = self.inner.clock.now();
        let publish = Publish { tp, incarnation, epoch, previous, segments, state, log_start, now };
        Ok(self.inner.manifests.publish(publish).await?)
    }

    /// Returns once nothing is left to clean up behind uploads that were given up.
    pub async fn close(&self) {
        self.inner.aborts.close();
        self.inner.aborts.wait().await;
        self.inner.aborts.reopen();
    }
}

/// A tier whose segments have small blocks, so that little data makes many.
#[cfg(test)]
pub(crate) fn small_blocks(bucket: &Bucket, incarnation: Incarnation, block_bytes: usize) -> Tier {
    let segments = SegmentOptions { block_bytes, ..SegmentOptions::default() };
    Tier::with_sizes(bucket.clone(), incarnation, TierConfig::default(), PART_BYTES, segments)
}
