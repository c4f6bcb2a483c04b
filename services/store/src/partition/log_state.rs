//! What a partition's log means: which producers wrote to it, which leaderships, and up to where that
//! is settled.
//!
//! A value without I/O, beside the [`Replica`](tidelog_replica::Replica), which decides where the log ends
//! and what of it is committed. *Settled* is what is committed and synced here: no crash and no other
//! leader takes it back. [`LogState::snapshot`] always shows the settled part alone.

use std::collections::VecDeque;

use tidelog_format::batch::BatchHeader;
use tidelog_format::state::{EpochEntry, PartitionState};
use tidelog_model::{Offset, ProducerId, TimestampMs};

use super::epochs::{EpochHistory, Leadership};
use super::producers::{Producers, Refusal, Stamp, Verdict};

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Give it the next place.
    Append,
    /// It has a place already.
    Duplicate { base_offset: Offset, next_offset: Offset, timestamp: TimestampMs },
}

/// A producer's batch that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InFlight {
    base: Offset,
    next: Offset,
    producer: ProducerId,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LogState {
    log_start: Offset,
    /// Everything below is settled.
    settled: Offset,
    /// The producers are known as of here, where that is beyond what is settled: a state object from the
    /// bucket may reach further than the log that goes on from an earlier end of it.
    accounted: Offset,
    /// In order; batches without a producer id are not among them.
    in_flight: VecDeque<InFlight>,
    producers: Producers,
    epochs: EpochHistory,
}

impl LogState {
    /// The log as a checkpoint or a state object tells it.
    pub(crate) fn restore(log_start: Offset, state: PartitionState) -> Self {
        Self {
            log_start,
            settled: state.end,
            accounted: state.end,
            in_flight: VecDeque::new(),
            producers: Producers::restore(&state.producers),
            epochs: EpochHistory::restore(state.epochs),
        }
    }

    pub(crate) fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Everything below is committed and synced here.
    pub(crate) fn settled(&self) -> Offset {
        self.settled
    }

    pub(crate) fn epochs(&self) -> &EpochHistory {
        &self.epochs
    }

    /// Whether a batch may be appended; changes nothing.
    pub(crate) fn admit(&self, header: &BatchHeader) -> Result<Admission, Refusal> {
        let Some(stamp) = Stamp::of(header) else {
            return Ok(Admission::Append);
        };
        Ok(match self.producers.check(&stamp)? {
            Verdict::Next => Admission::Append,
            Verdict::Duplicate { base_offset, timestamp } => Admission::Duplicate {
                base_offset,
                next_offset: base_offset + u64::from(stamp.record_count),
                timestamp,
            },
        })
    }

    /// A batch got its place, which is the log's end: at its leader or, pushed, at a follower.
    pub(crate) fn append(&mut self, header: &BatchHeader, base: Offset, now: TimestampMs) {
        let Some(stamp) = Stamp::of(header) else { return };
        if base < self.accounted {
            return;
        }
        self.producers.begin(&stamp, base, now);
        let next = base + u64::from(stamp.record_count);
        self.in_flight.push_back(InFlight { base, next, producer: stamp.id });
    }

    /// Everything below `end` is committed and synced here.
    pub(crate) fn settle(&mut self, end: Offset) {
        while let Some(oldest) = self.in_flight.front().copied().filter(|oldest| oldest.next <= end) {
            self.producers.complete(oldest.producer, oldest.base);
            self.in_flight.pop_front();
        }
        self.settled = self.settled.max(end);
    }

    /// A leadership begins to write.
    pub(crate) fn begin_epoch(&mut self, leadership: Leadership, start: Offset) {
        self.epochs.start(leadership, start);
    }

    /// The settled part. The history of leaderships is whole: those that wrote what is not settled are
    /// in it too, for the log has their records.
    pub(crate) fn snapshot(&self, now: TimestampMs) -> PartitionState {
        PartitionState {
            end: self.settled,
            producers: self.producers.snapshot(now),
            epochs: self.epochs.until(Offset::MAX),
        }
    }

    pub(crate) fn expire_producers(&mut self, now: TimestampMs) {
        self.producers.expire(now);
    }

    /// The log was cut: nothing from `end` on exists.
    pub(crate) fn truncate(&mut self, end: Offset) {
        self.producers.truncate(end);
        while self.in_flight.back().is_some_and(|newest| newest.base >= end) {
            self.in_flight.pop_back();
        }
        self.epochs = EpochHistory::restore(self.epochs.until(end));
        self.settled = self.settled.min(end);
    }

    /// `state`, from the bucket, tells what is missing below the place where the local log begins.
    /// Nothing is in flight yet.
    pub(crate) fn found_below(&mut self, log_start: Offset, state: PartitionState) {
        self.set_log_start(log_start);
        if state.end > self.settled {
            self.accounted = state.end;
            self.producers = Producers::restore(&state.producers);
        } else {
            self.producers.add_older(&state.producers);
        }
        self.epochs.add_older(state.epochs);
    }

    /// The log begins anew at `start`, which the bucket covers, with the producers of the bucket's state
    /// and this history.
    pub(crate) fn reset(&mut self, start: Offset, state: &PartitionState, history: Vec<EpochEntry>) {
        *self = Self {
            log_start: self.log_start,
            settled: start,
            accounted: state.end.max(start),
            in_flight: VecDeque::new(),
            producers: Producers::restore(&state.producers),
            epochs: EpochHistory::restore(history),
        };
    }

    /// The records below are deleted. Never goes back.
    pub(crate) fn set_log_start(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
    }
}
