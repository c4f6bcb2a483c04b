//! The batches of one partition, from the first record to the answer: a state machine without I/O.
//!
//! The hazard is order. An idempotent producer's records carry consecutive sequences, and the server
//! takes a batch only if it continues where the last one ended. So a batch that has to be sent again
//! goes before everything behind it, with the sequence it had; nothing else is sent until every batch
//! that was sent after it has been answered (refused, for the gap). And a batch that may be in the
//! log already is never given another number.
//!
//! ```text
//!   oldest                                                            newest
//!   [ sent | sent | to be sent again | … | to be sent | to be sent | open ]
//!     at most max_in_flight sent                                     being filled
//! ```

mod answer;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{
    BatchBuilder, BatchError, BatchOptions, HeaderRef, RECORD_BYTES_SPREAD, record_bytes, stamp_producer,
};
use tidelog_model::limits::RECORDS_PER_BATCH_MAX;
use tidelog_model::{Compression, ProducerEpoch, ProducerId, Sequence, TimestampMs};

use super::ticket::{BatchState, Outcome};
use crate::Error;

pub(super) use answer::Overdue;

/// What holds for every batch of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) max_in_flight: usize,
    pub(super) compression: Compression,
}

/// The name under which records are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
}

/// A record's content on its way into a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    timestamp: TimestampMs,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [HeaderRef<'a>],
    /// What it takes as the only record of a batch.
    pub(super) bytes_alone: usize,
}

impl<'a> Content<'a> {
    pub(super) fn new(
        timestamp: TimestampMs,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [HeaderRef<'a>],
    ) -> Self {
        Self { timestamp, key, value, headers, bytes_alone: record_bytes(key, value, headers) }
    }

    /// What it takes in any place of a batch at most.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_alone + RECORD_BYTES_SPREAD
    }
}

/// Whether a partition has something to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The batch in this place.
    Send(usize),
    /// Nothing now, but at this time.
    At(Instant),
    /// Nothing until something happens.
    Idle,
    /// Nothing until the queue adopts another identity than this one.
    NeedsIdentity(Identity),
}

/// What a partition gives when it is asked for its next batch.
#[derive(Debug)]
pub(super) enum Next {
    Send(Departure),
    Nothing,
    NeedsIdentity(Identity),
}

/// A batch that is to be sent. Its bytes are made outside the queue's lock, by [`Work::run`].
#[derive(Debug)]
pub(super) struct Departure {
    pub(super) number: u64,
    pub(super) records: u32,
    pub(super) work: Work,
}

/// What is left to do before a batch can be sent.
#[derive(Debug)]
pub(super) enum Work {
    Finish(Box<BatchBuilder>),
    Renumber(Bytes, Identity, Sequence),
    None(Bytes),
}

impl Work {
    pub(super) fn run(self) -> Bytes {
        match self {
            Self::Finish(builder) => builder.finish().freeze(),
            Self::Renumber(bytes, identity, first) => {
                // The transport may still hold the bytes of the last attempt.
                let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
                stamp_producer(&mut bytes, identity.id, identity.epoch, first);
                bytes.freeze()
            }
            Self::None(bytes) => bytes,
        }
    }
}

/// A batch that is over with. The caller gives its memory back and tells its tickets.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) state: Arc<BatchState>,
    /// The memory that its records were charged with.
    pub(super) charge: usize,
    pub(super) outcome: Outcome,
    /// Its bytes, whose memory may be used again.
    pub(super) bytes: Option<Bytes>,
}

#[derive(Debug)]
struct Pending {
    number: u64,
    state: Arc<BatchState>,
    opened: Instant,
    charge: usize,
    records: u32,
    body: Body,
    /// The sequence of its first record, from its first departure on.
    first: Option<Sequence>,
    /// What its bytes say.
    stamp: Option<(Identity, Sequence)>,
    status: Status,
    /// An attempt ended without a clear answer.
    maybe_stored: bool,
}

