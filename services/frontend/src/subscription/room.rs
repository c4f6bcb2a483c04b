//! The memory of all subscriptions together.
//!
//! Each may hold a little without leave; all that is more comes from one budget. A single batch can be
//! more: then its reader waits for room holding nothing, and asks for the batch again.
//!
//! The hazard: readers who stand still keep what they have, and those who read find no room. So reads
//! that only like to be larger take no more than half of the budget; the other half is for batches that
//! cannot be smaller. When that is gone, too, whoever waits makes those who stand still give it back.

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

    /// Room for as much of `bytes` as there is, by halves, and at least [`READ_BYTES_MIN`]. Half of the
    /// budget is left alone (but for what is taken by others in the same moment).
    pub(super) fn some(&self, mut bytes: usize) -> (usize, BytePermit) {
        let reserved = self.budget.total_bytes() / 2;
        while bytes > READ_BYTES_MIN {
            if self.budget.free_bytes() >= reserved + bytes
                && let Some(permit) = self.budget.try_acquire(bytes)
            {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn larger_reads_leave_room_for_batches_that_cannot_be_smaller() {
        let reads = Reads::new(ByteBudget::new(4 * MIB));
        let larger: Vec<_> = (0..100).map(|_| reads.some(MIB)).collect();
        let taken: usize = larger.iter().map(|(_, permit)| permit.bytes()).sum();
        assert_eq!(taken, 2 * MIB);
        assert_eq!(larger[99].0, READ_BYTES_MIN);
        let needed: Vec<_> = (0..3).map(|_| reads.extend(BytePermit::none(), MIB)).collect();
        assert_eq!(needed.iter().flatten().count(), 2, "and no more than the budget");
    }

    #[test]
    fn a_permit_is_kept_when_it_is_enough() {
        let reads = Reads::new(ByteBudget::new(4 * MIB));
        let (bytes, permit) = reads.some(MIB);
        assert_eq!(reads.extend(permit, bytes).map(|permit| permit.bytes()), Some(MIB));
        let none = reads.extend(BytePermit::none(), READ_BYTES_MIN);
        assert_eq!(none.map(|permit| permit.bytes()), Some(0), "this much needs no leave");
    }
}
