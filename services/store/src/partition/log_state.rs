//! One partition's log as numbers: where it begins, ends and is durable, who leads it, who writes to it.
//!
//! A value without I/O: batches are admitted, given their place, and become durable in that order.
//! [`LogState::snapshot`] always shows the durable part alone, so that a checkpoint never promises what
//! a crash could take back.

use tidelog_format::batch::BatchHeader;
use tidelog_format::state::PartitionState;
use tidelog_model::{LeaderEpoch, Offset, ProducerId, TimestampMs};

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

/// The place that a batch was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    /// The first batch of its leadership: the journal is told of the leadership before it.
    pub(crate) starts_epoch: bool,
    pub(crate) producer: Option<ProducerId>,
}

#[derive(Clone, Debug)]
pub(crate) struct LogState {
    log_start: Offset,
    high_watermark: Offset,
    log_end: Offset,
    leadership: Leadership,
    producers: Producers,
    epochs: EpochHistory,
}

impl LogState {
    /// The log of a partition that never had a record.
    pub(crate) fn empty(leadership: Leadership) -> Self {
        Self {
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            log_end: Offset::ZERO,
            leadership,
            producers: Producers::default(),
            epochs: EpochHistory::default(),
        }
    }

    /// The log as a checkpoint or a state object tells it.
    pub(crate) fn restore(leadership: Leadership, log_start: Offset, state: PartitionState) -> Self {
        Self {
            log_start,
            high_watermark: state.end,
            log_end: state.end,
            leadership,
            producers: Producers::restore(&state.producers),
            epochs: EpochHistory::restore(state.epochs),
        }
    }

    pub(crate) fn log_start(&self) -> Offset {
        self.log_start
    }

    pub(crate) fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    pub(crate) fn log_end(&self) -> Offset {
        self.log_end
    }

    /// First offset of a transaction that is still open, or the high watermark.
    pub(crate) fn last_stable(&self) -> Offset {
        self.high_watermark
    }

    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership
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

    /// Gives an admitted batch the next place. `None` when the offsets are used up.
    pub(crate) fn append(&mut self, header: &BatchHeader, now: TimestampMs) -> Option<Place> {
        let base_offset = self.log_end;
        let next_offset = base_offset.checked_add(u64::from(header.last_offset_delta) + 1)?;
        let starts_epoch = self.starts_epoch();
        if starts_epoch {
            self.epochs.start(self.leadership, base_offset);
        }
        let stamp = Stamp::of(header);
        if let Some(stamp) = &stamp {
            self.producers.begin(stamp, base_offset, now);
        }
        self.log_end = next_offset;
        let (epoch, producer) = (self.leadership.epoch, stamp.map(|stamp| stamp.id));
        Some(Place { base_offset, next_offset, epoch, starts_epoch, producer })
    }

    /// The oldest batch in flight is durable.
    pub(crate) fn complete(&mut self, place: &Place) {
        assert_eq!(place.base_offset, self.high_watermark, "batches become durable in their order");
        self.high_watermark = place.next_offset;
        if let Some(id) = place.producer {
            self.producers.complete(id, place.base_offset);
        }
    }

    /// The durable part.
    pub(crate) fn snapshot(&self, now: TimestampMs) -> PartitionState {
        PartitionState {
            end: self.high_watermark,
            producers: self.producers.snapshot(now),
            epochs: self.epochs.until(self.high_watermark),
        }
    }

    /// Whether the next batch is the first of its leadership.
    pub(crate) fn starts_epoch(&self) -> bool {
        self.epochs.last() != Some(self.leadership)
    }

    pub(crate) fn expire_producers(&mut self, now: TimestampMs) {
        self.producers.expire(now);
    }

    /// Recovery: a leadership of the past began to write.
    pub(crate) fn replay_epoch(&mut self, leadership: Leadership, start: Offset) {
        self.epochs.start(leadership, start);
    }

    /// Recovery: a batch that the journal has. What a checkpoint covered already is passed over; false
    /// when there is a gap before the batch.
    #[must_use]
    pub(crate) fn replay_batch(&mut self, header: &BatchHeader, appended: TimestampMs) -> bool {
        if header.next_offset() <= self.log_end {
            return true;
        }
        if header.base_offset != self.log_end {
            return false;
        }
        if let Some(stamp) = Stamp::of(header) {
            self.producers.replay(&stamp, header.base_offset, appended);
        }
        self.log_end = header.next_offset();
        self.high_watermark = self.log_end;
        true
    }

    /// Recovery: nothing is known of what lies before `offset`.
    pub(crate) fn begin_at(&mut self, offset: Offset) {
        let end = PartitionState { end: offset, ..PartitionState::default() };
        *self = Self::restore(self.leadership, self.log_start, end);
    }

    /// Recovery: what lies before `offset` is lost, and what is known of it stays.
    pub(crate) fn skip_to(&mut self, offset: Offset) {
        self.log_end = self.log_end.max(offset);
        self.high_watermark = self.log_end;
    }

    /// Recovery: `state` tells what is missing below, or, when it reaches further than this log, all.
    pub(crate) fn found_below(&mut self, log_start: Offset, state: PartitionState) {
        if state.end > self.log_end {
            *self = Self::restore(self.leadership, log_start, state);
            return;
        }
        self.set_log_start(log_start);
        self.producers.add_older(&state.producers);
        self.epochs.add_older(state.epochs);
    }

    /// Recovery: the log was cut; nothing from `end` on exists.
    pub(crate) fn truncate(&mut self, end: Offset) {
        self.log_end = self.log_end.min(end);
        self.high_watermark = self.high_watermark.min(end);
        self.epochs = EpochHistory::restore(self.epochs.until(end));
        self.producers.truncate(end);
    }

    /// The records below are deleted. Never goes back.
    pub(crate) fn set_log_start(&mut self, log_start: Offset) {
        self.log_start = self.log_start.max(log_start);
    }

    /// Recovery: a new leadership takes over what the old ones wrote.
    pub(crate) fn lead(&mut self, leadership: Leadership) {
        self.leadership = leadership;
    }
}
