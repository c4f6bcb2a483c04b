//! Every bound of the internal protocol.

use std::time::Duration;

use tidelog_wire::FrameLimits;
use tidelog_wire::limits::{FRAME_TIMEOUT, PAYLOAD_BYTES_MAX};

/// Largest header: reports and listings of a hundred thousand partitions come in some chunks.
pub(crate) const HEADER_BYTES_MAX: usize = 4 * 1024 * 1024;

pub(crate) const FRAMES: FrameLimits = FrameLimits {
    header_bytes: HEADER_BYTES_MAX,
    payload_bytes: PAYLOAD_BYTES_MAX,
    frame_timeout: FRAME_TIMEOUT,
};

/// Calls under way on one lane. A frontend has one for each tail that it follows.
pub(crate) const CALLS_MAX: usize = 32 * 1024;

/// Answers that wait to be written on one lane.
pub(crate) const REPLIES_QUEUED_MAX: usize = 64;

/// The longest that a call can ask to be worked on.
pub(crate) const CALL_TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// How much longer than the server the caller waits: the answer has to travel.
pub(crate) const CALL_GRACE: Duration = Duration::from_secs(2);

/// Partitions in one call; more are asked about in several.
pub(crate) const PARTITIONS_PER_CALL: usize = 20_000;

/// One replication frame: messages, and bytes of batches unless a single one has more.
pub(crate) const MESSAGES_PER_FRAME: usize = 4096;
pub(crate) const BATCH_BYTES_PER_FRAME: usize = 4 * 1024 * 1024;

/// Streams that batches take to one store, and what each has unacknowledged.
pub(crate) const FORWARD_LANES: usize = 2;
pub(crate) const FORWARD_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(crate) const FORWARD_BATCHES_MAX: usize = 4096;
