//! The topics of the cluster: their records in the metadata store, their descriptors in the bucket, and
//! their partitions in memory.

pub(crate) mod alter;
pub(crate) mod catalog;
pub(crate) mod create;
pub(crate) mod scribe;

use std::sync::Arc;

use async_trait::async_trait;
use tidelog_model::TopicId;
use tidelog_peer::{CreateTopic, StoreError, TopicInfo, TopicRef, Topics};
use tidelog_replica::Origin;

use self::catalog::Topic;
use crate::boot::recovery::RecoveredLog;
use crate::boot::replica;
use crate::partition::Status;
use crate::records;
use crate::store::Store;
use crate::tiered::Tiered;

#[async_trait]
impl Topics for Store {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        let node = &self.node;
        let valid = create::check(&request)?;
        let id = TopicId(uuid::Uuid::new_v4());
        let now = node.clock.now();
        let created = match create::create(&node.meta, id, &valid, node.identity.leader, now).await {
            Ok(created) => created,
            Err(error) => {
                // Whatever was begun is cleared away; a topic that is alive after all is left alone.
                node.scribe.bury(id, false);
                return Err(error);
            }
        };
        let topic = Topic::new(id, &created.record, created.revision);
        let mut partitions = Vec::new();
        for (id, (record, revision)) in catalog::ids(&topic).zip(created.partitions) {
            let (partition, _) =
                replica::open(node, &topic, id, RecoveredLog::default(), Some(Tiered::stored(None)), None);
            partitions.push((partition, record, revision));
        }
        let info = topic.info();
        node.catalog.insert(topic, partitions.iter().map(|(partition, ..)| Arc::clone(partition)));
        // A checkpoint that comes now has the partitions already.
        for (partition, record, revision) in partitions {
            records::observe(&node.journal, &partition, &record, revision, Origin::Read, now).await;
        }
        node.scribe.describe(id);
        tracing::info!(topic = %info.name, %id, partitions = info.partitions, "topic created");
        Ok(info)
    }

    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        let topic = self.node.catalog.topic(&topic)?;
        let (record, revision) = alter::alter(&self.node.meta, topic.id, &changes).await?;
        topic.change(&record, revision);
        self.node.scribe.describe(topic.id);
        Ok(topic.info())
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        let node = &self.node;
        let topic = node.catalog.topic(&topic)?;
        alter::delete(&node.meta, topic.id, node.clock.now()).await?;
        for partition in node.catalog.remove(topic.id) {
            partition.set_status(Status::Deleted);
        }
        node.journal.remove(topic.id);
        node.scribe.bury(topic.id, true);
        tracing::info!(topic = %topic.name, id = %topic.id, "topic deleted");
        Ok(())
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        Ok(self.node.catalog.topic(&topic)?.info())
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        Ok(self.node.catalog.topics().iter().map(|topic| topic.info()).collect())
    }
}
