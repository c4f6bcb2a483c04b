//! What comes from the other stores, brought to the partitions that it is about.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tidelog_format::batch;
use tidelog_link::Replicas;
use tidelog_model::{NodeId, Offset, TopicPartition};
use tidelog_replica::{Ack, Attempt, Event, Lead, Pushed, Refusal, Role};

use crate::node::Node;
use crate::partition::Partition;
use crate::partition::feed::announced;
use crate::partition::step::NoSink;
use crate::rot;

/// This store's replicas, as the mesh calls them.
pub(super) struct Hosted(pub(super) Weak<Node>);

impl Hosted {
    /// A partition that is not known here yet is not followed or led yet: its leader asks again.
    fn partition(&self, id: TopicPartition) -> Option<(Arc<Node>, Arc<Partition>)> {
        let node = self.0.upgrade()?;
        let partition = node.catalog.partition(id).ok()?;
        Some((node, partition))
    }

    fn tell(&self, id: TopicPartition, event: Event) {
        if let Some((_, partition)) = self.partition(id) {
            partition.step(event, None, &mut NoSink);
        }
    }

    /// Tells every partition that this store leads.
    fn tell_leaders(&self, event: &Event) {
        let Some(node) = self.0.upgrade() else { return };
        for partition in node.catalog.partitions() {
            if matches!(partition.role(), Role::Leading { .. }) {
                partition.step(event.clone(), None, &mut NoSink);
            }
        }
    }
}

#[async_trait]
impl Replicas for Hosted {
    fn follower_here(&self, node: NodeId) {
        self.tell_leaders(&Event::FollowerHere { node });
    }

    fn follower_gone(&self, node: NodeId) {
        self.tell_leaders(&Event::FollowerGone { node });
    }

    fn on_ack(&self, partition: TopicPartition, ack: Ack) {
        self.tell(partition, Event::Ack(ack));
    }

    fn on_refusal(&self, partition: TopicPartition, refusal: Refusal) {
        self.tell(partition, Event::Refusal(refusal));
    }

    async fn batches(
        &self,
        partition: TopicPartition,
        attempt: Attempt,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
    ) -> Vec<(Pushed, Bytes)> {
        let Some((node, partition)) = self.partition(partition) else { return Vec::new() };
        match partition.batches(&node.journal, attempt, from, up_to, max_bytes).await {
            Ok(batches) => batches,
            Err(error) => {
                tracing::warn!(partition = %partition.id, %from, %error, "a follower cannot be sent records");
                let _ = rot::found(&node, &partition, &error).await;
                Vec::new()
            }
        }
    }

    async fn on_lead(&self, partition: TopicPartition, lead: Lead) {
        let Some((node, partition)) = self.partition(partition) else { return };
        partition.feed(&node.journal, Event::Lead(lead), None, node.clock.now()).await;
    }

    async fn on_pushed(&self, partition: TopicPartition, pushed: Pushed, bytes: Option<Bytes>) {
        let Some((node, partition)) = self.partition(partition) else { return };
        let now = node.clock.now();
        let batch = match (pushed.span, bytes) {
            (None, _) => None,
            (Some(span), Some(bytes)) => {
                let verified = batch::verify(&bytes);
                let batch = verified.ok().and_then(|header| announced(header, span, bytes, now));
                if batch.is_none() {
                    // Not taken: the leader finds it missing and sends it again.
                    tracing::warn!(partition = %partition.id, ?span, "a leader pushed other bytes than it announced");
                    return;
                }
                batch
            }
            (Some(_), None) => return,
        };
        partition.feed(&node.journal, Event::Pushed(pushed), batch, now).await;
    }
}
