//! Another process as the controller that it may be.

use async_trait::async_trait;
use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, Elected, NodeStatus, Page, PartitionQuery, PartitionStatus, Reassignment,
    StoreError,
};
use tidelog_proto::v1;
use tidelog_proto::v1::call::Body;
use tidelog_proto::v1::reply::Body as Reply;

use super::Remote;
use crate::convert::{BadMessage, Converted, cluster};

impl Remote {
    fn understood<T>(&self, converted: Converted<T>) -> Result<T, StoreError> {
        converted.map_err(|bad| self.bad(bad).into())
    }

    async fn command(&self, body: Body) -> Result<(), StoreError> {
        Ok(self.tell(body, self.call_timeout()).await?)
    }
}

#[async_trait]
impl ClusterAdmin for Remote {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        match self.ask(Body::ClusterStatus(v1::ClusterStatusRequest {})).await? {
            Reply::ClusterStatus(reply) => Ok(cluster::status(reply)),
            _ => self.understood(Err(BadMessage("answer"))),
        }
    }

    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError> {
        match self.ask(Body::Nodes(cluster::nodes_call(after, limit))).await? {
            Reply::Nodes(reply) => self.understood(cluster::nodes_page(reply)),
            _ => self.understood(Err(BadMessage("answer"))),
        }
    }

    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        match self.ask(Body::Partitions(cluster::partitions_call(query))).await? {
            Reply::Partitions(reply) => self.understood(cluster::partitions_page(reply)),
            _ => self.understood(Err(BadMessage("answer"))),
        }
    }

    async fn drain(&self, node: NodeId) -> Result<(), StoreError> {
        self.command(Body::DrainNode(v1::DrainNodeRequest { node: node.0, decommission: false })).await
    }

    async fn decommission(&self, node: NodeId) -> Result<(), StoreError> {
        self.command(Body::DrainNode(v1::DrainNodeRequest { node: node.0, decommission: true })).await
    }

    async fn undrain(&self, node: NodeId) -> Result<(), StoreError> {
        self.command(Body::UndrainNode(v1::UndrainNodeRequest { node: node.0 })).await
    }

    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError> {
        self.command(Body::Reassign(cluster::reassign_call(moves))).await
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        match self.ask(Body::Rebalance(v1::RebalanceRequest {})).await? {
            Reply::Rebalance(reply) => Ok(reply.leaderships),
            _ => self.understood(Err(BadMessage("answer"))),
        }
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        match self.ask(Body::ElectUnclean(cluster::elect_call(&partitions))).await? {
            Reply::ElectUnclean(reply) => self.understood(cluster::elected(reply)),
            _ => self.understood(Err(BadMessage("answer"))),
        }
    }

    async fn set_replication_factor(&self, topic: TopicId, replicas: u32) -> Result<(), StoreError> {
        self.command(Body::SetReplicationFactor(cluster::count_call(topic, replicas))).await
    }

    async fn add_partitions(&self, topic: TopicId, partitions: u32) -> Result<(), StoreError> {
        self.command(Body::AddPartitions(cluster::count_call(topic, partitions))).await
    }
}
