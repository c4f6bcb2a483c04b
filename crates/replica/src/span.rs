//! Ranges of the log. The protocol moves no bytes: it says which range goes where.

use tidelog_model::{LeaderEpoch, Offset};

/// One batch: the epoch that appended it, its offsets, and a checksum that tells it from other bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The epoch under which the batch was first appended; replication keeps it.
    pub epoch: LeaderEpoch,
    pub base: Offset,
    /// The offset after the batch's last.
    pub next: Offset,
    /// The batch's own CRC-32C.
    pub crc: u32,
}

/// Numbers the stretches of a local log between cuts. Completions from before a cut say nothing about
/// the bytes that took the place of what was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Generation(pub u64);

/// Where an append goes: what the leader writes into the batch's header and into its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub epoch: LeaderEpoch,
    pub base: Offset,
    pub next: Offset,
    /// Comes back in [`Event::LocalDurable`](crate::Event::LocalDurable).
    pub generation: Generation,
}

/// The offsets that the store moves on its own. None of them ever goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Marks {
    /// First offset that still exists, in either tier.
    pub log_start: Offset,
    /// First offset that this disk holds; what lies below is in the bucket or is deleted.
    pub local_start: Offset,
    /// First offset that is not in the bucket.
    pub tiered_end: Offset,
}

impl Marks {
    /// Where a replica that holds nothing may begin: what lies below is in the bucket, or is deleted.
    pub fn resume_at(&self) -> Offset {
        self.tiered_end.max(self.log_start)
    }

    pub(crate) fn raise(&mut self, to: Self) {
        self.log_start = self.log_start.max(to.log_start);
        self.local_start = self.local_start.max(to.local_start);
        self.tiered_end = self.tiered_end.max(to.tiered_end);
    }
}
