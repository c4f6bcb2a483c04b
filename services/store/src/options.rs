//! What a store is opened with.

use std::num::NonZeroU64;
use std::time::Duration;

use tidelog_cold::{PART_BYTES, TierConfig};
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{NodeId, SharedClock};

use crate::offload::due::PassLimits;
use crate::offload::scheduler::PASSES_MAX;

/// Settings of a store. The journal's and the cache's come with their parts.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub node: NodeId,
    /// How long a batch may wait for room in the journal before it is refused. Shorter than producers
    /// wait for an answer, so that they hear the reason.
    pub room_timeout: Duration,
    /// Memory for batches on their way to the bucket.
    pub offload_memory_bytes: usize,
    /// Requests that upload something, at a time.
    pub offload_requests: usize,
    /// What is uploaded, at most; `None` for as fast as it goes.
    pub offload_bytes_per_second: Option<NonZeroU64>,
}

/// Partitions of one pass at most, however little each of them has.
const PASS_PARTITIONS_MAX: usize = 128;

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            room_timeout: Duration::from_secs(10),
            offload_memory_bytes: 96 * 1024 * 1024,
            offload_requests: 8,
            offload_bytes_per_second: None,
        }
    }
}

impl StoreOptions {
    pub(crate) fn tier_config(&self, clock: SharedClock) -> TierConfig {
        TierConfig {
            memory_bytes: self.offload_memory_bytes,
            requests: self.offload_requests,
            bytes_per_second: self.offload_bytes_per_second,
            clock,
        }
    }

    /// Passes share the memory so that no upload can be left without any: each partition may have a
    /// segment that waits to be published and one that is not large enough to be sent, and one batch
    /// more must find room.
    pub(crate) fn pass_limits(&self) -> PassLimits {
        let memory = self.offload_memory_bytes.saturating_sub(BATCH_BYTES_MAX);
        PassLimits {
            partitions: PASS_PARTITIONS_MAX,
            memory_bytes: (memory / PASSES_MAX) as u64,
            partition_bytes_max: 2 * PART_BYTES as u64,
        }
    }
}
