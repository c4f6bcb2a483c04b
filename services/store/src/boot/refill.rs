//! Partitions whose state the journal does not have: it is read from the bucket, again and again until
//! the bucket answers. Until then they answer with a retriable error.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tidelog_cold::ColdError;
use tidelog_format::pointer::Pointer;
use tidelog_runtime::CancellationToken;

use crate::error::of_cold;
use crate::node::Node;
use crate::partition::{Partition, Status};

/// Partitions whose state is read at a time.
const READS_AT_ONCE: usize = 16;

const RETRY_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(
    node: Arc<Node>,
    mut missing: Vec<(Arc<Partition>, Pointer)>,
    stop: CancellationToken,
) {
    while !missing.is_empty() && !stop.is_cancelled() {
        let reads = missing.into_iter().map(|(partition, pointer)| {
            let node = &node;
            async move {
                let outcome = refill(node, &partition, &pointer).await;
                (partition, pointer, outcome)
            }
        });
        let done: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        missing = Vec::new();
        for (partition, pointer, outcome) in done {
            if let Err(error) = outcome {
                if missing.is_empty() {
                    tracing::warn!(partition = %partition.id, %error, "its state cannot be read; trying again");
                }
                partition.set_status(Status::Recovering(of_cold(&error)));
                missing.push((partition, pointer));
            }
        }
        if !missing.is_empty() {
            let _ = tokio::time::timeout(RETRY_EVERY, stop.cancelled()).await;
        }
    }
}

async fn refill(node: &Node, partition: &Partition, pointer: &Pointer) -> Result<(), ColdError> {
    let state = node.cold.state(partition.id, pointer).await?;
    // The journal may have records from before a hole; the bucket has them all.
    node.journal.evict(partition.id, pointer.tiered_end);
    partition.recovered(pointer.log_start, state);
    Ok(())
}
