//! What a partition's replica asks of the world beyond this store's journal.

use std::sync::{Arc, Weak};

use tidelog_format::state::EpochEntry;
use tidelog_model::{LeaderEpoch, NodeId, Offset, TopicPartition};
use tidelog_replica::{
    Ack, Alarm, Attempt, Generation, Lead, Pushed, Refusal, ReplicaId, Span, StepDownReason, Ticket,
};

use super::Partition;
use crate::node::Node;
use crate::records;

/// Carries out what a replica asks for. Calls are made under the partition's lock: none may wait, or call
/// the partition back before it returns.
pub(crate) trait Outside: Send + Sync {
    fn send_lead(&self, to: NodeId, partition: TopicPartition, lead: Lead);
    /// What cannot be sent is sent later, or the peer is reported gone.
    fn push(&self, to: NodeId, partition: TopicPartition, attempt: Attempt, from: Offset, up_to: Offset);
    fn send_beat(&self, to: NodeId, partition: TopicPartition, beat: Pushed);
    fn send_ack(&self, to: NodeId, partition: TopicPartition, ack: Ack);
    fn send_refusal(&self, to: NodeId, partition: TopicPartition, refusal: Refusal);

    /// Answered with [`Event::IsrChange`](tidelog_replica::Event::IsrChange).
    fn propose_isr(&self, partition: &Arc<Partition>, proposal: Proposal);
    /// Answered with an [`Event::Observed`](tidelog_replica::Event::Observed) of a read that begins now.
    fn read_back(&self, partition: &Arc<Partition>);
    /// Answered with [`Event::Tiered`](tidelog_replica::Event::Tiered).
    fn read_tiered(&self, partition: &Arc<Partition>);
    /// Answered with [`Partition::begin_anew`].
    fn reset(&self, partition: &Arc<Partition>, reset: Reset);
    /// Answered, when what is held differs, with
    /// [`Event::OtherBytes`](tidelog_replica::Event::OtherBytes).
    fn compare(&self, partition: &Arc<Partition>, span: Span);

    /// The bucket has everything below: the journal may let it go.
    fn covered(&self, partition: TopicPartition, tiered_end: Offset);

    /// The pointer is to be read and told with [`Partition::found_pointer`].
    fn became_leader(&self, partition: &Arc<Partition>, epoch: LeaderEpoch);
    fn stepped_down(&self, partition: TopicPartition, epoch: LeaderEpoch, reason: StepDownReason);
    /// The replica stops, or declines to lead under that epoch.
    fn raise(&self, partition: TopicPartition, epoch: LeaderEpoch, alarm: Alarm);
}

/// A change of an ISR that a leader wants.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) ticket: Ticket,
    /// The record must still have this revision.
    pub(crate) revision: u64,
    pub(crate) isr: Vec<ReplicaId>,
}

/// A local log that is to begin anew where the bucket ends.
#[derive(Clone, Debug)]
pub(crate) struct Reset {
    pub(crate) to: Offset,
    pub(crate) generation: Generation,
    pub(crate) history: Vec<EpochEntry>,
}

/// No other stores: the only replica of each partition leads it for as long as it lives.
pub(crate) struct Alone {
    /// The node owns its partitions, which call it back. Of one that is no more nothing is asked.
    pub(crate) node: Weak<Node>,
}

impl Outside for Alone {
    fn send_lead(&self, _: NodeId, _: TopicPartition, _: Lead) {}
    fn push(&self, _: NodeId, _: TopicPartition, _: Attempt, _: Offset, _: Offset) {}
    fn send_beat(&self, _: NodeId, _: TopicPartition, _: Pushed) {}
    fn send_ack(&self, _: NodeId, _: TopicPartition, _: Ack) {}
    fn send_refusal(&self, _: NodeId, _: TopicPartition, _: Refusal) {}
    fn propose_isr(&self, _: &Arc<Partition>, _: Proposal) {}
    fn read_back(&self, partition: &Arc<Partition>) {
        if let Some(node) = self.node.upgrade() {
            tokio::spawn(records::read_back(node, Arc::clone(partition)));
        }
    }
    fn read_tiered(&self, _: &Arc<Partition>) {}
    fn reset(&self, _: &Arc<Partition>, _: Reset) {}
    fn compare(&self, _: &Arc<Partition>, _: Span) {}
    fn covered(&self, partition: TopicPartition, tiered_end: Offset) {
        if let Some(node) = self.node.upgrade() {
            node.journal.set_covered(partition, tiered_end);
        }
    }
    fn became_leader(&self, _: &Arc<Partition>, _: LeaderEpoch) {}
    fn stepped_down(&self, partition: TopicPartition, epoch: LeaderEpoch, reason: StepDownReason) {
        tracing::warn!(%partition, %epoch, ?reason, "the partition has no leader any more");
    }
    fn raise(&self, partition: TopicPartition, _: LeaderEpoch, alarm: Alarm) {
        tracing::error!(%partition, %alarm, "a replica raises an alarm");
    }
}
