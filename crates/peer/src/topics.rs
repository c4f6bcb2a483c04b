//! The calls on topics as a whole.

use async_trait::async_trait;
use tidelog_model::{TimestampMs, TopicConfig, TopicId, TopicName};

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
    /// Settings in Kafka's names that differ from the defaults.
    pub config: Vec<(String, String)>,
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
    pub config: TopicConfig,
    pub created: TimestampMs,
}
