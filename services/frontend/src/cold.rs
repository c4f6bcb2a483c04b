//! Where the frontend finds what stores no longer hold.

use async_trait::async_trait;
use bytes::Bytes;
use tidelog_format::pointer::Pointer;
use tidelog_model::{Offset, TopicPartition};
use tidelog_peer::StoreError;

/// The bucket, as a subscription needs it.
pub trait ColdSource: Send + Sync {
    /// Reads a partition in offset order, from the batch that contains `from` to the pointer's tiered
    /// end.
    fn stream(&self, partition: TopicPartition, pointer: Pointer, from: Offset) -> Box<dyn ColdBatches>;
}

/// A partition's batches as they come from the bucket.
#[async_trait]
pub trait ColdBatches: Send {
    /// The next run of whole batches, back to back; `None` at the tiered end.
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>>;
}
