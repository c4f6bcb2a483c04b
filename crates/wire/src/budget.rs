//! A bound in bytes that many connections share.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many bytes for everything that is accounted to it. Cloning shares it.
///
/// Whoever asks first is served first, so that a large frame is not starved by small ones.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<Semaphore>,
    total: usize,
}

/// Bytes taken from a [`ByteBudget`]; given back when dropped.
#[derive(Debug, Default)]
#[must_use = "dropping it gives the bytes back"]
pub struct BytePermit(Option<OwnedSemaphorePermit>);

impl ByteBudget {
    /// A budget of `total` bytes (at most 4 GiB, the largest that one permit can carry).
    pub fn new(total: usize) -> Self {
        let total = total.min(u32::MAX as usize);
        Self { free: Arc::new(Semaphore::new(total)), total }
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget: it is
    /// granted when nothing else is held.
    pub async fn acquire(&self, bytes: usize) -> BytePermit {
        let bytes = self.clamp(bytes);
        if bytes == 0 {
            return BytePermit(None);
        }
        // The semaphore is never closed.
        BytePermit(Arc::clone(&self.free).acquire_many_owned(bytes).await.ok())
    }

    /// Takes `bytes` if they are free now.
    pub fn try_acquire(&self, bytes: usize) -> Option<BytePermit> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.clamp(bytes)).ok()?;
        Some(BytePermit(Some(permit)))
    }

    pub fn total_bytes(&self) -> usize {
        self.total
    }

    pub fn free_bytes(&self) -> usize {
        self.free.available_permits()
    }

    fn clamp(&self, bytes: usize) -> u32 {
        bytes.min(self.total) as u32
    }
}

impl BytePermit {
    /// A permit for nothing.
    pub fn none() -> Self {
        Self(None)
    }

    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_come_back_when_the_permit_is_dropped() {
        let budget = ByteBudget::new(100);
        let held = budget.acquire(70).await;
        assert!(budget.try_acquire(40).is_none());
        drop(held);
        assert_eq!(budget.try_acquire(100).unwrap().bytes(), 100);
        assert_eq!(budget.free_bytes(), 100);
    }

    #[tokio::test]
    async fn more_than_the_whole_budget_is_granted_alone() {
        let budget = ByteBudget::new(100);
        let all = budget.acquire(1_000).await;
        assert_eq!((all.bytes(), budget.free_bytes()), (100, 0));
    }
}
