//! Where records are, and moving them there now.

use futures::{StreamExt, stream};
use tidelog_model::{PartitionId, TopicPartition};
use tidelog_proto::v1;

use super::CONCURRENT_MAX;
use crate::edge::{Edge, id_bytes};
use crate::error;

/// Most partitions in one answer.
const PAGE_MAX: u32 = 2_000;

pub(super) async fn describe(
    request: v1::DescribeStorageRequest,
    edge: &Edge,
) -> Result<v1::DescribeStorageResponse, v1::Error> {
    let topic = edge.topic(request.topic).await?;
    let limit = match request.limit {
        0 => PAGE_MAX,
        stated => stated.min(PAGE_MAX),
    };
    let first = request.first_partition.min(topic.partitions);
    let end = first.saturating_add(limit).min(topic.partitions);
    let partitions = stream::iter(first..end)
        .map(|partition| one(TopicPartition::new(topic.id, PartitionId(partition)), edge))
        .buffered(CONCURRENT_MAX)
        .collect()
        .await;
    Ok(v1::DescribeStorageResponse { topic_id: id_bytes(topic.id), partitions, more: end < topic.partitions })
}

async fn one(partition: TopicPartition, edge: &Edge) -> v1::PartitionStorage {
    let number = partition.partition.0;
    match edge.store.describe(partition).await {
        Ok(described) => v1::PartitionStorage {
            partition: number,
            log_start: described.marks.log_start.0,
            local_start: described.marks.local_start.0,
            tiered_end: described.marks.tiered_end.0,
            last_stable: described.marks.last_stable.0,
            high_watermark: described.marks.high_watermark.0,
            log_end: described.marks.log_end.0,
            local_bytes: described.local_bytes,
            bucket_bytes: described.bucket_bytes,
            segments: described.segments,
            untiered_bytes: described.untiered_bytes,
            untiered_ms: described.untiered_ms,
            error: None,
        },
        Err(error) => v1::PartitionStorage {
            partition: number,
            error: Some(error::of_store(error)),
            ..v1::PartitionStorage::default()
        },
    }
}

pub(super) async fn offload(
    request: v1::OffloadRequest,
    edge: &Edge,
) -> Result<v1::OffloadResponse, v1::Error> {
    let topic = edge.topic(request.topic).await?;
    edge.store.offload(topic.id).await.map_err(error::of_store)?;
    Ok(v1::OffloadResponse { topic_id: id_bytes(topic.id), partitions: topic.partitions })
}

pub(super) async fn evict(request: v1::EvictRequest, edge: &Edge) -> Result<v1::EvictResponse, v1::Error> {
    let topic = edge.topic(request.topic).await?;
    edge.store.evict(topic.id).await.map_err(error::of_store)?;
    Ok(v1::EvictResponse { topic_id: id_bytes(topic.id), partitions: topic.partitions })
}