#[derive(Debug)]
enum Body {
    Building(Box<BatchBuilder>),
    /// Between [`PartitionQueue::next`] and [`PartitionQueue::departed`].
    Leaving,
    Encoded(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Never sent.
    Waiting,
    Sent,
    /// To be sent again.
    Again,
}

/// The batches of one partition.
#[derive(Debug)]
pub(super) struct PartitionQueue {
    rules: Rules,
    /// Oldest first. The last one may still be open.
    batches: VecDeque<Pending>,
    open: bool,
    next_number: u64,
    /// `None`: not idempotent.
    identity: Option<Identity>,
    next_sequence: Sequence,
    /// The identity is used up: its numbers have a gap that cannot be closed.
    wants_identity: bool,
    /// A batch of unknown outcome was given up: the server may find a gap where it was.
    gap_possible: bool,
    /// Refusals in a row.
    refusals: u32,
    retry_at: Option<Instant>,
    last_error: Option<Error>,
    /// Size of the last batch: what the next one is likely to need.
    last_bytes: usize,
}

/// The memory that a partition's first batch begins with.
const FIRST_CAPACITY_BYTES: usize = 2 * 1024;

impl PartitionQueue {
    pub(super) fn new(rules: Rules, identity: Option<Identity>) -> Self {
        Self {
            rules,
            batches: VecDeque::new(),
            open: false,
            next_number: 0,
            identity,
            next_sequence: Sequence(0),
            wants_identity: false,
            gap_possible: false,
            refusals: 0,
            retry_at: None,
            last_error: None,
            last_bytes: FIRST_CAPACITY_BYTES,
        }
    }

    /// Puts a record into the open batch, or into a new one. `charge` is what its sender was charged;
    /// `buffer` gives memory of about the size asked for, and `now` the time if a batch begins. Returns the batch, the record's place in it,
    /// and whether the queue's readiness may have changed.
    pub(super) fn push(
        &mut self,
        content: &Content<'_>,
        charge: usize,
        now: impl FnOnce() -> Instant,
        buffer: impl FnOnce(usize) -> BytesMut,
    ) -> Result<(Arc<BatchState>, u32, bool), BatchError> {
        let bytes_max = content.bytes_max();
        if self.open && !self.has_room(bytes_max) {
            self.seal();
        }
        let begun = !self.open;
        if begun {
            let capacity = self.last_bytes.max(bytes_max).min(self.rules.batch_bytes.max(bytes_max));
            self.begin(buffer(capacity), now());
        }
        let open = self.batches.back_mut().expect("a batch is open");
        let Body::Building(builder) = &mut open.body else { unreachable!("an open batch is being built") };
        let pushed = builder.push(content.timestamp, content.key, content.value, content.headers);
        let index = match pushed {
            Ok(index) => index,
            Err(error) => {
                if begun {
                    self.batches.pop_back();
                    self.open = false;
                }
                return Err(error);
            }
        };
        open.records = index + 1;
        open.charge += charge;
        let state = Arc::clone(&open.state);
        // Whatever comes next is likely to be as large: a batch that has no room for it need not wait.
        let full = !self.has_room(bytes_max);
        if full {
            self.seal();
        }
        Ok((state, index, begun || full))
    }

    fn begin(&mut self, buffer: BytesMut, now: Instant) {
        let options = BatchOptions {
            compression: self.rules.compression,
            producer: None,
            capacity: FIRST_CAPACITY_BYTES,
            transactional: false,
        };
        self.batches.push_back(Pending {
            number: self.next_number,
            state: Arc::default(),
            opened: now,
            charge: 0,
            records: 0,
            body: Body::Building(Box::new(BatchBuilder::with_buffer(options, buffer))),
            first: None,
            stamp: None,
            status: Status::Waiting,
            maybe_stored: false,
        });
        self.next_number += 1;
        self.open = true;
    }

