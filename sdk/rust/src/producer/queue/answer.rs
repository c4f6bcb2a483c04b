//! What answers, and their absence, do to a partition's batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_model::{ErrorCode, Sequence};

use super::{Body, Identity, PartitionQueue, Pending, Settled, Status};
use crate::Error;
use crate::producer::ticket::Acked;

/// Pauses after refusals.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// How long past its delivery timeout a batch may go without any answer. Then the session is at fault.
const ANSWER_GRACE: Duration = Duration::from_secs(10);

/// What becomes of a batch that the server refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing was stored: send it again.
    Again,
    /// It may have been stored: send it again, which the server will recognise.
    AgainMaybeStored,
    /// Nothing was stored, and nothing will be under this identity: send it again under another.
    AgainAsAnother,
    Fail,
    /// Fail it, and go on under another identity.
    FailAndAnother,
}

/// What has waited for too long.
#[derive(Debug, Default)]
pub(in crate::producer) struct Overdue {
    pub(in crate::producer) settled: Vec<Settled>,
    /// A batch was sent and the answer does not come: the session has to be made anew.
    pub(in crate::producer) unanswered: bool,
}

impl PartitionQueue {
    /// Takes the server's answer to a batch.
    pub(in crate::producer) fn answered(
        &mut self,
        number: u64,
        answer: Result<Acked, Error>,
        now: Instant,
    ) -> Option<Settled> {
        let i = self.find(number).filter(|i| self.batches[*i].status == Status::Sent)?;
        match answer {
            Ok(acked) => {
                self.refusals = 0;
                self.retry_at = None;
                self.last_error = None;
                if i == 0 {
                    self.gap_possible = false;
                }
                self.batches.remove(i).map(|batch| batch.settle(Ok(acked)))
            }
            Err(error) => self.refused(i, error, now),
        }
    }

    fn refused(&mut self, i: usize, error: Error, now: Instant) -> Option<Settled> {
        let verdict = self.judge(i, &error);
        match verdict {
            Verdict::Again | Verdict::AgainMaybeStored | Verdict::AgainAsAnother => {
                let batch = &mut self.batches[i];
                batch.status = Status::Again;
                batch.maybe_stored |= verdict == Verdict::AgainMaybeStored;
                self.wants_identity |= verdict == Verdict::AgainAsAnother;
                self.pause(&error, now);
                // What a batch was refused for in front of the gap is the reason for those behind it.
                if self.last_error.is_none() || error.code() != Some(ErrorCode::OutOfOrderSequence) {
                    self.last_error = Some(error);
                }
                None
            }
            Verdict::Fail => self.fail(i, error),
            Verdict::FailAndAnother => {
                self.wants_identity = true;
                self.fail(i, error)
            }
        }
    }

    fn judge(&self, i: usize, error: &Error) -> Verdict {
        let batch = &self.batches[i];
        let Some(identity) = self.identity else {
            let harmless = error.is_retryable() && error.has_no_side_effects();
            return if harmless { Verdict::Again } else { Verdict::Fail };
        };
        let renumbered = batch.stamp != batch.first.map(|first| (identity, first));
        match error.code() {
            // The gap is that of a batch in front, which will be sent again or was given up since.
            Some(ErrorCode::OutOfOrderSequence) if i > 0 || renumbered => Verdict::Again,
            Some(ErrorCode::OutOfOrderSequence) if self.gap_possible => Verdict::AgainAsAnother,
            Some(ErrorCode::OutOfOrderSequence) => Verdict::FailAndAnother,
            // The server has forgotten the producer, and with it whether it has the batch.
            Some(ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch) if batch.maybe_stored => {
                Verdict::FailAndAnother
            }
            Some(ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch) => Verdict::AgainAsAnother,
            _ if !error.is_retryable() => Verdict::Fail,
            _ if error.has_no_side_effects() => Verdict::Again,
            _ => Verdict::AgainMaybeStored,
        }
    }

    fn pause(&mut self, error: &Error, now: Instant) {
        let pause = (PAUSE_FIRST * 2_u32.saturating_pow(self.refusals.min(10))).min(PAUSE_LONGEST);
        let pause = error.retry_after().map_or(pause, |asked| pause.max(asked));
        // A batch that was refused for the gap in front of it says nothing new.
        if error.code() != Some(ErrorCode::OutOfOrderSequence) {
            self.refusals += 1;
        }
        let at = now + pause;
        self.retry_at = Some(self.retry_at.map_or(at, |before| before.max(at)));
    }

