//! What waits for the writer: bounded, and filled from async code without blocking it.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use crate::{LeaseId, MetaError, Txn, TxnOutcome};

/// Most commands that wait; whoever comes next waits to queue.
const QUEUE_COMMANDS_MAX: usize = 1024;

pub(super) type Answer<T> = oneshot::Sender<Result<T, MetaError>>;

/// Something that changes the store.
#[derive(Debug)]
pub(super) enum Command {
    Txn(Txn, Answer<TxnOutcome>),
    Grant(Duration, Answer<(LeaseId, Duration)>),
    Revoke(LeaseId, Answer<()>),
}

impl Command {
    /// Answers with an error, whatever was asked.
    pub(super) fn refuse(self, error: MetaError) {
        // Nobody may be listening any more, which is fine.
        match self {
            Self::Txn(_, answer) => drop(answer.send(Err(error))),
            Self::Grant(_, answer) => drop(answer.send(Err(error))),
            Self::Revoke(_, answer) => drop(answer.send(Err(error))),
        }
    }
}

/// What the writer finds when it looks.
#[derive(Debug)]
pub(super) enum Taken {
    /// Commands in order; none when it was woken, or has waited long enough.
    Commands(Vec<Command>),
    /// Closed and empty: there will be no more.
    Closed,
}

pub(super) struct Queue {
    room: Semaphore,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    commands: VecDeque<Command>,
    woken: bool,
    closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { room: Semaphore::new(QUEUE_COMMANDS_MAX), waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Queues a command, when there is room. Cancelled before that, it has not been queued.
    pub(super) async fn push(&self, command: Command) -> Result<(), MetaError> {
        let permit = self.room.acquire().await.map_err(|_| MetaError::Closed)?;
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(MetaError::Closed);
        }
        // The writer gives it back when it takes the command.
        permit.forget();
        waiting.commands.push_back(command);
        self.changed.notify_one();
        Ok(())
    }

    pub(super) fn wake(&self) {
        self.waiting.lock().woken = true;
        self.changed.notify_one();
    }

    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.room.close();
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    /// Waits for commands, at most `within`, and takes up to `max` of them.
    pub(super) fn take(&self, max: usize, within: Option<Duration>) -> Taken {
        let mut waiting = self.waiting.lock();
        if waiting.commands.is_empty() && !waiting.woken && !waiting.closed {
            match within {
                Some(within) => drop(self.changed.wait_for(&mut waiting, within)),
                None => self.changed.wait(&mut waiting),
            }
        }
        waiting.woken = false;
        if waiting.commands.is_empty() && waiting.closed {
            return Taken::Closed;
        }
        let count = waiting.commands.len().min(max);
        let commands: Vec<_> = waiting.commands.drain(..count).collect();
        self.room.add_permits(commands.len());
        Taken::Commands(commands)
    }
}
