//! What replicas ask for, carried to the other stores and to the metadata store.

use std::future::Future;
use std::sync::{Arc, Weak};

use tidelog_link::Mesh;
use tidelog_model::{LeaderEpoch, NodeId, Offset, TopicPartition};
use tidelog_replica::{Ack, Alarm, Attempt, Lead, Pushed, Refusal, Span, StepDownReason};
use tidelog_runtime::Supervisor;

use super::isr::IsrChanges;
use super::jobs;
use super::pointers::PointerReads;
use super::resigned::Resigned;
use crate::node::Node;
use crate::partition::Partition;
use crate::partition::outside::{Outside, Proposal, Reset};
use crate::records;

/// The rest of the cluster, as replicas see it.
pub(super) struct Together {
    pub(super) node: Weak<Node>,
    pub(super) mesh: Mesh,
    pub(super) isr: Arc<IsrChanges>,
    pub(super) pointers: Arc<PointerReads>,
    pub(super) resigned: Arc<Resigned>,
    pub(super) tasks: Supervisor,
}

impl Together {
    fn spawn<F>(&self, name: &'static str, job: impl FnOnce(Arc<Node>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(node) = self.node.upgrade() {
            self.tasks.spawn_until_cancelled(name, job(node));
        }
    }
}

impl Outside for Together {
    fn send_lead(&self, to: NodeId, partition: TopicPartition, lead: Lead) {
        self.mesh.lead(to, partition, lead);
    }

    fn push(&self, to: NodeId, partition: TopicPartition, attempt: Attempt, from: Offset, up_to: Offset) {
        self.mesh.push(to, partition, attempt, from, up_to);
    }

    fn send_beat(&self, to: NodeId, partition: TopicPartition, beat: Pushed) {
        self.mesh.beat(to, partition, beat);
    }

    fn send_ack(&self, to: NodeId, partition: TopicPartition, ack: Ack) {
        self.mesh.ack(to, partition, ack);
    }

    fn send_refusal(&self, to: NodeId, partition: TopicPartition, refusal: Refusal) {
        self.mesh.refuse(to, partition, refusal);
    }

    fn propose_isr(&self, partition: &Arc<Partition>, proposal: Proposal) {
        self.isr.propose(Arc::clone(partition), proposal);
    }

    fn read_back(&self, partition: &Arc<Partition>) {
        let partition = Arc::clone(partition);
        self.spawn("read-back", |node| records::read_back(node, partition));
    }

    fn read_tiered(&self, partition: &Arc<Partition>) {
        let (partition, stop) = (Arc::clone(partition), self.tasks.token());
        self.spawn("read-tiered", |node| jobs::read_tiered(node, partition, stop));
    }

    fn reset(&self, partition: &Arc<Partition>, reset: Reset) {
        tracing::info!(partition = %partition.id, to = %reset.to, "the local log begins anew where the bucket ends");
        let (partition, stop) = (Arc::clone(partition), self.tasks.token());
        self.spawn("reset", |node| jobs::reset(node, partition, reset, stop));
    }

    fn compare(&self, partition: &Arc<Partition>, span: Span) {
        let partition = Arc::clone(partition);
        self.spawn("compare", |node| jobs::compare(node, partition, span));
    }

    fn covered(&self, partition: TopicPartition, tiered_end: Offset) {
        if let Some(node) = self.node.upgrade() {
            node.journal.set_covered(partition, tiered_end);
        }
    }

    fn became_leader(&self, partition: &Arc<Partition>, epoch: LeaderEpoch) {
        self.resigned.forget(partition.id);
        self.pointers.want(partition, epoch);
    }

    fn stepped_down(&self, partition: TopicPartition, epoch: LeaderEpoch, reason: StepDownReason) {
        tracing::debug!(%partition, %epoch, ?reason, "leads no more");
        self.resigned.stepped_down(partition, epoch, reason);
    }

    fn raise(&self, partition: TopicPartition, epoch: LeaderEpoch, alarm: Alarm) {
        tracing::error!(%partition, %epoch, %alarm, "a replica raises an alarm; a person has to look");
        // If the record names it, it does not lead: the controller is to name someone else.
        self.resigned.gave_up(partition, epoch);
    }
}
