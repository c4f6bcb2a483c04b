//! What is kept of one partition while somebody follows it.

use std::collections::HashMap;

use futures::future::{BoxFuture, Shared, WeakShared};
use tidelog_model::Offset;
use tidelog_peer::{Fetch, Fetched, Isolation, Marks, StoreError};
use tokio::time::Instant;

use super::ring::Ring;

pub(super) type Answer = Result<Fetched, StoreError>;

/// One call to the store for all who wait at a place: whoever waits drives it, and it is dropped with
/// the last who does.
pub(super) type Flight = Shared<BoxFuture<'static, Answer>>;

/// Fetches that may have the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub from: Offset,
    pub isolation: Isolation,
    /// Whether a follower's answer will do.
    pub follower: bool,
}

impl Place {
    pub(super) fn of(fetch: &Fetch) -> Self {
        Self { from: fetch.from, isolation: fetch.isolation, follower: fetch.follower }
    }
}

/// A flight that somebody waits for.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub id: u64,
    /// Until when the store waits for a record; `None` when it answers at once.
    pub until: Option<Instant>,
    pub answer: WeakShared<BoxFuture<'static, Answer>>,
}

/// A partition that somebody follows, or did a moment ago.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub ring: Ring,
    /// The newest that any answer told.
    pub marks: Option<Marks>,
    pub flights: HashMap<Place, UnderWay>,
    /// When records may have been taken back, as an id of that time: what was asked before is not kept.
    pub distrusted: u64,
}

/// How a fetch gets its answer.
pub(super) enum Way {
    /// From what is here.
    Here(Fetched),
    /// From a flight that is under way, until the store stops waiting.
    Join(Flight, Option<Instant>),
    /// By a flight that has to begin.
    Begin,
    /// By itself.
    Alone,
}

impl Followed {
    pub(super) fn is_idle(&self) -> bool {
        self.ring.is_empty() && self.flights.is_empty()
    }

    pub(super) fn way(&self, fetch: &Fetch) -> Way {
        if let Some(found) = self.read(fetch) {
            return Way::Here(found);
        }
        if !self.is_tail(fetch) {
            return Way::Alone;
        }
        let Some(under_way) = self.flights.get(&Place::of(fetch)) else { return Way::Begin };
        if fetch.max_wait.is_some() || under_way.until.is_none() {
            // The last who waited for it may be leaving.
            return under_way
                .answer
                .upgrade()
                .map_or(Way::Begin, |flight| Way::Join(flight, under_way.until));
        }
        // The store would have answered those who wait, were there anything to read.
        match self.marks {
            Some(marks) if fetch.from >= marks.visible_end(fetch.isolation) => {
                Way::Here(Fetched::Nothing { marks })
            }
            _ => Way::Alone,
        }
    }

    fn read(&self, fetch: &Fetch) -> Option<Fetched> {
        let marks = self.marks?;
        if fetch.from < marks.log_start {
            return None;
        }
        let end = marks.visible_end(fetch.isolation);
        let batches = self.ring.read(fetch.from, end, fetch.max_bytes)?;
        Some(Fetched::Batches { batches, marks })
    }

    /// Whether what this asks for is news, and not something that the ring has let go.
    fn is_tail(&self, fetch: &Fetch) -> bool {
        let past_the_end = self.marks.is_some_and(|marks| fetch.from >= marks.visible_end(fetch.isolation));
        match self.ring.end() {
            Some(end) => past_the_end || fetch.from >= end,
            None => past_the_end || fetch.max_wait.is_some(),
        }
    }
}
