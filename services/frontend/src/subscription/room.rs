//! The memory of all subscriptions together.
//!
//! Each may hold a little without leave; all that is more comes from one budget. A single batch can be
//! more: then its reader waits for room holding nothing, and asks for the batch again. So that readers
//! who stand still do not keep the budget from those who read, whoever waits makes them give it back.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidelog_wire::{ByteBudget, BytePermit};

/// A subscription begins with reads of this size and doubles them while the client keeps up: it needs
/// nobody's leave to hold this much, and the common budget's for more.
pub(super) const READ_BYTES_MIN: usize = 64 * 1024;

/// For records on their way to clients.
#[derive(Debug)]
pub(crate) struct Reads {
    budget: ByteBudget,
    waiting: AtomicUsize,
}

impl Reads {
    pub(crate) fn new(budget: ByteBudget) -> Self {
        Self { budget, waiting: AtomicUsize::new(0) }
    }

    /// Room for as much of `bytes` as there is, by halves, and at least [`READ_BYTES_MIN`].
    pub(super) fn some(&self, mut bytes: usize) -> (usize, BytePermit) {
        while bytes > READ_BYTES_MIN {
            if let Some(permit) = self.budget.try_acquire(bytes) {
                return (bytes, permit);
            }
            bytes /= 2;
        }
        (bytes, BytePermit::none())
    }

    /// Room for all of `bytes`, in the order of those who ask.
    pub(super) async fn all(&self, bytes: usize) -> BytePermit {
        let _waiting = Waiting::one(&self.waiting);
        self.budget.acquire(bytes).await
    }

    /// Makes of `permit` one that is good for `bytes`, if there is room now.
    pub(super) fn extend(&self, permit: BytePermit, bytes: usize) -> Option<BytePermit> {
        let enough = bytes <= READ_BYTES_MIN || permit.bytes() >= bytes.min(self.budget.total_bytes());
        if enough {
            return Some(permit);
        }
        drop(permit);
        self.budget.try_acquire(bytes)
    }

    /// Whether somebody cannot go on for want of room.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn one(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
