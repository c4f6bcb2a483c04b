//! The topics of a cluster, as a store of it serves them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tidelog_peer::{CreateTopic, StoreError, TopicInfo, TopicRef, Topics};

use super::Operator;

/// Creating is the controller's: it alone places replicas. A store that is not the controller refuses it
/// and says who is. Everything else changes one record or none, and any store does it.
#[derive(Clone)]
pub struct ClusterTopics {
    operator: Operator,
    store: Arc<dyn Topics>,
}

impl ClusterTopics {
    pub fn new(operator: Operator, store: Arc<dyn Topics>) -> Self {
        Self { operator, store }
    }
}

#[async_trait]
impl Topics for ClusterTopics {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        Ok(self.operator.create_topic(request.check()?).await?)
    }

    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        self.store.alter(topic, changes).await
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        self.store.delete(topic).await
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        self.store.get(topic).await
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        self.store.list().await
    }
}

impl fmt::Debug for ClusterTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterTopics").field("operator", &self.operator).finish_non_exhaustive()
    }
}