    fn has_room(&self, bytes_max: usize) -> bool {
        match self.batches.back().map(|open| &open.body) {
            Some(Body::Building(builder)) => {
                builder.size_bytes() + bytes_max <= self.rules.batch_bytes
                    && (builder.record_count() as usize) < RECORDS_PER_BATCH_MAX
            }
            _ => false,
        }
    }

    /// Closes the open batch: it is due.
    pub(super) fn seal(&mut self) {
        if self.open
            && let Some(Pending { body: Body::Building(builder), .. }) = self.batches.back()
        {
            self.last_bytes = builder.size_bytes();
        }
        self.open = false;
    }

    /// What [`PartitionQueue::next`] would say.
    pub(super) fn readiness(&self, now: Instant, hurry: bool) -> Readiness {
        let sent = self.batches.iter().filter(|b| b.status == Status::Sent).count();
        if self.wants_identity {
            let wanted = self.identity.filter(|_| sent == 0);
            return wanted.map_or(Readiness::Idle, Readiness::NeedsIdentity);
        }
        let Some(i) = self.batches.iter().position(|b| b.status != Status::Sent) else {
            return Readiness::Idle;
        };
        if sent >= self.rules.max_in_flight {
            return Readiness::Idle;
        }
        // What was sent behind a batch that was refused is on its way to be refused too.
        if self.batches.iter().skip(i).any(|b| b.status == Status::Sent) {
            return Readiness::Idle;
        }
        if let Some(at) = self.retry_at.filter(|at| *at > now) {
            return Readiness::At(at);
        }
        let lingers = self.open && i == self.batches.len() - 1 && !hurry && !self.rules.linger.is_zero();
        if !lingers {
            return Readiness::Send(i);
        }
        // The linger's end is a promise for records that come singly. Where an answer is outstanding,
        // the server has work in hand, and a larger batch will cost it less than two.
        let due = self.batches[i].opened + self.rules.linger;
        match (due > now, sent > 0) {
            (true, _) => Readiness::At(due),
            (false, true) => Readiness::Idle,
            (false, false) => Readiness::Send(i),
        }
    }

    /// The next batch that may be sent, which counts as sent from here on. `hurry` ends the linger.
    pub(super) fn next(&mut self, now: Instant, hurry: bool) -> Next {
        match self.readiness(now, hurry) {
            Readiness::Send(i) => {
                if i == self.batches.len() - 1 {
                    self.seal();
                }
                Next::Send(self.depart(i))
            }
            Readiness::At(_) | Readiness::Idle => Next::Nothing,
            Readiness::NeedsIdentity(identity) => Next::NeedsIdentity(identity),
        }
    }

    fn depart(&mut self, i: usize) -> Departure {
        let batch = &mut self.batches[i];
        if self.identity.is_some() && batch.first.is_none() {
            batch.first = Some(self.next_sequence);
            self.next_sequence = self.next_sequence.advance(batch.records);
        }
        let stamp = self.identity.zip(batch.first);
        let work = match std::mem::replace(&mut batch.body, Body::Leaving) {
            Body::Building(mut builder) => {
                if let Some((identity, first)) = stamp {
                    builder.set_producer(identity.id, identity.epoch, first);
                }
                Work::Finish(builder)
            }
            Body::Encoded(bytes) => match stamp {
                Some((identity, first)) if batch.stamp != stamp => Work::Renumber(bytes, identity, first),
                _ => Work::None(bytes),
            },
            Body::Leaving => unreachable!("a batch leaves once at a time"),
        };
        batch.stamp = stamp;
        batch.status = Status::Sent;
        Departure { number: batch.number, records: batch.records, work }
    }

    /// Keeps the bytes of a batch that is being sent, in case they are needed again.
    pub(super) fn departed(&mut self, number: u64, bytes: Bytes) {
        if let Some(i) = self.find(number) {
            self.batches[i].body = Body::Encoded(bytes);
        }
    }

    /// Every batch that has no outcome yet.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = &Arc<BatchState>> {
        self.batches.iter().map(|batch| &batch.state)
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.batches.iter().position(|batch| batch.number == number)
    }
}
