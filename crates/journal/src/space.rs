//! Room for appends: in the queue, and on the disk before it is needed.
//!
//! A reservation that was granted can be written whatever happens to the disk's free space, for it
//! is counted against files that exist. The count is a worst case: each entry in a commit group of
//! its own, and the end of a file wasted by an entry that just did not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tidelog_format::journal::{
    BLOCK_BYTES, ENTRY_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES, SPAN_BYTES, align_up,
};
use tokio::sync::{Notify, Semaphore};

use crate::append::Reservation;
use crate::error::AppendError;

/// What an entry takes from the queue's bound beside its payload, so that tiny ones are bounded too.
const QUEUED_ENTRY_BYTES: usize = 256;

/// What appending a payload takes of a file at most.
pub(crate) fn cost_of(payload_bytes: usize) -> u64 {
    let group = GROUP_HEADER_BYTES + FRAME_HEADER_BYTES + payload_bytes;
    align_up(group as u64) + (ENTRY_BYTES + SPAN_BYTES) as u64
}

/// Why no further file is being made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// The disk is full.
    Full,
    /// The budget is full of records that are not in the bucket.
    Backlog,
}

impl From<Blocked> for AppendError {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Full => Self::Full,
            Blocked::Backlog => Self::Backlog,
        }
    }
}

/// The ledger of room.
#[derive(Debug)]
pub(crate) struct Space {
    queue: Arc<Semaphore>,
    queue_bytes: usize,
    batch_bytes_max: usize,
    /// Room for data in an empty file.
    file_room: u64,
    /// Kept back for copies of old batches, so that a full journal can still make room.
    held_back: u64,
    state: Mutex<State>,
    changed: Notify,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    /// What the open file can still take.
    open: u64,
    /// Empty files that are ready.
    ready: u64,
    /// What the next checkpoint is expected to take of the file it begins.
    checkpoint: u64,
    reserved: u64,
    blocked: Option<Blocked>,
    stopped: Option<AppendError>,
}

impl Space {
    pub(crate) fn new(queue_bytes: usize, batch_bytes_max: usize, file_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            queue: Arc::new(Semaphore::new(queue_bytes)),
            queue_bytes,
            batch_bytes_max,
            // The header's block and the trailer's.
            file_room: file_bytes - 2 * BLOCK_BYTES as u64,
            held_back: file_bytes / 8,
            state: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Waits for room for a payload of `bytes`, first in the queue, then on disk.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: usize) -> Result<Reservation, AppendError> {
        if bytes > self.batch_bytes_max {
            return Err(AppendError::TooLarge { bytes, max: self.batch_bytes_max });
        }
        let permits = (bytes + QUEUED_ENTRY_BYTES).min(self.queue_bytes) as u32;
        let queue = match Arc::clone(&self.queue).try_acquire_many_owned(permits) {
            Ok(permit) => permit,
            Err(_) => match Arc::clone(&self.queue).acquire_many_owned(permits).await {
                Ok(permit) => permit,
                Err(_) => return Err(self.stop_reason()),
            },
        };
        let cost = cost_of(bytes);
        if !self.try_grant(cost)? {
            self.wait_for_disk(cost).await?;
        }
        Ok(Reservation { bytes, cost, space: Arc::clone(self), _queue: Some(queue) })
    }

    /// Room for a copy of an old batch, if there is any, out of what is kept back for that.
    pub(crate) fn reserve_copy(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        let cost = cost_of(bytes);
        let mut state = self.state.lock();
        let room = if state.ready == 0 { state.open } else { self.room(&state) };
        if state.stopped.is_some() || state.reserved + cost > room {
            return None;
        }
        state.reserved += cost;
        Some(Reservation { bytes, cost, space: Arc::clone(self), _queue: None })
    }

    /// Whether the open file can be given up early: what was promised fits into the next one.
    pub(crate) fn can_roll(&self) -> bool {
        let state = self.state.lock();
        state.ready > 0 && state.reserved <= self.next_file(&state)
    }

    async fn wait_for_disk(&self, cost: u64) -> Result<(), AppendError> {
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.try_grant(cost)? {
                return Ok(());
            }
            changed.await;
        }
    }

    fn try_grant(&self, cost: u64) -> Result<bool, AppendError> {
        let mut state = self.state.lock();
        if let Some(reason) = &state.stopped {
            return Err(reason.clone());
        }
        let granted = self.has_room(&state, cost);
        if granted {
            state.reserved += cost;
        } else if let Some(blocked) = state.blocked
            && state.ready == 0
        {
            return Err(blocked.into());
        }
        Ok(granted)
    }

    fn has_room(&self, state: &State, cost: u64) -> bool {
        let needed = state.reserved + cost;
        if state.ready == 0 {
            return needed + self.held_back <= state.open;
        }
        // An empty file takes any single entry, whatever the estimates say.
        state.reserved == 0 || needed <= self.room(state)
    }

    /// What fits into the open file and those that are ready, whatever the order of large and small.
    fn room(&self, state: &State) -> u64 {
        let wasted = cost_of(self.batch_bytes_max);
        (state.open.saturating_sub(wasted) + state.ready * self.next_file(state)).max(state.open)
    }

    fn next_file(&self, state: &State) -> u64 {
        self.file_room.saturating_sub(state.checkpoint + cost_of(self.batch_bytes_max))
    }

    pub(crate) fn release(&self, cost: u64) {
        self.state.lock().reserved -= cost;
        self.wake();
    }

    /// The open file changed: this is what it can still take.
    pub(crate) fn set_open(&self, room: u64) {
        self.state.lock().open = room;
        self.wake();
    }

    /// The writer took one of the files that were ready; so many are left.
    pub(crate) fn take_file(&self, ready: u64) {
        let mut state = self.state.lock();
        state.ready = ready;
        state.blocked = None;
        state.open = self.file_room.saturating_sub(state.checkpoint);
        drop(state);
        self.wake();
    }

    /// What may be set aside for copies at once.
    pub(crate) fn copy_room(&self) -> u64 {
        self.held_back / 2
    }

    pub(crate) fn set_checkpoint(&self, bytes: u64) {
        self.state.lock().checkpoint = bytes;
    }

    pub(crate) fn set_ready(&self, files: u64, blocked: Option<Blocked>) {
        let mut state = self.state.lock();
        state.ready = files;
        state.blocked = blocked;
        drop(state);
        self.wake();
    }

    /// Something was covered or evicted: whether that makes room is about to be found out, and until
    /// then nobody is refused.
    pub(crate) fn reconsider(&self) {
        let mut state = self.state.lock();
        if state.blocked == Some(Blocked::Backlog) {
            state.blocked = None;
        }
    }

    pub(crate) fn blocked(&self) -> Option<Blocked> {
        self.state.lock().blocked
    }

    /// No reservation is granted any more. The first reason stays.
    pub(crate) fn stop(&self, reason: AppendError) {
        let mut state = self.state.lock();
        let stop_now = state.stopped.is_none();
        if stop_now || matches!(reason, AppendError::Failed(_)) {
            state.stopped = Some(reason);
        }
        drop(state);
        self.queue.close();
        self.changed.notify_waiters();
    }

    fn stop_reason(&self) -> AppendError {
        self.state.lock().stopped.clone().unwrap_or(AppendError::Closed)
    }

    /// Somebody waits for room on disk.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue_bytes - self.queue.available_permits().min(self.queue_bytes)
    }

    fn wake(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
        }
    }
}

/// Counts who waits, so that the writer need not notify nobody.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
