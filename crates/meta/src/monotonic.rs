//! The clock that leases run on. It never jumps, and it means nothing outside this process.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time since some moment of this process's life; never goes back.
pub trait MonotonicClock: Send + Sync + fmt::Debug {
    fn elapsed(&self) -> Duration;
}

/// The operating system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemMonotonic(Instant);

impl Default for SystemMonotonic {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl MonotonicClock for SystemMonotonic {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that moves only when it is told to, for tests.
#[derive(Debug, Default)]
pub struct ManualMonotonic(Mutex<Duration>);

impl ManualMonotonic {
    pub fn advance(&self, by: Duration) {
        *self.0.lock() += by;
    }
}

impl MonotonicClock for ManualMonotonic {
    fn elapsed(&self) -> Duration {
        *self.0.lock()
    }
}
