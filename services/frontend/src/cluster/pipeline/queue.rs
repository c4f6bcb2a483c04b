//! A partition's unacknowledged batches, in their order, and what becomes of each: no tasks, no clocks.
//!
//! The hazard: a batch whose outcome is unknown may be in the log. One that names its producer is sent
//! again, because the leader recognises it; any other is never sent twice, and its sender is told.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use tidelog_format::batch;
use tidelog_model::{ErrorCode, ProducerEpoch, ProducerId};
use tidelog_peer::{AckSender, Produced, StoreError};

use crate::cluster::attempts::is_not_led_here;

/// One start of an idempotent producer.
type Producer = (ProducerId, ProducerEpoch);

/// Generic over what a batch occupies until it is answered.
#[derive(Debug)]
pub(super) struct Queue<R> {
    /// In the order in which they are to be in the log.
    entries: VecDeque<Entry<R>>,
    /// Of the next entry; numbers only grow.
    next: u64,
    /// So many at the front are in flight, at least.
    sent: usize,
    in_flight: usize,
}

#[derive(Debug)]
struct Entry<R> {
    number: u64,
    batch: Bytes,
    /// `None` for a batch that would not be recognised if it came twice.
    producer: Option<Producer>,
    ack: AckSender,
    in_flight: bool,
    /// An earlier attempt ended without an answer.
    maybe_stored: bool,
    _room: R,
}

/// What an answer means for the batches behind.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The store serves the partition.
    Settled,
    /// It does not, or something in front is missing there: what is unanswered has to be sent again.
    Trouble(StoreError),
}

/// What becomes of a batch that was answered with an error.
enum Verdict {
    Again,
    AgainMaybeStored,
    /// The sender is told, and the store goes on.
    Tell,
    /// The sender is told, and the store is in trouble.
    TellUnknown,
}

impl<R> Default for Queue<R> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), next: 0, sent: 0, in_flight: 0 }
    }
}

impl<R> Queue<R> {
    /// Puts a batch behind all others; the number is its own for ever.
    pub(super) fn push(&mut self, batch: Bytes, ack: AckSender, room: R) -> u64 {
        let number = self.next;
        self.next += 1;
        // A batch that cannot be read is the leader's to refuse.
        let header = batch::header(&batch).ok().filter(batch::BatchHeader::is_idempotent);
        let producer = header.map(|header| (header.producer_id, header.producer_epoch));
        let (in_flight, maybe_stored) = (false, false);
        self.entries.push_back(Entry { number, batch, producer, ack, in_flight, maybe_stored, _room: room });
        number
    }

    /// The size of the first batch that is not in flight.
    pub(super) fn next_bytes(&mut self) -> Option<usize> {
        while self.entries.get(self.sent).is_some_and(|entry| entry.in_flight) {
            self.sent += 1;
        }
        self.entries.get(self.sent).map(|entry| entry.batch.len())
    }

    /// The first batch that is not in flight; it is from now on.
    pub(super) fn next(&mut self) -> Option<(u64, Bytes)> {
        self.next_bytes()?;
        let entry = self.entries.get_mut(self.sent)?;
        entry.in_flight = true;
        self.sent += 1;
        self.in_flight += 1;
        Some((entry.number, entry.batch.clone()))
    }

    /// It was not sent after all.
    pub(super) fn unsend(&mut self, number: u64) {
        if let Some(i) = self.find(number) {
            self.hold(i);
        }
    }

    /// Takes the answer to a batch in flight.
    pub(super) fn answered(&mut self, number: u64, answer: Result<Produced, StoreError>) -> Outcome {
        let Some(i) = self.find(number) else { return Outcome::Settled };
        let error = match answer {
            Ok(produced) => {
                self.remove(i).ack.send(Ok(produced));
                return Outcome::Settled;
            }
            Err(error) => error,
        };
        match self.judge(i, error.code) {
            Verdict::Again => self.hold(i),
            Verdict::AgainMaybeStored => {
                self.entries[i].maybe_stored = true;
                self.hold(i);
            }
            Verdict::Tell => {
                self.remove(i).refuse(error);
                return Outcome::Settled;
            }
            Verdict::TellUnknown => self.remove(i).refuse(error.clone()),
        }
        Outcome::Trouble(error)
    }

    fn judge(&self, i: usize, code: ErrorCode) -> Verdict {
        let entry = &self.entries[i];
        match code {
            code if is_not_led_here(code) => Verdict::Again,
            // The gap is that of a batch in front, which is sent again before this one.
            ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducerId if self.follows(i) => Verdict::Again,
            code if !code.is_retryable() => Verdict::Tell,
            code if code.has_no_side_effects() => {
                // Whoever were told so would take it for a batch that is nowhere.
                if entry.maybe_stored { Verdict::Again } else { Verdict::Tell }
            }
            _ if entry.producer.is_some() => Verdict::AgainMaybeStored,
            _ => Verdict::TellUnknown,
        }
    }

    /// Whether a batch of the same producer stands in front.
    fn follows(&self, i: usize) -> bool {
        let producer = self.entries[i].producer;
        producer.is_some() && self.entries.range(..i).any(|before| before.producer == producer)
    }

    /// Expects no answer any more to what is in flight. `why` is for those who are told.
    pub(super) fn abandon(&mut self, why: impl Fn() -> String) {
        let mut i = 0;
        while self.in_flight > 0 {
            let entry = &mut self.entries[i];
            if !entry.in_flight {
                i += 1;
            } else if entry.producer.is_some() {
                entry.maybe_stored = true;
                self.hold(i);
            } else {
                self.remove(i).refuse(StoreError::new(ErrorCode::RequestTimedOut, why()));
            }
        }
    }

    /// Drops what is not in flight and nobody waits for, except where a later batch of the same producer
    /// is waited for: it could not be appended without.
    pub(super) fn forget_dropped(&mut self) {
        let mut wanted = HashSet::new();
        for i in (0..self.entries.len()).rev() {
            let entry = &self.entries[i];
            if !entry.ack.is_closed() {
                wanted.extend(entry.producer);
            } else if !entry.in_flight && !entry.producer.is_some_and(|producer| wanted.contains(&producer)) {
                self.remove(i);
            }
        }
    }

    /// Refuses everything that is not in flight.
    pub(super) fn refuse_all(&mut self, error: &StoreError) {
        for i in (0..self.entries.len()).rev() {
            if !self.entries[i].in_flight {
                self.remove(i).refuse(error.clone());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn find(&self, number: u64) -> Option<usize> {
        let i = self.entries.partition_point(|entry| entry.number < number);
        self.entries.get(i).filter(|entry| entry.number == number && entry.in_flight).map(|_| i)
    }

    /// An entry in flight is not any more.
    fn hold(&mut self, i: usize) {
        self.entries[i].in_flight = false;
        self.in_flight -= 1;
        self.sent = self.sent.min(i);
    }

    fn remove(&mut self, i: usize) -> Entry<R> {
        let entry = self.entries.remove(i).expect("an entry of the queue");
        if i < self.sent {
            self.sent -= 1;
        }
        self.in_flight -= usize::from(entry.in_flight);
        entry
    }
}

impl<R> Entry<R> {
    fn refuse(self, error: StoreError) {
        let error = if self.maybe_stored && error.has_no_side_effects() {
            let message = format!("an earlier attempt may have appended the batch; the last: {error}");
            StoreError::new(ErrorCode::RequestTimedOut, message)
        } else {
            error
        };
        self.ack.send(Err(error));
    }
}

#[cfg(test)]
mod tests;
