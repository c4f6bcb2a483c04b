//! The calls on one partition's log.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tidelog_format::pointer::Pointer;
use tidelog_model::{Offset, ProducerEpoch, ProducerId, TimestampMs, TopicId, TopicPartition};

use crate::{Ack, StoreError};

/// A store, seen from outside: the logs of the partitions that it leads.
#[async_trait]
pub trait PartitionStore: Send + Sync {
    /// Appends one record batch, unverified as it came from a socket.
    ///
    /// Returns once the batch has its place in the partition's order, so that calls made one after the
    /// other by one caller are appended in that order; waits for room first, which is the
    /// back-pressure, and gives up waiting after a while, with an error that may be retried. The [`Ack`] resolves when the batch is durable. An error here means that nothing
    /// was appended.
    async fn produce(&self, partition: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError>;

    /// Batches from an offset on, or where else to look for them. Cancelled by dropping the future.
    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError>;

    /// The offset that `spec` stands for; `None` when no record has a timestamp that late. Only the
    /// partition's leader answers; [`OffsetSpec::End`] covers all that was acknowledged before it was
    /// asked, which the marks of a fetch need not.
    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError>;

    /// Where the partition's records are.
    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError>;

    /// Moves everything that is readable now to the bucket; returns when the pointers are committed.
    async fn offload(&self, topic: TopicId) -> Result<(), StoreError>;

    /// Drops the local copy of what is in the bucket.
    async fn evict(&self, topic: TopicId) -> Result<(), StoreError>;

    /// An identity for an idempotent producer, never handed out before.
    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError>;
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Everything below the high watermark.
    #[default]
    ReadUncommitted,
    /// Everything below the last stable offset: nothing of a transaction that is still open.
    ReadCommitted,
}

/// A request for batches.
#[derive(Clone, Copy, Debug)]
pub struct Fetch {
    pub partition: TopicPartition,
    /// The first batch of the answer contains this offset.
    pub from: Offset,
    /// The answer is not much larger: one batch at least, then as many as fit.
    pub max_bytes: usize,
    /// How long to wait for a record when there is none yet; `None` answers at once.
    pub max_wait: Option<Duration>,
    pub isolation: Isolation,
    /// A follower may answer, too, with what it knows to be committed; it may be behind its leader.
    pub follower: bool,
}

/// The answer to a [`Fetch`].
#[derive(Clone, Debug)]
pub enum Fetched {
    /// Whole batches in order. The first contains the offset asked for, and may begin before it.
    Batches { batches: Vec<Bytes>, marks: Marks },
    /// The offset is below the local start: the bucket has it, up to `marks.tiered_end`, and `pointer`
    /// leads to it.
    Tiered { pointer: Pointer, marks: Marks },
    /// The offset is the end of what this reader may see, and nothing came in time.
    Nothing { marks: Marks },
}

impl Fetched {
    pub fn marks(&self) -> &Marks {
        match self {
            Self::Batches { marks, .. } | Self::Tiered { marks, .. } | Self::Nothing { marks } => marks,
        }
    }

    /// Bytes of its batches.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Batches { batches, .. } => batches.iter().map(Bytes::len).sum(),
            Self::Tiered { .. } | Self::Nothing { .. } => 0,
        }
    }

    pub fn marks_mut(&mut self) -> &mut Marks {
        match self {
            Self::Batches { marks, .. } | Self::Tiered { marks, .. } | Self::Nothing { marks } => marks,
        }
    }
}

/// The offsets that bound a partition, taken at one moment:
/// log start <= local start <= log end, tiered end <= last stable <= high watermark <= log end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marks {
    pub log_start: Offset,
    pub local_start: Offset,
    /// First offset that is not in the bucket.
    pub tiered_end: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
}

impl Marks {
    /// The first offset that a reader of this isolation does not see.
    pub fn visible_end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable,
        }
    }

    /// What is known of a partition after both were heard, in whatever order: replicas hear of progress
    /// at different times, and no reader should see an end that goes back.
    #[must_use]
    pub fn newest(self, other: Self) -> Self {
        Self {
            log_start: self.log_start.max(other.log_start),
            local_start: self.local_start.max(other.local_start),
            tiered_end: self.tiered_end.max(other.tiered_end),
            last_stable: self.last_stable.max(other.last_stable),
            high_watermark: self.high_watermark.max(other.high_watermark),
            log_end: self.log_end.max(other.log_end),
        }
    }
}

/// An offset by description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The log start offset.
    Start,
    /// The end of what the reader may see.
    End,
    /// The first record whose timestamp is at or after this one.
    Timestamp(TimestampMs),
}

/// An offset that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedOffset {
    pub offset: Offset,
    /// The record's timestamp, where the question was about one; otherwise [`TimestampMs::NONE`].
    pub timestamp: TimestampMs,
}

/// Where a partition's records are, as `tidelog storage describe` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    pub partition: TopicPartition,
    pub marks: Marks,
    /// Bytes of the partition's batches in the hot tier.
    pub local_bytes: u64,
    /// Bytes of its segments in the bucket.
    pub bucket_bytes: u64,
    pub segments: u64,
    /// Bytes that only the hot tier has.
    pub untiered_bytes: u64,
    /// How long ago the oldest record that only the hot tier has was appended; 0 when there is none.
    pub untiered_ms: u64,
}
