//! The clock that leases run on. It never jumps, and it means nothing outside this process.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A clock that never goes back and knows nothing of the time of day.
pub trait MonotonicClock: Send + Sync + fmt::Debug {
    fn now(&self) -> Instant;
}

/// A monotonic clock shared by everything in a process.
pub type SharedMonotonic = Arc<dyn MonotonicClock>;

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemMonotonic;

impl MonotonicClock for SystemMonotonic {
    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug)]
pub struct ManualMonotonic(Mutex<Instant>);

impl Default for ManualMonotonic {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl ManualMonotonic {
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl MonotonicClock for ManualMonotonic {
    fn now(&self) -> Instant {
        *self.0.lock()
    }
}
