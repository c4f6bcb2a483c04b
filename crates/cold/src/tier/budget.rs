//! Memory and bandwidth that all uploads share.
//!
//! Hazard: a segment that is being filled holds memory until a part of it is full, and a full part is
//! what gives memory back. If every segment waited for memory that the others hold, nothing would move
//! again. So memory is only waited for while some part is on its way; otherwise the request is refused
//! and its caller finishes a segment.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes that may be held at a time.
#[derive(Debug)]
pub(super) struct MemoryBudget {
    bytes: Arc<Semaphore>,
    total: usize,
    /// Parts on their way to the bucket.
    moving: AtomicUsize,
    stopped: Notify,
}

/// Memory held. Dropping it gives it back.
pub(super) type Held = OwnedSemaphorePermit;

/// A part on its way to the bucket: when it arrives, or fails, memory comes back.
#[derive(Debug)]
pub(super) struct Moving(Arc<MemoryBudget>);

impl Drop for Moving {
    fn drop(&mut self) {
        if self.0.moving.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.stopped.notify_waiters();
        }
    }
}

impl MemoryBudget {
    pub(super) fn new(total: usize) -> Arc<Self> {
        let total = total.min(u32::MAX as usize);
        let bytes = Arc::new(Semaphore::new(total));
        Arc::new(Self { bytes, total, moving: AtomicUsize::new(0), stopped: Notify::new() })
    }

    /// Takes `bytes`, waiting while parts are on their way; `None` when only others that also wait
    /// could give them back.
    pub(super) async fn take(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let wanted = u32::try_from(bytes.min(self.total)).expect("the total fits");
        loop {
            let stopped = self.stopped.notified();
            tokio::pin!(stopped);
            stopped.as_mut().enable();
            if let Ok(held) = self.bytes.clone().try_acquire_many_owned(wanted) {
                return Some(held);
            }
            if self.moving.load(Ordering::Acquire) == 0 {
                return None;
            }
            tokio::select! {
                held = self.bytes.clone().acquire_many_owned(wanted) => return held.ok(),
                () = stopped => {}
            }
        }
    }

    pub(super) fn moving(self: &Arc<Self>) -> Moving {
        self.moving.fetch_add(1, Ordering::AcqRel);
        Moving(self.clone())
    }

    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.bytes.available_permits()
    }
}

/// Spreads what is sent over time.
#[derive(Debug)]
pub(super) struct Bandwidth {
    bytes_per_second: Option<NonZeroU64>,
    /// When what has been admitted so far will have been sent at that rate.
    free_at: Mutex<Option<Instant>>,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_second: Option<NonZeroU64>) -> Self {
        Self { bytes_per_second, free_at: Mutex::new(None) }
    }

    /// Returns when `bytes` may be sent.
    pub(super) async fn admit(&self, bytes: usize) {
        let Some(rate) = self.bytes_per_second else { return };
        let takes = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        let start = {
            let mut free_at = self.free_at.lock();
            let now = Instant::now();
            let start = free_at.map_or(now, |at| at.max(now));
            *free_at = Some(start + takes);
            start
        };
        tokio::time::sleep_until(start).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_is_refused_when_nothing_can_give_it_back() {
        let budget = MemoryBudget::new(100);
        let held = budget.take(60).await.unwrap();
        assert!(budget.take(60).await.is_none());
        drop(held);
        assert!(budget.take(60).await.is_some());
    }

    #[tokio::test]
    async fn memory_is_waited_for_while_a_part_is_on_its_way() {
        let budget = MemoryBudget::new(100);
        let held = budget.take(60).await.unwrap();
        let moving = budget.moving();
        let waiting = budget.take(60);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        drop(moving);
        assert!(waiting.await.is_some());
    }

    #[tokio::test]
    async fn waiting_ends_when_the_last_part_gives_too_little_back() {
        let budget = MemoryBudget::new(100);
        let _filling = budget.take(60).await.unwrap();
        let sending = budget.take(20).await.unwrap();
        let moving = budget.moving();
        let waiting = budget.take(60);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(sending);
        drop(moving);
        assert!(waiting.await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn bandwidth_is_kept_to() {
        let bandwidth = Bandwidth::new(NonZeroU64::new(1000));
        let start = Instant::now();
        for _ in 0..4 {
            bandwidth.admit(500).await;
        }
        // The first goes at once, each other when the one before it is through.
        assert_eq!(start.elapsed().as_millis(), 1500);
        Bandwidth::new(None).admit(usize::MAX).await;
        assert_eq!(start.elapsed().as_millis(), 1500);
    }
}
