//! The operator as other processes know it.

use async_trait::async_trait;
use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, Elected, NODES_PER_PAGE_MAX, NodeStatus, Page, PartitionQuery,
    PartitionStatus, Reassignment, StoreError,
};

use super::Operator;

/// Every method is the inherent one of the same name, with errors as they travel.
#[async_trait]
impl ClusterAdmin for Operator {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        Ok(Self::status(self).await?)
    }

    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError> {
        let mut items = Self::nodes(self).await?;
        items.retain(|status| after.is_none_or(|after| status.node > after));
        let limit = match limit {
            0 => NODES_PER_PAGE_MAX,
            stated => stated.min(NODES_PER_PAGE_MAX),
        };
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }

    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        Ok(Self::partitions(self, query).await?)
    }

    async fn drain(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(Self::drain(self, node).await?)
    }

    async fn decommission(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(Self::decommission(self, node).await?)
    }

    async fn undrain(&self, node: NodeId) -> Result<(), StoreError> {
        Ok(Self::undrain(self, node).await?)
    }

    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError> {
        Ok(Self::reassign(self, moves).await?)
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        Ok(Self::rebalance(self).await?)
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        Ok(Self::elect_unclean(self, partitions).await?)
    }

    async fn set_replication_factor(&self, topic: TopicId, replicas: u32) -> Result<(), StoreError> {
        Ok(Self::set_replication_factor(self, topic, replicas).await?)
    }

    async fn add_partitions(&self, topic: TopicId, partitions: u32) -> Result<(), StoreError> {
        Ok(Self::add_partitions(self, topic, partitions).await?)
    }
}
