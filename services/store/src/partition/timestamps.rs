//! The bounds on what a producer may claim as a record's time.

use thiserror::Error;
use tidelog_model::{TimestampMs, TopicConfig};

/// A timestamp outside the topic's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum TimestampError {
    #[error(
        "timestamp {timestamp} lies more than message.timestamp.before.max.ms={bound} before the server's {now}"
    )]
    TooOld { timestamp: TimestampMs, now: TimestampMs, bound: i64 },
    #[error(
        "timestamp {timestamp} lies more than message.timestamp.after.max.ms={bound} after the server's {now}"
    )]
    TooNew { timestamp: TimestampMs, now: TimestampMs, bound: i64 },
    #[error("timestamp {timestamp} is negative, and only -1 (none) may be")]
    Negative { timestamp: TimestampMs },
}

/// Checks a timestamp that the producer chose. -1 stands for "none" and is always accepted.
pub(crate) fn check(
    timestamp: TimestampMs,
    now: TimestampMs,
    config: &TopicConfig,
) -> Result<(), TimestampError> {
    if timestamp == TimestampMs::NONE {
        return Ok(());
    }
    if timestamp.0 < 0 {
        return Err(TimestampError::Negative { timestamp });
    }
    let bound = config.message_timestamp_before_max_ms;
    if timestamp.0 < now.0.saturating_sub(bound) {
        return Err(TimestampError::TooOld { timestamp, now, bound });
    }
    let bound = config.message_timestamp_after_max_ms;
    if timestamp.0 > now.0.saturating_add(bound) {
        return Err(TimestampError::TooNew { timestamp, now, bound });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn bounds(before: &str, after: &str) -> TopicConfig {
        let settings =
            [("message.timestamp.before.max.ms", before), ("message.timestamp.after.max.ms", after)];
        TopicConfig::default().with(settings).unwrap()
    }

    #[test]
    fn the_bounds_themselves_are_allowed() {
        let config = bounds("1000", "2000");
        for timestamp in [999_000, 1_000_000, 1_002_000, -1] {
            assert_eq!(check(TimestampMs(timestamp), NOW, &config), Ok(()));
        }
        assert!(matches!(check(TimestampMs(998_999), NOW, &config), Err(TimestampError::TooOld { .. })));
        assert!(matches!(check(TimestampMs(1_002_001), NOW, &config), Err(TimestampError::TooNew { .. })));
        assert!(matches!(check(TimestampMs(-2), NOW, &config), Err(TimestampError::Negative { .. })));
    }

    #[test]
    fn the_widest_bounds_allow_everything() {
        let config = bounds(&i64::MAX.to_string(), &i64::MAX.to_string());
        assert_eq!(check(TimestampMs(0), NOW, &config), Ok(()));
        assert_eq!(check(TimestampMs(i64::MAX), NOW, &config), Ok(()));
    }
}
