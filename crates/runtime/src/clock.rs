//! The machine's own clock, for processes. Tests steer one of their own.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tidelog_model::{Clock, SharedClock, TimestampMs};

/// The operating system's wall clock. It may jump: use it for timestamps, never to measure time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// A clock to share in a process.
    pub fn shared() -> SharedClock {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    /// A clock set before 1970 reads as 1970.
    fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
