//! The thread that keeps the files: it has an empty one ready before the writer needs it, and lets
//! the oldest go when nothing in them is wanted, when they are old, or when their room is needed.
//!
//! The hazard: a file goes only when everything in it is in the bucket, was evicted or lies below a
//! log start, or was copied to the newest file and synced there; and when a newer file holds a
//! complete checkpoint. A missing mark keeps a file.

mod copy;
mod retention;
mod spare;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::files::{JournalFile, Wake};
use crate::journal::Shared;
use crate::space::Blocked;

/// Empty files that wait for the writer.
const READY_FILES: usize = 1;

/// How often the keeper looks without being woken: for age, and for space that others gave back.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the keeper shares with the writer and everybody who wakes it.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    state: Mutex<State>,
    work: Condvar,
    ready: Condvar,
    /// The newest file that begins with a complete checkpoint.
    checkpointed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<JournalFile>>,
    next_sequence: u64,
    woken: bool,
    closing: bool,
    /// The writer stands still until a file is ready.
    writer_waits: bool,
}

impl Keeper {
    /// What recovery found: empty files, the next sequence, the newest file with a checkpoint.
    pub(crate) fn begin(&self, ready: VecDeque<Arc<JournalFile>>, next_sequence: u64, checkpointed: u64) {
        let mut state = self.state.lock();
        state.ready = ready;
        state.next_sequence = next_sequence;
        self.checkpointed.store(checkpointed, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        self.state.lock().woken = true;
        self.work.notify_one();
    }

    pub(crate) fn close(&self) {
        self.state.lock().closing = true;
        self.work.notify_all();
        self.ready.notify_all();
    }

    fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.state.lock().ready.is_empty()
    }

    /// An empty file for the writer; waits for one. None when the journal closes first.
    pub(crate) fn take_ready(&self, shared: &Shared) -> Option<Arc<JournalFile>> {
        let mut state = self.state.lock();
        state.woken = true;
        self.work.notify_one();
        state.writer_waits = true;
        while state.ready.is_empty() && !state.closing {
            self.ready.wait(&mut state);
        }
        state.writer_waits = false;
        let file = state.ready.pop_front()?;
        // Under the lock: at no moment does the file count nowhere.
        shared.files.add(Arc::clone(&file));
        shared.space.take_file(state.ready.len() as u64);
        Some(file)
    }

    fn writer_waits(&self) -> bool {
        self.state.lock().writer_waits
    }

    /// This file begins with a complete checkpoint: older ones are not needed to rebuild the state.
    pub(crate) fn checkpointed(&self, sequence: u64) {
        self.checkpointed.store(sequence, Ordering::Release);
        self.wake();
    }

    fn newest_checkpoint(&self) -> u64 {
        self.checkpointed.load(Ordering::Acquire)
    }

    pub(crate) fn ready_bytes(&self) -> u64 {
        self.state.lock().ready.iter().map(|file| file.bytes()).sum()
    }

    fn ready_count(&self) -> usize {
        self.state.lock().ready.len()
    }

    fn claim_sequence(&self) -> u64 {
        let mut state = self.state.lock();
        let sequence = state.next_sequence;
        state.next_sequence += 1;
        sequence
    }

    /// The file of the claimed sequence was not made.
    fn return_sequence(&self) {
        self.state.lock().next_sequence -= 1;
    }

    fn add_ready(&self, shared: &Shared, file: Arc<JournalFile>) {
        let mut state = self.state.lock();
        state.ready.push_back(file);
        shared.space.set_ready(state.ready.len() as u64, None);
        drop(state);
        self.ready.notify_all();
    }

    /// No file can be made ready. Says nothing if less may be wanted than when that was found.
    fn set_blocked(&self, shared: &Shared, blocked: Blocked) {
        let state = self.state.lock();
        if !state.woken {
            shared.space.set_ready(state.ready.len() as u64, Some(blocked));
        }
    }

    /// Waits until there may be something to do. False when it is time to end.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        if !state.woken && !state.closing {
            self.work.wait_for(&mut state, LOOK_EVERY);
        }
        state.woken = false;
        !state.closing
    }

    /// A pause that ends early when the journal closes. False when it does.
    fn pause(&self, time: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.closing {
            self.ready.wait_for(&mut state, time);
        }
        !state.closing
    }
}

/// Wakes the keeper when a retired file is free.
#[derive(Debug)]
pub(crate) struct WakeKeeper(pub(crate) std::sync::Weak<Shared>);

impl Wake for WakeKeeper {
    fn wake(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.keeper.wake();
        }
    }
}

/// The thread's life.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker { shared, reader: crate::read::FrameReader::new(), warned: None };
    loop {
        worker.retire_unwanted();
        worker.refill();
        if !shared.keeper.wait() {
            return;
        }
    }
}

/// What the keeper's thread has to itself.
struct Worker<'a> {
    shared: &'a Arc<Shared>,
    reader: crate::read::FrameReader,
    /// What was last reported as being in the way, so that it is said once.
    warned: Option<Blocked>,
}
