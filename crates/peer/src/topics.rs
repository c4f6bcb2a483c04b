//! The calls on topics as a whole.

use async_trait::async_trait;
use tidelog_model::limits::{PARTITIONS_PER_TOPIC_MAX, REPLICATION_FACTOR_MAX};
use tidelog_model::{ErrorCode, TimestampMs, TopicConfig, TopicId, TopicName};

use crate::StoreError;

/// The topics of a cluster.
#[async_trait]
pub trait Topics: Send + Sync {
    /// Creates a topic; when this returns, every partition can be written to.
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError>;

    /// Changes settings; an empty value means the default.
    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError>;

    /// Deletes a topic. Its records are gone for clients at once; its objects in the bucket are marked
    /// as deleted and collected later.
    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError>;

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError>;

    /// Every topic, ordered by name.
    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError>;
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    pub name: String,
    pub partitions: u32,
    /// How many replicas each partition gets; `None` for the cluster's default: three, or as many as
    /// there are stores when there are fewer.
    pub replication_factor: Option<u32>,
    /// Settings in Kafka's names that differ from the defaults.
    pub config: Vec<(String, String)>,
}

/// A topic to be created, every part of which is valid by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: TopicName,
    pub partitions: u32,
    /// As in [`CreateTopic`].
    pub replication_factor: Option<u32>,
    pub config: TopicConfig,
}

impl CreateTopic {
    /// What can be said of a request without knowing the cluster. Settings are refused all at once.
    pub fn check(&self) -> Result<NewTopic, StoreError> {
        let name = TopicName::new(&self.name)
            .map_err(|error| StoreError::new(ErrorCode::InvalidTopic, error.to_string()))?;
        let partitions = self.partitions;
        if partitions == 0 || partitions > PARTITIONS_PER_TOPIC_MAX {
            let message =
                format!("a topic has 1 to {PARTITIONS_PER_TOPIC_MAX} partitions, {partitions} are asked for");
            return Err(StoreError::new(ErrorCode::InvalidPartitions, message));
        }
        let settings = self.config.iter().map(|(key, value)| (key, value));
        let config =
            TopicConfig::default().with(settings).map_err(|problems| StoreError::of_settings(&problems))?;
        if let Some(replicas) = self.replication_factor {
            check_replication_factor(replicas)?;
            config.check_replicas(replicas).map_err(|error| StoreError::of_settings(&[error]))?;
        }
        Ok(NewTopic { name, partitions, replication_factor: self.replication_factor, config })
    }
}

/// Refuses a replication factor that no topic can have.
pub fn check_replication_factor(replicas: u32) -> Result<(), StoreError> {
    if (1..=REPLICATION_FACTOR_MAX).contains(&replicas) {
        return Ok(());
    }
    let message = format!("a replication factor is 1 to {REPLICATION_FACTOR_MAX}, not {replicas}");
    Err(StoreError::new(ErrorCode::InvalidReplicationFactor, message))
}

/// A topic by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicRef {
    Name(String),
    Id(TopicId),
}

impl From<TopicId> for TopicRef {
    fn from(id: TopicId) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for TopicRef {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub id: TopicId,
    pub name: TopicName,
    pub partitions: u32,
    /// How many replicas each partition is meant to have.
    pub replication_factor: u32,
    pub config: TopicConfig,
    pub created: TimestampMs,
}
