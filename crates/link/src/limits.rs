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

/// One replication frame: messages, bytes of batches unless a single one has more, and epochs in the
/// histories of all its Leads. An epoch takes up to 20 bytes of the header, a message up to 256.
pub(crate) const MESSAGES_PER_FRAME: usize = 4096;
pub(crate) const EPOCHS_PER_FRAME: usize = 64 * 1024;
pub(crate) const BATCH_BYTES_PER_FRAME: usize = 4 * 1024 * 1024;
const _: () = assert!(MESSAGES_PER_FRAME * 256 + EPOCHS_PER_FRAME * 20 <= HEADER_BYTES_MAX);

/// Streams that batches take to one store, and what each has unacknowledged.
pub(crate) const FORWARD_LANES: usize = 2;
pub(crate) const FORWARD_BYTES_MAX: usize = 16 * 1024 * 1024;
pub(crate) const FORWARD_BATCHES_MAX: usize = 4096;

/// What one partition's turn reads, and what is gathered for one frame: turns go on until there is so
/// much. A turn may exceed the former by one batch.
pub(crate) const MESH_TURN_BYTES: usize = 512 * 1024;
pub(crate) const MESH_FRAME_BYTES: usize = 1024 * 1024;
/// As many messages, or a turn more.
pub(crate) const MESH_FRAME_MESSAGES: usize = 1024;

/// Turns of one lane that may wait for the disk at a time.
pub(crate) const MESH_READS_MAX: usize = 4;

/// Opening a lane to another store: how long one attempt may take, and the pauses between them.
pub(crate) const MESH_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
pub(crate) const MESH_RETRY_MIN: Duration = Duration::from_millis(100);
pub(crate) const MESH_RETRY_MAX: Duration = Duration::from_secs(1);
