//! What a partition remembers of its idempotent producers, so that a repeated batch is recognised.
//!
//! The hazard: a batch that was given its place but is not committed yet must be recognised as a
//! duplicate (the producer may have lost its connection and come back), yet must not be part of a
//! snapshot, because a crash or another leader may still undo it. So each producer's batches stand in one
//! queue, the settled ones first, and a snapshot shows those alone.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use thiserror::Error;
use tidelog_format::batch::BatchHeader;
use tidelog_format::state::{ProducerBatch, ProducerEntry};
use tidelog_model::limits::PRODUCER_BATCHES_REMEMBERED;
use tidelog_model::{ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Most producers that one partition remembers. Past it the longest idle ones are forgotten.
pub(crate) const PRODUCERS_MAX: usize = 10_000;

/// How long an idle producer is remembered (Kafka's default for `producer.id.expiration.ms`).
pub(crate) const PRODUCER_IDLE_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Forgetting scans every producer, so it makes room for a good many at once.
const FORGOTTEN_AT_ONCE: usize = PRODUCERS_MAX / 16;

/// The part of a batch that its producer is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) sequence: Sequence,
    pub(crate) record_count: u32,
    /// The batch's maximum timestamp.
    pub(crate) timestamp: TimestampMs,
}

impl Stamp {
    /// `None` for a batch of a producer that is not idempotent.
    pub(crate) fn of(header: &BatchHeader) -> Option<Self> {
        header.producer_id.is_some().then_some(Self {
            id: header.producer_id,
            epoch: header.producer_epoch,
            sequence: header.base_sequence,
            record_count: header.last_offset_delta + 1,
            timestamp: header.max_timestamp,
        })
    }
}

/// What a batch is, seen from its producer's past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one.
    Next,
    /// It was appended before, at this offset.
    Duplicate { base_offset: Offset, timestamp: TimestampMs },
}

/// Why a batch cannot be appended for its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("producer {id} is at epoch {current}; a batch of epoch {got} comes from an older instance")]
    Fenced { id: ProducerId, current: i16, got: i16 },
    #[error("producer {id} skipped: expected sequence {expected}, got {got}")]
    Gap { id: ProducerId, expected: i32, got: i32 },
    #[error(
        "producer {id}: sequence {got} was appended before, too long ago to tell where (now at {expected})"
    )]
    Forgotten { id: ProducerId, expected: i32, got: i32 },
    #[error("producer {id} is not known here and its batch begins at sequence {got}, not at 0")]
    Unknown { id: ProducerId, got: i32 },
    #[error("producer {id}: epoch {epoch} and sequence {got} must not be negative")]
    Malformed { id: ProducerId, epoch: i16, got: i32 },
}

