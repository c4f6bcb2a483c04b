//! A store somewhere else, as frontends use it.

use async_trait::async_trait;
use bytes::BytesMut;
use std::time::Duration;
use tidelog_model::{ErrorCode, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tidelog_peer::{
    Ack, Fetch, Fetched, Isolation, ListedOffset, OffsetSpec, PartitionDescription, PartitionStore,
    StoreError,
};
use tidelog_proto::v1;
use tidelog_proto::v1::call::Body;
use tidelog_proto::v1::reply::Body as Reply;

use crate::convert::{BadMessage, partition, partition_message, topic_id_bytes};
use crate::limits::CALL_TIMEOUT_MAX;
use crate::remote::Remote;

#[async_trait]
impl PartitionStore for Remote {
    /// An error in the acknowledgement tells whether the batch left: it does not wait for the store to
    /// give the batch its place, only for its place on the way there.
    async fn produce(&self, partition: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        let lane = self.forward_lane(partition).await?;
        let (sender, ack) = Ack::pending();
        let room = lane.room(batch.len()).await;
        match lane.send(room, partition, batch.freeze(), sender) {
            Ok(()) => Ok(ack),
            Err(_) => Err(ErrorCode::BrokerNotAvailable.into()),
        }
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        let within = self.call_timeout() + fetch.max_wait.unwrap_or(Duration::ZERO);
        let answer =
            self.call(Body::Fetch(partition::fetch_call(&fetch)), within.min(CALL_TIMEOUT_MAX)).await?;
        match answer.body {
            // The bytes are the caller's from here on, and so is counting them.
            Reply::Fetch(reply) => {
                partition::fetched(reply, answer.payload).map_err(|bad| self.bad(bad).into())
            }
            _ => Err(self.bad(BadMessage("answer")).into()),
        }
    }

    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        let body = Body::ListOffset(partition::list_offset_call(partition, spec, isolation));
        match self.ask(body).await? {
            Reply::ListOffset(reply) => Ok(partition::listed(&reply)),
            _ => Err(self.bad(BadMessage("answer")).into()),
        }
    }

    async fn describe(&self, id: TopicPartition) -> Result<PartitionDescription, StoreError> {
        let call = v1::DescribeCall { partition: Some(partition_message(id)) };
        match self.ask(Body::Describe(call)).await? {
            Reply::Describe(reply) => partition::description(id, &reply).map_err(|bad| self.bad(bad).into()),
            _ => Err(self.bad(BadMessage("answer")).into()),
        }
    }

    /// As long as it takes: the caller sets the time by dropping the future.
    async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        let call = v1::TopicCall { topic_id: topic_id_bytes(topic) };
        Ok(self.tell(Body::Offload(call), CALL_TIMEOUT_MAX).await?)
    }

    async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        let call = v1::TopicCall { topic_id: topic_id_bytes(topic) };
        Ok(self.tell(Body::Evict(call), self.call_timeout()).await?)
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        match self.ask(Body::InitProducer(v1::EmptyCall {})).await? {
            Reply::InitProducer(reply) => partition::producer(reply).map_err(|bad| self.bad(bad).into()),
            _ => Err(self.bad(BadMessage("answer")).into()),
        }
    }
}
