//! The clock of this process, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use tidelog_model::TimestampMs;

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