impl Refusal {
    pub(crate) fn code(self) -> ErrorCode {
        match self {
            Self::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
            Self::Gap { .. } => ErrorCode::OutOfOrderSequence,
            Self::Forgotten { .. } => ErrorCode::DuplicateSequence,
            Self::Unknown { .. } => ErrorCode::UnknownProducerId,
            Self::Malformed { .. } => ErrorCode::InvalidRecord,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    epoch: ProducerEpoch,
    first: Sequence,
    record_count: u32,
    base_offset: Offset,
    timestamp: TimestampMs,
}

#[derive(Clone, Debug)]
struct Producer {
    /// Oldest first: the settled ones (committed and synced here), then `in_flight` that are not.
    batches: VecDeque<Remembered>,
    in_flight: usize,
    /// Holds while there are no batches.
    epoch: ProducerEpoch,
    last_append: TimestampMs,
}

/// Every producer that a partition remembers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    entries: HashMap<ProducerId, Producer>,
}

impl Producers {
    pub(crate) fn restore(entries: &[ProducerEntry]) -> Self {
        let entries = entries.iter().map(|entry| (entry.id, Producer::restore(entry))).collect();
        Self { entries }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Judges a batch against what is remembered; changes nothing.
    pub(crate) fn check(&self, stamp: &Stamp) -> Result<Verdict, Refusal> {
        if stamp.epoch.0 < 0 || stamp.sequence.0 < 0 {
            let (epoch, got) = (stamp.epoch.0, stamp.sequence.0);
            return Err(Refusal::Malformed { id: stamp.id, epoch, got });
        }
        match self.entries.get(&stamp.id) {
            Some(producer) => producer.check(stamp),
            None if stamp.sequence == Sequence(0) => Ok(Verdict::Next),
            None => Err(Refusal::Unknown { id: stamp.id, got: stamp.sequence.0 }),
        }
    }

    /// Remembers a batch that has its place and is not settled.
    pub(crate) fn begin(&mut self, stamp: &Stamp, base_offset: Offset, now: TimestampMs) {
        if self.entries.len() >= PRODUCERS_MAX && !self.entries.contains_key(&stamp.id) {
            self.forget_idle(now);
        }
        self.entries.entry(stamp.id).or_insert_with(|| Producer::new(stamp.epoch)).begin(
            stamp,
            base_offset,
            now,
        );
    }

    /// The producer's oldest batch in flight is settled now.
    pub(crate) fn complete(&mut self, id: ProducerId, base_offset: Offset) {
        let producer = self.entries.get_mut(&id).expect("a producer with a batch in flight is not forgotten");
        producer.complete(base_offset);
    }

    /// Takes in a batch that is settled already.
    pub(crate) fn replay(&mut self, stamp: &Stamp, base_offset: Offset, now: TimestampMs) {
        self.begin(stamp, base_offset, now);
        self.complete(stamp.id, base_offset);
    }

    /// Nothing from `end` on exists. A cut takes what is in flight; one that goes deeper (an unclean
    /// election's) leaves a producer without the batches that were pushed out since.
    pub(crate) fn truncate(&mut self, end: Offset) {
        self.entries.retain(|_, producer| {
            let settled = producer.batches.len() - producer.in_flight;
            producer.batches.retain(|batch| batch.base_offset < end);
            producer.in_flight = producer.batches.len().saturating_sub(settled);
            !producer.batches.is_empty()
        });
    }

    /// What the same producers, and others, did before what is remembered here. The two may overlap.
    pub(crate) fn add_older(&mut self, older: &[ProducerEntry]) {
        for entry in older {
            let known = Producer::restore(entry);
            match self.entries.entry(entry.id) {
                Entry::Vacant(vacant) => {
                    vacant.insert(known);
                }
                Entry::Occupied(mut occupied) => occupied.get_mut().add_older(known),
            }
        }
    }

    /// The settled part, ordered by producer id. What has been idle for too long is left out.
    pub(crate) fn snapshot(&self, now: TimestampMs) -> Vec<ProducerEntry> {
        let alive = self.entries.iter().filter(|(_, producer)| !producer.is_idle(now));
        let mut entries: Vec<_> = alive.filter_map(|(id, producer)| producer.snapshot(*id)).collect();
        entries.sort_unstable_by_key(|entry| entry.id);
        entries
    }

    /// Forgets producers that have been idle for too long.
    pub(crate) fn expire(&mut self, now: TimestampMs) {
        self.entries.retain(|_, producer| producer.in_flight > 0 || !producer.is_idle(now));
    }

    fn forget_idle(&mut self, now: TimestampMs) {
        self.expire(now);
        if self.entries.len() < PRODUCERS_MAX {
            return;
        }
        let settled = self.entries.iter().filter(|(_, producer)| producer.in_flight == 0);
        let mut by_age: Vec<_> = settled.map(|(id, producer)| (producer.last_append, *id)).collect();
        by_age.sort_unstable();
        for (_, id) in by_age.into_iter().take(FORGOTTEN_AT_ONCE) {
            self.entries.remove(&id);
        }
    }
}

impl Producer {
    fn new(epoch: ProducerEpoch) -> Self {
        Self { batches: VecDeque::new(), in_flight: 0, epoch, last_append: TimestampMs::NONE }
    }

    fn restore(entry: &ProducerEntry) -> Self {
        let remembered = |batch: &ProducerBatch| Remembered {
            epoch: entry.epoch,
            first: batch.first_sequence,
            record_count: batch.record_count,
            base_offset: batch.base_offset,
            timestamp: batch.timestamp,
        };
        Self {
            batches: entry.batches.iter().map(remembered).collect(),
            in_flight: 0,
            epoch: entry.epoch,
            last_append: entry.last_timestamp,
        }
    }

