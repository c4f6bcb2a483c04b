//! A producer's settings.

use std::time::Duration;

use tidelog_model::Compression;
use tidelog_model::limits::{BATCH_BYTES_MAX, PRODUCER_BATCHES_REMEMBERED};

use crate::Error;

/// A producer's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// How long a record waits for others to share its batch; longer while a batch before it is not
    /// answered yet, so that a busy server gets fewer and larger ones. Zero sends at once whatever is
    /// there.
    pub linger: Duration,
    /// How large a batch is to become, before compression. A topic's `max.message.bytes` bounds it too.
    pub batch_bytes: usize,
    /// How much may be unacknowledged; past it, `send` waits.
    pub buffer_bytes: usize,
    pub compression: Compression,
    /// Numbers the records, so that what is sent again after a lost connection is stored once, and in
    /// order. Without it, a record whose outcome is unknown is reported so and never sent again.
    pub idempotent: bool,
    /// How long a record may take, retries included, before it is reported as failed.
    pub delivery_timeout: Duration,
    /// How many batches of one partition may be unanswered at once, at most 5.
    pub max_in_flight: usize,
    /// How many streams to the server the partitions are spread over.
    pub sessions: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_bytes: 256 * 1024,
            buffer_bytes: 64 * 1024 * 1024,
            compression: Compression::None,
            idempotent: true,
            delivery_timeout: Duration::from_mins(2),
            max_in_flight: PRODUCER_BATCHES_REMEMBERED,
            sessions: 1,
        }
    }
}

const BATCH_BYTES_MIN: usize = 1024;
const BUFFER_BYTES_MAX: usize = u32::MAX as usize;
const SESSIONS_MAX: usize = 64;

impl ProducerOptions {
    pub(super) fn check(&self) -> Result<(), Error> {
        let bounds = [
            ("batch_bytes", self.batch_bytes, BATCH_BYTES_MIN, BATCH_BYTES_MAX),
            ("buffer_bytes", self.buffer_bytes, self.batch_bytes, BUFFER_BYTES_MAX),
            ("max_in_flight", self.max_in_flight, 1, PRODUCER_BATCHES_REMEMBERED),
            ("sessions", self.sessions, 1, SESSIONS_MAX),
        ];
        for (what, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(Error::Invalid { what, reason: format!("{value} is not from {min} to {max}") });
            }
        }
        if self.delivery_timeout <= self.linger {
            let reason = "it must be longer than the linger".to_owned();
            return Err(Error::Invalid { what: "delivery_timeout", reason });
        }
        Ok(())
    }
}
