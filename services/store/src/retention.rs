//! Dropping local copies of what is in the bucket, where a topic asks for it sooner than the hot tier's
//! budget does.

use std::sync::Arc;
use std::time::Duration;

use tidelog_journal::{Local, ReadError};
use tidelog_model::{Offset, TimestampMs, TopicConfig};
use tidelog_runtime::CancellationToken;
use tokio::time::MissedTickBehavior;

use crate::node::Node;
use crate::partition::Partition;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Applies `local.retention.bytes` and `local.retention.ms` until cancelled.
pub(crate) async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        for partition in node.catalog.partitions() {
            if stop.is_cancelled() {
                return;
            }
            apply(&node, &partition).await;
        }
    }
}

async fn apply(node: &Node, partition: &Partition) {
    let config = partition.topic.config();
    if config.local_retention_bytes < 0 && config.local_retention_ms < 0 {
        return;
    }
    let (Some(pointer), Some(local)) = (partition.pointer(), node.journal.local(partition.id)) else {
        return;
    };
    if local.start >= pointer.tiered_end {
        return;
    }
    let by_size = beyond_size(&local, &config);
    let by_age = match beyond_age(node, partition, &local, pointer.tiered_end, &config).await {
        Ok(below) => below,
        Err(error) => {
            tracing::warn!(partition = %partition.id, %error, "local retention by age cannot be applied");
            None
        }
    };
    // Never more than what is in the bucket.
    let below = by_size.max(by_age).map(|below| below.min(pointer.tiered_end));
    if let Some(below) = below.filter(|below| *below > local.start) {
        node.journal.evict(partition.id, below);
    }
}

/// The offset below which the partition has more than `local.retention.bytes`, taking its batches to be
/// of one size.
fn beyond_size(local: &Local, config: &TopicConfig) -> Option<Offset> {
    let kept = u64::try_from(config.local_retention_bytes).ok()?;
    let surplus = local.bytes.checked_sub(kept)?;
    let offsets = u128::from(local.end.since(local.start));
    let below = offsets * u128::from(surplus) / u128::from(local.bytes.max(1));
    Some(local.start + u64::try_from(below).expect("a part of the offsets there are"))
}

/// The offset of the first batch with a record younger than `local.retention.ms`.
async fn beyond_age(
    node: &Node,
    partition: &Partition,
    local: &Local,
    tiered_end: Offset,
    config: &TopicConfig,
) -> Result<Option<Offset>, ReadError> {
    if config.local_retention_ms < 0 {
        return Ok(None);
    }
    let oldest = TimestampMs(node.clock.now().0.saturating_sub(config.local_retention_ms));
    let young = node.journal.find_timestamp(partition.id, oldest, local.start, tiered_end).await?;
    let header = young.and_then(|batch| tidelog_format::batch::header(&batch).ok());
    Ok(Some(header.map_or(tiered_end, |header| header.base_offset)))
}
