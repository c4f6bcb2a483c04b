//! Fetches indexes and ranges: each once however many wait, and checked on arrival.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder};
use tidelog_format::segment::{SegmentEntry, open_tail};
use tidelog_model::{ObjectId, TopicPartition};
use tokio::sync::Semaphore;

use super::CacheConfig;
use super::segment::OpenSegment;
use crate::bucket::{Bucket, BucketError};
use crate::cache::{RangeCache, RangeKey};
use crate::error::ColdError;
use crate::flight::Flights;

/// Largest tail of a segment that is read: an index of the largest size and its footer.
const TAIL_BYTES_MAX: u64 = 65 * 1024 * 1024;

type Fetched<T> = Result<T, ColdError>;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bucket: Bucket,
    ranges: RangeCache,
    segments: Cache<ObjectId, Arc<OpenSegment>>,
    range_flights: Flights<RangeKey, Fetched<Bytes>>,
    segment_flights: Flights<ObjectId, Fetched<Arc<OpenSegment>>>,
    requests: Semaphore,
    range_bytes: u64,
}

impl Fetcher {
    pub(super) fn new(bucket: Bucket, ranges: RangeCache, config: &CacheConfig) -> Self {
        let segments = CacheBuilder::new(config.index_bytes)
            .with_name("segment-index")
            .with_shards(1)
            .with_weighter(|_: &ObjectId, segment: &Arc<OpenSegment>| segment.memory_bytes())
            .build();
        let shared = Shared {
            bucket,
            ranges,
            segments,
            range_flights: Flights::default(),
            segment_flights: Flights::default(),
            requests: Semaphore::new(config.requests.max(1)),
            range_bytes: config.range_bytes.max(1) as u64,
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn ranges(&self) -> &RangeCache {
        &self.shared.ranges
    }

    /// Opens the segment of `tp` that a manifest names.
    pub(super) async fn segment(&self, tp: TopicPartition, entry: SegmentEntry) -> Fetched<Arc<OpenSegment>> {
        if let Some(open) = self.shared.segments.get(&entry.id) {
            return Ok(open.value().clone());
        }
        let shared = self.shared.clone();
        let opening = async move { shared.open_segment(tp, entry).await };
        self.shared.segment_flights.join(entry.id, || opening).await
    }

    /// The bytes of a range, all of which are sound.
    pub(super) async fn range(&self, segment: &Arc<OpenSegment>, range: usize) -> Fetched<Bytes> {
        let key = segment.cache_key(range);
        if let Some(bytes) = self.shared.ranges.get_memory(&key)
            && bytes.len() == segment.len(range)
        {
            return Ok(bytes);
        }
        let mut began = false;
        let shared = self.shared.clone();
        let segment = segment.clone();
        let flight = self.shared.range_flights.join(key, || {
            began = true;
            async move { shared.fetch_range(&segment, range).await }
        });
        let bytes = flight.await?;
        if !began {
            // Joining is a reading of its own.
            self.shared.ranges.read(&key, &bytes);
        }
        Ok(bytes)
    }
}

impl Shared {
    /// Gets bytes of an object that must be there and must reach so far.
    async fn get(&self, key: &str, range: Range<u64>) -> Fetched<Bytes> {
        let _slot = self.requests.acquire().await;
        match self.bucket.get_range(key, range.clone()).await {
            // The connection's doing, or the store's: only asking again tells it from damage.
            Err(BucketError::Corrupt(_)) => self.bucket.get_range(key, range.clone()).await,
            other => other,
        }
        .map_err(|error| match error {
            BucketError::NotFound(_) => ColdError::Missing { key: key.to_owned() },
            BucketError::Corrupt(about) => {
                ColdError::Corrupt { key: key.to_owned(), range, detail: about.detail }
            }
            error => error.into(),
        })
    }

    async fn open_segment(&self, tp: TopicPartition, entry: SegmentEntry) -> Fetched<Arc<OpenSegment>> {
        let key = entry.key(tp).to_string();
        let tail_bytes = u64::from(entry.tail_bytes).min(entry.bytes);
        let whole = 0..entry.bytes;
        let tail = entry.bytes - tail_bytes..entry.bytes;
        let corrupt = |detail: String| ColdError::Corrupt { key: key.clone(), range: tail.clone(), detail };
        if tail_bytes > TAIL_BYTES_MAX {
            return Err(corrupt(format!("an index of {tail_bytes} bytes is larger than any")));
        }
        // A small segment comes whole: its index alone would cost as much.
        let small = entry.bytes <= self.range_bytes;
        let wanted = if small { whole } else { tail.clone() };
        let mut last = None;
        for _ in 0..2 {
            let bytes = self.get(&key, wanted.clone()).await?;
            let at = bytes.len() - usize::try_from(tail_bytes).unwrap_or(bytes.len());
            let opened = open_tail(&bytes[at..], entry.bytes)
                .and_then(|index| index.check(tp, &entry).map(|()| index));
            match opened {
                Ok(index) => {
                    let open = Arc::new(OpenSegment::new(tp, entry, index, self.range_bytes));
                    if small {
                        self.keep_ranges(&open, &bytes);
                    }
                    self.segments.insert(entry.id, open.clone());
                    return Ok(open);
                }
                Err(error) => last = Some(corrupt(error.to_string())),
            }
        }
        Err(last.expect("the loop ran"))
    }

    /// Keeps the ranges of a segment that came whole. Damaged ones are left to be fetched again.
    fn keep_ranges(&self, segment: &OpenSegment, whole: &Bytes) {
        for range in 0..segment.ranges() {
            let at = segment.bytes(range);
            let (Ok(start), Ok(end)) = (usize::try_from(at.start), usize::try_from(at.end)) else { continue };
            if start > end || end > whole.len() {
                continue;
            }
            let bytes = whole.slice(start..end);
            if segment.check(range, &bytes).is_ok() {
                self.ranges.preload(segment.cache_key(range), &bytes);
            }
        }
    }

    async fn fetch_range(&self, segment: &OpenSegment, range: usize) -> Fetched<Bytes> {
        let key = segment.cache_key(range);
        let sound = |bytes: &Bytes| bytes.len() == segment.len(range) && segment.check(range, bytes).is_ok();
        if let Some(bytes) = self.ranges.get_disk(&key, sound).await
            && bytes.len() == segment.len(range)
        {
            return Ok(bytes);
        }
        let mut last = None;
        for attempt in 0..2 {
            let bytes = self.get(&segment.key, segment.bytes(range)).await?;
            match segment.check(range, &bytes) {
                Ok(()) => {
                    self.ranges.insert(key, &bytes);
                    return Ok(bytes);
                }
                Err((at, error)) => {
                    tracing::warn!(key = segment.key, attempt, %error, "damaged bytes from the bucket");
                    let detail = error.to_string();
                    last = Some(ColdError::Corrupt { key: segment.key.clone(), range: at, detail });
                }
            }
        }
        Err(last.expect("the loop ran"))
    }
}
