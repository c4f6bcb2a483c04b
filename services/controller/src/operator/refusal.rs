//! Why a command was not carried out.

use thiserror::Error;
use tidelog_meta::MetaError;
use tidelog_model::{ConfigError, ErrorCode, NodeId, TopicName, TopicPartition};
use tidelog_peer::StoreError;

/// A command that was not carried out, or whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("this store is not the cluster's controller{}", which(*.controller))]
    NotController { controller: Option<NodeId> },
    #[error("the controller is stopping; ask again")]
    Stopping,
    #[error("the answer was lost; look at the status before asking again")]
    OutcomeUnknown,
    #[error("only a part of it was carried out; look at the status before asking again")]
    InPart,
    #[error("the metadata changed at the same moment; ask again")]
    Conflict,
    #[error(transparent)]
    Metadata(#[from] MetaError),

    #[error("there is no node {0}")]
    UnknownNode(NodeId),
    #[error("there is no such topic")]
    UnknownTopic,
    #[error("there is no partition {0}")]
    UnknownPartition(TopicPartition),
    #[error("node {0} is not alive")]
    NodeDown(NodeId),
    #[error("node {0} is being drained or decommissioned")]
    NodeLeaving(NodeId),
    #[error("node {0} runs no store")]
    NoStore(NodeId),

    #[error("{wanted} replicas are wanted, and {stores} stores can take them")]
    TooFewStores { wanted: usize, stores: usize },
    #[error("a replication factor of {replicas} is below min.insync.replicas, which is {floor}")]
    BelowFloor { replicas: u32, floor: u32 },
    #[error("a partition has at least one replica")]
    NoReplicas,
    #[error("a partition has at most {most} replicas, {asked} are asked for")]
    TooManyReplicas { asked: u32, most: u32 },
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(
        "node {node} has the last in-sync replica that is alive of {partition}{}; \
         raise the replication factor or move it first", and_others(*.others)
    )]
    LastReplica { node: NodeId, partition: TopicPartition, others: usize },

    #[error("node {node} is named twice for {partition}")]
    NamedTwice { partition: TopicPartition, node: NodeId },
    #[error("{0} is named twice in one command")]
    MovedTwice(TopicPartition),
    #[error("the topic of {partition} has {wanted} replicas a partition, {named} nodes are named")]
    WrongCount { partition: TopicPartition, wanted: u32, named: usize },
    #[error("{0} is being changed; ask again")]
    Busy(TopicPartition),
    #[error("{named} partitions in one command, at most {most} are allowed")]
    TooMany { named: usize, most: usize },

    #[error("{0} has a leader that works")]
    HasLeader(TopicPartition),
    #[error("an in-sync replica of {partition} is alive on node {node}: no record needs to be lost")]
    InSyncAlive { partition: TopicPartition, node: NodeId },
    #[error("no replica of {0} answers")]
    NobodyAnswers(TopicPartition),

    #[error("the topic has {current} partitions; their number can only grow, {asked} are asked for")]
    NotMore { current: u32, asked: u32 },
    #[error("a topic has 1 to {most} partitions, {asked} are asked for")]
    Partitions { asked: u32, most: u32 },
    #[error("topic {0} already exists")]
    TopicExists(TopicName),
}

fn which(controller: Option<NodeId>) -> String {
    controller.map_or_else(String::new, |node| format!("; node {node} is"))
}

fn and_others(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and of {others} other partitions") }
}

impl Refusal {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotController { .. } => ErrorCode::NotController,
            Self::Stopping => ErrorCode::ShuttingDown,
            Self::OutcomeUnknown | Self::InPart => ErrorCode::RequestTimedOut,
            Self::Conflict | Self::Busy(_) => ErrorCode::ThrottlingQuotaExceeded,
            Self::Metadata(error) if !error.has_no_side_effects() => ErrorCode::RequestTimedOut,
            Self::Metadata(error) if error.is_retryable() => ErrorCode::ThrottlingQuotaExceeded,
            Self::Metadata(_) => ErrorCode::Internal,
            Self::UnknownTopic | Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Self::TooFewStores { .. }
            | Self::BelowFloor { .. }
            | Self::NoReplicas
            | Self::TooManyReplicas { .. } => ErrorCode::InvalidReplicationFactor,
            Self::Settings(_) => ErrorCode::InvalidConfig,
            Self::NamedTwice { .. }
            | Self::MovedTwice(_)
            | Self::WrongCount { .. }
            | Self::NodeDown(_)
            | Self::NodeLeaving(_) => ErrorCode::InvalidReplicaAssignment,
            Self::NotMore { .. } | Self::Partitions { .. } => ErrorCode::InvalidPartitions,
            Self::TopicExists(_) => ErrorCode::TopicAlreadyExists,
            Self::UnknownNode(_)
            | Self::NoStore(_)
            | Self::LastReplica { .. }
            | Self::TooMany { .. }
            | Self::HasLeader(_)
            | Self::InSyncAlive { .. }
            | Self::NobodyAnswers(_) => ErrorCode::InvalidRequest,
        }
    }

    /// The same command may be taken later without anyone changing it.
    pub fn is_retryable(&self) -> bool {
        self.code().is_retryable()
    }

    /// The command certainly changed nothing.
    pub fn has_no_side_effects(&self) -> bool {
        self.code().has_no_side_effects()
    }
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
