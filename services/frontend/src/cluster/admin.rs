//! An operator's calls, carried to the controller, whoever that is.

use async_trait::async_trait;
use tidelog_link::Remote;
use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, Elected, NodeStatus, Page, PartitionQuery, PartitionStatus, Reassignment,
    StoreError,
};

use super::Router;
use super::topics::Time;

impl Router {
    async fn order<T, F>(&self, what: &str, call: impl Fn(Remote) -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let time = Time::new(self.core.options.call_timeout);
        self.core.ask_controller(what, &time, call).await
    }
}

#[async_trait]
impl ClusterAdmin for Router {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        self.order("the status", async |remote: Remote| ClusterAdmin::status(&remote).await).await
    }

    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError> {
        self.order("the list of nodes", async |remote: Remote| remote.nodes(after, limit).await).await
    }

    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        let list = async |remote: Remote| ClusterAdmin::partitions(&remote, query).await;
        self.order("the list of partitions", list).await
    }

    async fn drain(&self, node: NodeId) -> Result<(), StoreError> {
        self.order("the drain", async |remote: Remote| remote.drain(node).await).await
    }

    async fn decommission(&self, node: NodeId) -> Result<(), StoreError> {
        self.order("the decommission", async |remote: Remote| remote.decommission(node).await).await
    }

    async fn undrain(&self, node: NodeId) -> Result<(), StoreError> {
        self.order("the end of the drain", async |remote: Remote| remote.undrain(node).await).await
    }

    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError> {
        self.order("the reassignment", async |remote: Remote| remote.reassign(moves.clone()).await).await
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        self.order("the rebalance", async |remote: Remote| remote.rebalance().await).await
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        let elect = async |remote: Remote| remote.elect_unclean(partitions.clone()).await;
        self.order("the unclean election", elect).await
    }

    async fn set_replication_factor(&self, topic: TopicId, replicas: u32) -> Result<(), StoreError> {
        let set = async |remote: Remote| remote.set_replication_factor(topic, replicas).await;
        self.order("the change of the replication factor", set).await
    }

    async fn add_partitions(&self, topic: TopicId, partitions: u32) -> Result<(), StoreError> {
        let add = async |remote: Remote| remote.add_partitions(topic, partitions).await;
        self.order("the addition of partitions", add).await?;
        // The same frontend shows them from now on.
        let seen = self.core.once(|image| {
            image.topic(topic).is_none_or(|record| record.partitions >= partitions).then_some(())
        });
        let time = Time::new(self.core.options.call_timeout);
        let _ = tokio::time::timeout_at(time.deadline, seen).await;
        Ok(())
    }
}