    /// Gives a batch up. What is behind it moves up into its numbers, if it certainly did not take them.
    fn fail(&mut self, i: usize, error: Error) -> Option<Settled> {
        let batch = self.batches.remove(i)?;
        if i == self.batches.len() {
            self.open = false;
        }
        let unknown = batch.maybe_stored || !error.has_no_side_effects();
        if let Some(first) = batch.first {
            if unknown {
                self.gap_possible = true;
            } else {
                self.number_from(i, first);
            }
        }
        Some(batch.settle(Err(if unknown { error.unknown() } else { error })))
    }

    /// Numbers the batches from `i` on anew, those that have numbers.
    fn number_from(&mut self, i: usize, first: Sequence) {
        let mut next = first;
        for batch in self.batches.iter_mut().skip(i).filter(|b| b.first.is_some()) {
            batch.first = Some(next);
            next = next.advance(batch.records);
        }
        self.next_sequence = next;
    }

    /// The session is gone: no answer will come to what was sent. What cannot be sent again without
    /// harm is reported as unknown.
    pub(in crate::producer) fn disconnected(&mut self, error: &Error) -> Vec<Settled> {
        self.retry_at = None;
        self.last_error = Some(error.clone());
        if self.identity.is_none() {
            return self.take_where(|b| b.status == Status::Sent, |_| error.clone().unknown());
        }
        for batch in self.batches.iter_mut().filter(|b| b.status == Status::Sent) {
            batch.status = Status::Again;
            batch.maybe_stored = true;
        }
        Vec::new()
    }

    /// Gives up what has waited for too long, oldest first.
    pub(in crate::producer) fn expire(&mut self, now: Instant) -> Overdue {
        let mut overdue = Overdue::default();
        let after = self.rules.delivery_timeout;
        let mut i = 0;
        while let Some(batch) = self.batches.get(i) {
            let deadline = batch.opened + after;
            if deadline > now {
                break;
            }
            if batch.status == Status::Sent {
                overdue.unanswered |= deadline + ANSWER_GRACE <= now;
                i += 1;
                continue;
            }
            let last = self.last_error.clone().map(Box::new);
            let error = Error::TimedOut { what: "the delivery of a record", after, last };
            overdue.settled.extend(self.fail(i, error));
        }
        overdue
    }

    /// Goes on under another identity, from sequence 0. A batch that may be stored under the old one
    /// cannot be sent under the new: that could store it twice.
    pub(in crate::producer) fn adopt(&mut self, identity: Identity) -> Vec<Settled> {
        debug_assert!(self.batches.iter().all(|b| b.status != Status::Sent), "answers are outstanding");
        let last = self.last_error.clone().unwrap_or(Error::Closed("producer's identity"));
        let given_up = self.take_where(|b| b.maybe_stored, |_| last.clone().unknown());
        self.identity = Some(identity);
        self.wants_identity = false;
        self.gap_possible = false;
        self.number_from(0, Sequence(0));
        given_up
    }

    /// Gives everything up.
    pub(in crate::producer) fn abandon(&mut self, error: &Error) -> Vec<Settled> {
        self.open = false;
        self.take_where(
            |_| true,
            |batch| {
                let sent = batch.status == Status::Sent || batch.maybe_stored;
                if sent { error.clone().unknown() } else { error.clone() }
            },
        )
    }

    fn take_where(
        &mut self,
        wanted: impl Fn(&Pending) -> bool,
        error: impl Fn(&Pending) -> Error,
    ) -> Vec<Settled> {
        let mut taken = Vec::new();
        let mut i = 0;
        while let Some(batch) = self.batches.get(i) {
            if !wanted(batch) {
                i += 1;
                continue;
            }
            let error = error(batch);
            taken.extend(self.batches.remove(i).map(|batch| batch.settle(Err(error))));
        }
        taken
    }
}

impl Pending {
    fn settle(self, outcome: Result<Acked, Error>) -> Settled {
        let bytes = match self.body {
            Body::Encoded(bytes) => Some(bytes),
            Body::Building(_) | Body::Leaving => None,
        };
        Settled { state: Arc::clone(&self.state), charge: self.charge, outcome, bytes }
    }
}
