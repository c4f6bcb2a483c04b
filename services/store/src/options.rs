//! What a store is opened with.

use tidelog_model::NodeId;

use crate::offload::due::PassLimits;

/// Settings of a store. The journal's and the cache's come with their parts.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub node: NodeId,
    /// Partitions whose segments are uploaded at a time.
    pub offload_partitions_max: usize,
    /// Memory for batches on their way to the bucket.
    pub offload_memory_bytes: u64,
}

/// The most that one partition's upload holds: parts that are on their way, and one being filled.
pub(crate) const PARTITION_UPLOAD_BYTES_MAX: u64 = 32 * 1024 * 1024;

impl Default for StoreOptions {
    fn default() -> Self {
        Self { node: NodeId(1), offload_partitions_max: 64, offload_memory_bytes: 96 * 1024 * 1024 }
    }
}

impl StoreOptions {
    pub(crate) fn pass_limits(&self) -> PassLimits {
        PassLimits {
            partitions: self.offload_partitions_max.max(1),
            memory_bytes: self.offload_memory_bytes,
            partition_bytes_max: PARTITION_UPLOAD_BYTES_MAX,
        }
    }
}
