//! What waits for the writer, in order.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use crate::append::{Append, Done, Reservation};
use crate::error::AppendError;

/// One thing for the writer to do.
pub(crate) enum Queued {
    /// `reservation` is none for copies, which have room of their own.
    Append { append: Append, done: Done, reservation: Option<Reservation> },
    /// Go on in a new file.
    Roll(oneshot::Sender<()>),
    /// Seal and end.
    Close(oneshot::Sender<()>),
    /// End without sealing.
    Abandon,
}

impl Queued {
    pub(crate) fn append(&self) -> Option<&Append> {
        match self {
            Self::Append { append, .. } => Some(append),
            Self::Roll(_) | Self::Close(_) | Self::Abandon => None,
        }
    }

    pub(crate) fn refuse(self, reason: &AppendError) {
        if let Self::Append { done, reservation, .. } = self {
            done(Err(reason.clone()));
            drop(reservation);
        }
    }
}

impl std::fmt::Debug for Queued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Append { append, .. } => write!(f, "Append({append:?})"),
            Self::Roll(_) => f.write_str("Roll"),
            Self::Close(_) => f.write_str("Close"),
            Self::Abandon => f.write_str("Abandon"),
        }
    }
}

/// The writer's queue. Its bound in bytes is kept by the reservations.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Queued>,
    /// The writer sleeps.
    idle: bool,
    closed: Option<AppendError>,
}

impl Queue {
    pub(crate) fn push(&self, item: Queued) {
        let mut state = self.state.lock();
        if let Some(reason) = &state.closed {
            let reason = reason.clone();
            drop(state);
            return item.refuse(&reason);
        }
        state.items.push_back(item);
        let wake = std::mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    /// Moves everything into `into`, waiting for something if there is nothing; when the queue is closed,
    /// an order to end.
    pub(crate) fn take(&self, into: &mut VecDeque<Queued>) {
        let mut state = self.state.lock();
        while state.items.is_empty() {
            if state.closed.is_some() {
                into.push_back(Queued::Abandon);
                return;
            }
            state.idle = true;
            self.filled.wait(&mut state);
        }
        state.idle = false;
        if into.is_empty() {
            std::mem::swap(&mut state.items, into);
        } else {
            into.append(&mut state.items);
        }
    }

    /// Whatever is pushed from now on is refused. Returns what was waiting.
    pub(crate) fn close(&self, reason: AppendError) -> VecDeque<Queued> {
        let mut state = self.state.lock();
        state.closed.get_or_insert(reason);
        self.filled.notify_all();
        std::mem::take(&mut state.items)
    }

    pub(crate) fn len(&self) -> usize {
        self.state.lock().items.len()
    }
}