    fn is_idle(&self, now: TimestampMs) -> bool {
        now.since_ms(self.last_append) > PRODUCER_IDLE_MS_MAX
    }

    fn check(&self, stamp: &Stamp) -> Result<Verdict, Refusal> {
        let newest = self.batches.back();
        let current = newest.map_or(self.epoch, |batch| batch.epoch);
        if stamp.epoch < current {
            return Err(Refusal::Fenced { id: stamp.id, current: current.0, got: stamp.epoch.0 });
        }
        let expected = match newest {
            Some(batch) if batch.epoch == stamp.epoch => batch.first.advance(batch.record_count),
            _ => Sequence(0),
        };
        if stamp.sequence == expected {
            return Ok(Verdict::Next);
        }
        let same = |batch: &&Remembered| {
            batch.epoch == stamp.epoch
                && batch.first == stamp.sequence
                && batch.record_count == stamp.record_count
        };
        if let Some(batch) = self.batches.iter().rev().find(same) {
            return Ok(Verdict::Duplicate { base_offset: batch.base_offset, timestamp: batch.timestamp });
        }
        let (id, expected, got) = (stamp.id, expected.0, stamp.sequence.0);
        if stamp.epoch == current && lies_behind(stamp, expected) {
            return Err(Refusal::Forgotten { id, expected, got });
        }
        Err(Refusal::Gap { id, expected, got })
    }

    fn begin(&mut self, stamp: &Stamp, base_offset: Offset, now: TimestampMs) {
        let Stamp { epoch, sequence: first, record_count, timestamp, .. } = *stamp;
        self.batches.push_back(Remembered { epoch, first, record_count, base_offset, timestamp });
        self.in_flight += 1;
        self.last_append = self.last_append.max(now);
    }

    fn complete(&mut self, base_offset: Offset) {
        let settled = self.batches.len() - self.in_flight;
        let completed = self.batches[settled];
        assert_eq!(completed.base_offset, base_offset, "batches are settled in their order");
        self.in_flight -= 1;
        self.epoch = completed.epoch;
        let mut settled = settled + 1;
        let outlived = |batch: &Remembered| batch.epoch != completed.epoch;
        while settled > PRODUCER_BATCHES_REMEMBERED || self.batches.front().is_some_and(outlived) {
            self.batches.pop_front();
            settled -= 1;
        }
    }

    fn add_older(&mut self, older: Self) {
        assert_eq!(self.in_flight, 0, "older batches are added before newer ones are in flight");
        let Some(first) = self.batches.front().copied() else {
            *self = older;
            return;
        };
        for batch in older.batches.into_iter().rev() {
            let missing = batch.base_offset < first.base_offset && batch.epoch == self.epoch;
            if missing && self.batches.len() < PRODUCER_BATCHES_REMEMBERED {
                self.batches.push_front(batch);
            }
        }
    }

    fn snapshot(&self, id: ProducerId) -> Option<ProducerEntry> {
        let settled = self.batches.len() - self.in_flight;
        if settled == 0 && self.in_flight > 0 {
            return None;
        }
        let batches = self.batches.iter().take(settled);
        Some(ProducerEntry {
            id,
            epoch: self.epoch,
            last_timestamp: self.last_append,
            batches: batches
                .map(|batch| ProducerBatch {
                    first_sequence: batch.first,
                    record_count: batch.record_count,
                    base_offset: batch.base_offset,
                    timestamp: batch.timestamp,
                })
                .collect(),
            coordinator_epoch: -1,
            transaction_start: None,
        })
    }
}

/// Whether all of a batch lies before the expected sequence, on a circle of 2^31.
fn lies_behind(stamp: &Stamp, expected: i32) -> bool {
    let behind = i64::from(expected).wrapping_sub(i64::from(stamp.sequence.0)).rem_euclid(1 << 31);
    behind < 1 << 30 && behind >= i64::from(stamp.record_count)
}

#[cfg(test)]
#[path = "producers_tests.rs"]
mod tests;
