//! Partitions whose state the journal does not have: it is read from the bucket, again and again until
//! the bucket answers. Until then they answer with a retriable error and take part in nothing.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tidelog_cold::ColdError;
use tidelog_runtime::CancellationToken;

use super::replica::{Missing, build};
use crate::error::of_cold;
use crate::node::Node;
use crate::partition::Status;

/// Partitions whose state is read at a time.
const READS_AT_ONCE: usize = 16;

const RETRY_EVERY: Duration = Duration::from_secs(2);

pub(crate) async fn run(node: Arc<Node>, mut missing: Vec<Missing>, stop: CancellationToken) {
    while !missing.is_empty() && !stop.is_cancelled() {
        let reads = missing.into_iter().map(|missing| {
            let node = &node;
            async move {
                let outcome = refill(node, &missing).await;
                (missing, outcome)
            }
        });
        let done: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
        missing = Vec::new();
        for (one, outcome) in done {
            if let Err(error) = outcome {
                let partition = &one.partition;
                if missing.is_empty() {
                    tracing::warn!(partition = %partition.id, %error, "its state cannot be read; trying again");
                }
                partition.set_status(Status::Recovering(of_cold(&error)));
                missing.push(one);
            }
        }
        if !missing.is_empty() {
            let _ = tokio::time::timeout(RETRY_EVERY, stop.cancelled()).await;
        }
    }
}

async fn refill(node: &Node, missing: &Missing) -> Result<(), ColdError> {
    let Missing { partition, pointer, found } = missing;
    let state = node.cold.state(partition.id, pointer).await?;
    if state.end > found.end {
        // The journal may have records from before a hole; the bucket has them all.
        node.journal.evict(partition.id, pointer.tiered_end);
    }
    let (log, replica) = build(node, partition.id, found.clone(), Some(pointer), Some(state));
    partition.recovered(log, replica);
    Ok(())
}
