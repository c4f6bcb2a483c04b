//! Appending: a batch gets its place, and its acknowledgement when it is settled.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tidelog_format::batch::{self, BatchHeader};
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{Ack, AckSender, Produced, StoreError};
use tidelog_replica::{AppendRefused, Generation, Span};

use super::log_state::Admission;
use super::push::Unsynced;
use super::step::{Sink, Written, span_of};
use super::{Cell, Partition, not_leader};
use crate::produce::Validated;

/// An acknowledgement that is due when everything below `next` is settled.
pub(super) struct Waiting {
    pub(super) next: Offset,
    pub(super) produced: Produced,
    pub(super) sender: AckSender,
}

impl Partition {
    /// Gives a batch its place and hands it to `sink`, or answers at once when it has a place already.
    pub(crate) fn append(
        self: &Arc<Self>,
        mut validated: Validated,
        now: TimestampMs,
        sink: &mut dyn Sink,
    ) -> Result<Ack, StoreError> {
        let mut cell = self.cell.lock();
        cell.check_leads(self.id)?;
        if cell.held_until.is_some_and(|until| Instant::now() < until) {
            return Err(not_leader(self.id));
        }
        let admission = cell.log.admit(&validated.header);
        let admission = admission.map_err(|refusal| StoreError::new(refusal.code(), refusal.to_string()))?;
        if let Admission::Duplicate { base_offset, next_offset, timestamp } = admission {
            let append_time = validated.append_time.map(|_| timestamp);
            let produced = Produced { base_offset, append_time, log_start: cell.log.log_start() };
            return Ok(cell.acknowledge_at(next_offset, produced));
        }
        let mut actions = std::mem::take(&mut cell.actions);
        let count = u64::from(validated.header.last_offset_delta) + 1;
        let placed = cell.replica.append(self.ticks.now(), count, &mut actions);
        let acked = placed.map_err(|refused| of_refusal(self.id, refused)).map(|place| {
            batch::assign(&mut validated.bytes, place.base, place.epoch);
            let header =
                BatchHeader { base_offset: place.base, leader_epoch: place.epoch, ..validated.header };
            self.write(
                &mut cell,
                span_of(&header),
                place.generation,
                (&header, validated.bytes.freeze()),
                now,
                sink,
            );
            let (sender, ack) = Ack::pending();
            let log_start = cell.log.log_start();
            let produced =
                Produced { base_offset: place.base, append_time: validated.append_time, log_start };
            cell.waiting.push_back(Waiting { next: place.next, produced, sender });
            ack
        });
        self.stirred.store(true, Ordering::Relaxed);
        let after = self.carry_out(&mut cell, &mut actions, None, sink);
        cell.actions = actions;
        drop(cell);
        self.finish(after);
        acked
    }

    /// Hands the journal a batch that has its place, and remembers it until it is synced.
    pub(super) fn write(
        self: &Arc<Self>,
        cell: &mut Cell,
        span: Span,
        generation: Generation,
        (header, bytes): (&BatchHeader, bytes::Bytes),
        now: TimestampMs,
        sink: &mut dyn Sink,
    ) {
        cell.log.append(header, span.base, now);
        cell.unsynced.push_back(Unsynced { span, bytes: bytes.clone() });
        let done = Written { partition: Arc::clone(self), generation, next: span.next };
        sink.batch(header, bytes, done);
    }
}

impl Cell {
    fn acknowledge_at(&mut self, next: Offset, produced: Produced) -> Ack {
        if next <= self.log.settled() {
            return Ack::ready(Ok(produced));
        }
        let (sender, ack) = Ack::pending();
        self.late.push(Waiting { next, produced, sender });
        ack
    }

    /// Takes out whose batches are settled, in their order.
    pub(super) fn take_settled(&mut self) -> Vec<Waiting> {
        let settled = self.log.settled();
        let ready = self.waiting.partition_point(|waiting| waiting.next <= settled);
        let mut taken: Vec<_> = self.waiting.drain(..ready).collect();
        taken.extend(self.late.extract_if(.., |late| late.next <= settled));
        taken
    }

    /// Takes out whose batches reach past `from`: their outcome is not known.
    pub(super) fn take_beyond(&mut self, from: Offset) -> Vec<Waiting> {
        let kept = self.waiting.partition_point(|waiting| waiting.next <= from);
        let mut taken: Vec<_> = self.waiting.drain(kept..).collect();
        taken.extend(self.late.extract_if(.., |late| late.next > from));
        taken
    }
}

fn of_refusal(id: TopicPartition, refused: AppendRefused) -> StoreError {
    let code = match refused {
        AppendRefused::NotLeader => return not_leader(id),
        AppendRefused::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        AppendRefused::TooManyUncommitted => ErrorCode::ThrottlingQuotaExceeded,
        AppendRefused::OffsetsExhausted => ErrorCode::InvalidRequest,
    };
    StoreError::new(code, format!("{id}: {refused}"))
}
