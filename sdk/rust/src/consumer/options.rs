//! A consumer's settings.

use std::time::Duration;

use tidelog_model::{Offset, PartitionId, TimestampMs};
use tidelog_proto::v1::{self, offset_spec};
use tidelog_wire::TransportSettings;

use crate::Error;

/// Where to begin in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StartAt {
    /// At the oldest record that there is.
    #[default]
    Start,
    /// After the newest record that can be read: only what comes from now on.
    End,
    Offset(Offset),
    /// At the first record with this timestamp or a later one; at the end when there is none.
    Timestamp(TimestampMs),
    /// So many records before the end, and no further back than the start.
    BeforeEnd(u64),
    /// So many records after the start, and no further than the end.
    AfterStart(u64),
}

impl StartAt {
    pub(crate) fn to_proto(self) -> v1::OffsetSpec {
        let at = match self {
            Self::Start => offset_spec::At::Start(offset_spec::Unit {}),
            Self::End => offset_spec::At::End(offset_spec::Unit {}),
            Self::Offset(offset) => offset_spec::At::Offset(offset.0),
            Self::Timestamp(timestamp) => offset_spec::At::TimestampMs(timestamp.0),
            Self::BeforeEnd(count) => offset_spec::At::BeforeEnd(count),
            Self::AfterStart(count) => offset_spec::At::AfterStart(count),
        };
        v1::OffsetSpec { at: Some(at) }
    }
}

/// Which records a reader sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything that is committed.
    #[default]
    ReadUncommitted,
    /// Nothing of a transaction that is still open.
    ReadCommitted,
}

impl Isolation {
    pub(crate) fn to_proto(self) -> v1::Isolation {
        match self {
            Self::ReadUncommitted => v1::Isolation::ReadUncommitted,
            Self::ReadCommitted => v1::Isolation::ReadCommitted,
        }
    }
}

/// A consumer's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// `None`: every partition of the topic.
    pub partitions: Option<Vec<PartitionId>>,
    /// Where to begin in each of them.
    pub start: StartAt,
    /// End with what is there when the consumer begins, instead of waiting for more.
    pub stop_at_end: bool,
    pub isolation: Isolation,
    /// How much is read ahead, all partitions together; each gets at least 16 KiB of it, and one
    /// batch, however large, is always read.
    pub prefetch_bytes: usize,
    /// How long a partition may be unreadable, while it is tried again and again, before the consumer
    /// says so. It is tried on after that.
    pub patience: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            partitions: None,
            start: StartAt::Start,
            stop_at_end: false,
            isolation: Isolation::ReadUncommitted,
            prefetch_bytes: 32 * 1024 * 1024,
            patience: Duration::from_secs(30),
        }
    }
}

const PARTITION_BYTES_MIN: usize = 16 * 1024;
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;

/// What may wait unread in the transport, all partitions together, and what each gets of it at least.
const WINDOWS_BYTES: usize = 64 * 1024 * 1024;
const WINDOW_BYTES_MIN: usize = 32 * 1024;

impl ConsumerOptions {
    /// What one of `partitions` may read ahead.
    pub(super) fn partition_bytes(&self, partitions: usize) -> usize {
        (self.prefetch_bytes / partitions.max(1)).max(PARTITION_BYTES_MIN)
    }

    /// How large a frame of one of `partitions` should be.
    pub(super) fn payload_bytes(&self, partitions: usize) -> u32 {
        (self.partition_bytes(partitions) / 2).clamp(PARTITION_BYTES_MIN, PAYLOAD_BYTES_MAX) as u32
    }

    /// The transport's settings for `partitions` streams: together they hold a bounded amount unread.
    pub(super) fn transport(partitions: usize, settings: &TransportSettings) -> TransportSettings {
        let share = (WINDOWS_BYTES / partitions.max(1)).max(WINDOW_BYTES_MIN);
        let stream_window_bytes = settings.stream_window_bytes.min(share as u32);
        TransportSettings { stream_window_bytes, ..*settings }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(partitions) = &self.partitions else { return Ok(()) };
        let mut seen = std::collections::HashSet::new();
        let reason = if partitions.is_empty() {
            "none is named".to_owned()
        } else if let Some(twice) = partitions.iter().find(|p| !seen.insert(**p)) {
            format!("{twice} is named twice")
        } else {
            return Ok(());
        };
        Err(Error::Invalid { what: "partitions", reason })
    }
}
