//! One partition's log as a disk holds it: batches without bytes, each known by a value that no other has.

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{EpochStart, History, Span};

/// A batch. Its value stands for its bytes: two batches with one value are the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) base: Offset,
    pub(crate) count: u32,
    pub(crate) value: u32,
    pub(crate) origin: Option<Origin>,
}

/// What an idempotent producer puts on a batch so that it is appended once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) producer: u32,
    pub(crate) sequence: u32,
}

impl Batch {
    pub(crate) fn next(&self) -> Offset {
        self.base + u64::from(self.count)
    }

    pub(crate) fn span(&self) -> Span {
        Span { epoch: self.epoch, base: self.base, next: self.next(), crc: self.value }
    }
}

/// What a journal records about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Append(Batch),
    EpochStart(EpochStart),
    /// Everything from here on is gone.
    Truncate(Offset),
    /// The log is empty and begins here, after these epochs.
    Reset(Offset, Vec<EpochStart>),
    /// Everything before here is gone: the bucket has it.
    Trim(Offset),
}

/// What the records of a partition add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    start: Offset,
    batches: Vec<Batch>,
    history: History,
}

impl Log {
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    pub(crate) fn end(&self) -> Offset {
        self.batches.last().map_or(self.start, Batch::next)
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Append(batch) => {
                assert_eq!(batch.base, self.end(), "a batch is appended at the log's end");
                self.batches.push(*batch);
            }
            Record::EpochStart(start) => {
                self.history.begin(start.epoch, start.start);
            }
            Record::Truncate(to) => {
                let kept = self.batches.partition_point(|batch| batch.next() <= *to);
                self.batches.truncate(kept);
                self.history.cut(*to);
            }
            Record::Reset(to, epochs) => {
                let history = History::from_entries(epochs.iter().copied());
                *self = Self { start: *to, batches: Vec::new(), history };
            }
            Record::Trim(to) => {
                let gone = self.batches.partition_point(|batch| batch.next() <= *to);
                self.batches.drain(..gone);
                self.start = self.start.max(*to);
            }
        }
    }

    /// The whole batches that begin at or after `from` and end at or before `to`.
    pub(crate) fn within(&self, from: Offset, to: Offset) -> &[Batch] {
        let first = self.batches.partition_point(|batch| batch.base < from);
        let last = self.batches.partition_point(|batch| batch.next() <= to).max(first);
        &self.batches[first..last]
    }

    /// The batch that begins at an offset.
    pub(crate) fn at(&self, base: Offset) -> Option<&Batch> {
        let at = self.batches.partition_point(|batch| batch.base < base);
        self.batches.get(at).filter(|batch| batch.base == base)
    }

    /// The newest batch that an idempotent producer appended under a sequence.
    pub(crate) fn by_origin(&self, origin: Origin) -> Option<&Batch> {
        self.batches.iter().rev().find(|batch| batch.origin == Some(origin))
    }
}
