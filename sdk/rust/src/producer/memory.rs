//! The producer's memory: a bound on what is unacknowledged, and buffers that are used again.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::queue::Settled;
use crate::Error;

/// Most buffers that are kept, and most bytes in them.
const BUFFERS_MAX: usize = 256;
const BUFFER_BYTES_KEPT_MAX: usize = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Memory {
    free: Semaphore,
    total: usize,
    /// Buffers from this size on are kept when their batch is over.
    kept_bytes_min: usize,
    buffers: Mutex<Vec<BytesMut>>,
    buffers_max: usize,
    /// Senders that wait.
    waiting: AtomicUsize,
}

/// Counts a sender among those that wait.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Memory {
    pub(super) fn new(total: usize, batch_bytes: usize) -> Self {
        Self {
            free: Semaphore::new(total),
            total,
            kept_bytes_min: batch_bytes / 2,
            buffers: Mutex::default(),
            buffers_max: (BUFFER_BYTES_KEPT_MAX / batch_bytes).clamp(1, BUFFERS_MAX),
            waiting: AtomicUsize::new(0),
        }
    }

    fn charge(&self, bytes: usize) -> u32 {
        // A record larger than the whole buffer waits until it is alone.
        bytes.min(self.total) as u32
    }

    /// Takes `bytes` if they are free; says what was taken.
    pub(super) fn try_take(&self, bytes: usize) -> Option<usize> {
        let charge = self.charge(bytes);
        self.free.try_acquire_many(charge).ok()?.forget();
        Some(charge as usize)
    }

    /// Waits for `bytes`; whoever came first is served first. `announce` is called once the wait counts.
    pub(super) async fn take(&self, bytes: usize, announce: impl FnOnce()) -> Result<usize, Error> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        announce();
        let charge = self.charge(bytes);
        let permit = self.free.acquire_many(charge).await.map_err(|_| Error::Closed("producer"))?;
        permit.forget();
        Ok(charge as usize)
    }

    /// Someone waits for memory.
    pub(super) fn is_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.free.add_permits(bytes);
    }

    /// Wakes who waits, in vain.
    pub(super) fn close(&self) {
        self.free.close();
    }

    /// Memory for a batch of `bytes`.
    pub(super) fn buffer(&self, bytes: usize) -> BytesMut {
        if bytes >= self.kept_bytes_min
            && let Some(buffer) = self.buffers.lock().pop()
        {
            return buffer;
        }
        BytesMut::with_capacity(bytes)
    }

    /// Gives a batch's memory back, then tells its tickets.
    pub(super) fn settle(&self, settled: Settled) {
        let Settled { state, charge, outcome, bytes } = settled;
        if let Some(bytes) = bytes {
            self.keep(bytes);
        }
        self.give_back(charge);
        state.settle(outcome);
    }

    fn keep(&self, bytes: Bytes) {
        if bytes.len() < self.kept_bytes_min {
            return;
        }
        // The transport may still hold it; then it is freed when that lets go.
        if let Ok(mut buffer) = bytes.try_into_mut() {
            buffer.clear();
            let mut buffers = self.buffers.lock();
            if buffers.len() < self.buffers_max {
                buffers.push(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_nobody_holds_is_used_again() {
        let memory = Memory::new(1 << 20, 1000);
        let bytes = Bytes::from(vec![1; 900]);
        let address = bytes.as_ptr();
        let held = bytes.clone();
        memory.keep(bytes);
        assert!(memory.buffers.lock().is_empty());
        memory.keep(held);
        let again = memory.buffer(800);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
        memory.keep(Bytes::from(vec![1; 100]));
        assert!(memory.buffers.lock().is_empty());
    }

    #[tokio::test]
    async fn a_record_larger_than_the_buffer_waits_until_it_is_alone() {
        let memory = Memory::new(100, 10);
        let small = memory.try_take(10).unwrap();
        assert_eq!(memory.try_take(500), None);
        memory.give_back(small);
        assert_eq!(memory.take(500, || {}).await.unwrap(), 100);
        memory.close();
        assert!(memory.take(1, || {}).await.is_err());
    }
}
