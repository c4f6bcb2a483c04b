//! Memory for what streams have fetched and not yet handed on.
//!
//! Hazard: a consumer that stops reading keeps what was fetched for it. If streams could only wait for
//! memory, a few consumers that stand still would stop all others. So what was fetched ahead can be
//! taken away again: whoever needs memory to go on at all takes it from ranges that nobody waits for,
//! and their owner fetches them once more, most likely from the cache. What is held in total stays
//! within the budget, whatever the number of streams.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::segment::OpenSegment;
use crate::error::ColdError;

/// How long a stream may stand still before even the range that it is reading can be taken from it.
const STANDSTILL: Duration = Duration::from_millis(50);

pub(super) type Held = OwnedSemaphorePermit;

#[derive(Debug)]
pub(super) struct Readahead {
    bytes: Arc<Semaphore>,
    total: usize,
    /// Ranges that hold memory, those that were fetched first in front.
    fetched: Mutex<VecDeque<Weak<Slot>>>,
}

/// A range that a stream will need, or needs now.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) segment: Arc<OpenSegment>,
    pub(super) range: usize,
    content: Mutex<Content>,
    changed: Notify,
}

#[derive(Debug)]
struct Content {
    state: State,
    /// The stream has come to this range, and when it was last seen there.
    reading: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// Not asked for, or taken away again.
    Absent,
    Fetching,
    /// The memory stays taken for as long as the bytes are here.
    Ready(Bytes, #[expect(dead_code, reason = "it is held")] Held),
    Failed(ColdError),
}

/// What a stream finds when it looks at a range.
#[derive(Debug)]
pub(super) enum Found {
    Ready(Bytes),
    Fetching,
    Absent,
    Failed(ColdError),
}

impl Slot {
    pub(super) fn new(segment: Arc<OpenSegment>, range: usize) -> Arc<Self> {
        let content = Mutex::new(Content { state: State::Absent, reading: None });
        Arc::new(Self { segment, range, content, changed: Notify::new() })
    }

    pub(super) fn bytes(&self) -> usize {
        self.segment.len(self.range)
    }

    /// Looks at the range in order to read it now.
    pub(super) fn look(&self) -> Found {
        let mut content = self.content.lock();
        content.reading = Some(Instant::now());
        match &content.state {
            State::Ready(bytes, _) => Found::Ready(bytes.clone()),
            State::Fetching => Found::Fetching,
            State::Absent => Found::Absent,
            State::Failed(error) => Found::Failed(error.clone()),
        }
    }

    pub(super) fn fetching(&self) {
        self.content.lock().state = State::Fetching;
    }

    /// Waits until fetching has ended.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes the memory away if nobody needs it now.
    fn give_up(&self, now: Instant) -> bool {
        let mut content = self.content.lock();
        let idle = content.reading.is_none_or(|seen| now.duration_since(seen) >= STANDSTILL);
        let take = idle && matches!(content.state, State::Ready(..));
        if take {
            content.state = State::Absent;
        }
        take
    }
}

impl Readahead {
    pub(super) fn new(total: usize) -> Arc<Self> {
        let total = total.clamp(1, u32::MAX as usize);
        Arc::new(Self { bytes: Arc::new(Semaphore::new(total)), total, fetched: Mutex::default() })
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.total)).expect("the total fits")
    }

    /// Memory for something that will be needed later, if there is some to spare.
    pub(super) fn spare(&self, bytes: usize) -> Option<Held> {
        self.bytes.clone().try_acquire_many_owned(self.permits(bytes)).ok()
    }

    /// Memory for something that is needed now.
    pub(super) async fn demand(&self, bytes: usize) -> Held {
        loop {
            if let Some(held) = self.spare(bytes) {
                return held;
            }
            self.reclaim(bytes);
            let wait = self.bytes.clone().acquire_many_owned(self.permits(bytes));
            if let Ok(held) = tokio::time::timeout(STANDSTILL, wait).await {
                return held.expect("the budget is never closed");
            }
        }
    }

    /// Hands the outcome of a fetch to the stream it was for.
    pub(super) fn fill(&self, slot: &Arc<Slot>, fetched: Result<Bytes, ColdError>, held: Held) {
        {
            let mut content = slot.content.lock();
            content.state = match fetched {
                Ok(bytes) => State::Ready(bytes, held),
                Err(error) => State::Failed(error),
            };
            // From now on the stream has its time to come and read.
            content.reading = content.reading.map(|_| Instant::now());
        }
        slot.changed.notify_one();
        let mut fetched = self.fetched.lock();
        if fetched.len() == fetched.capacity() {
            fetched.retain(|slot| slot.strong_count() > 0);
        }
        fetched.push_back(Arc::downgrade(slot));
    }

    /// Takes memory away where nobody needs it now, until there is enough.
    fn reclaim(&self, bytes: usize) {
        let now = Instant::now();
        // Slots are let go outside of the lock: the last one of a stream may end more than itself.
        let mut released = Vec::new();
        let mut fetched = self.fetched.lock();
        fetched.retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if self.bytes.available_permits() >= bytes {
                released.push(slot);
                return true;
            }
            let keep = !slot.give_up(now);
            released.push(slot);
            keep
        });
        drop(fetched);
        drop(released);
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.bytes.available_permits()
    }
}
