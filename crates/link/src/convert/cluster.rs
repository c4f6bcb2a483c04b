//! What operators ask of a controller. The messages are those of the public protocol: whoever answers a
//! client with what a controller said uses the same conversions ([`crate::messages`]).

use tidelog_model::{LeaderEpoch, NodeId, PartitionId, TopicId, TopicName, TopicPartition};
use tidelog_peer::{
    ClusterStatus, Elected, NodeState, NodeStatus, Page, PartitionQuery, PartitionState, PartitionStatus,
    Reassignment, TopicRef,
};
use tidelog_proto::v1;

use super::topics::{ref_message, topic_ref};
use super::{BadMessage, Converted, directory, directory_bytes, topic_id, topic_id_bytes};

pub fn status_reply(status: ClusterStatus) -> v1::ClusterStatusResponse {
    let unreadable = |(key, reason)| v1::cluster_status_response::Unreadable { key, reason };
    v1::ClusterStatusResponse {
        controller: status.controller.0,
        nodes: status.nodes,
        nodes_not_up: status.nodes_not_up,
        topics: status.topics,
        partitions: status.partitions,
        offline: status.offline,
        below_floor: status.below_floor,
        under_replicated: status.under_replicated,
        moving: status.moving,
        not_preferred: status.not_preferred,
        unreadable: status.unreadable,
        unreadable_shown: status.unreadable_shown.into_iter().map(unreadable).collect(),
    }
}

pub(crate) fn status(reply: v1::ClusterStatusResponse) -> ClusterStatus {
    let unreadable = reply.unreadable_shown.into_iter().map(|unreadable| (unreadable.key, unreadable.reason));
    ClusterStatus {
        controller: NodeId(reply.controller),
        nodes: reply.nodes,
        nodes_not_up: reply.nodes_not_up,
        topics: reply.topics,
        partitions: reply.partitions,
        offline: reply.offline,
        below_floor: reply.below_floor,
        under_replicated: reply.under_replicated,
        moving: reply.moving,
        not_preferred: reply.not_preferred,
        unreadable: reply.unreadable,
        unreadable_shown: unreadable.collect(),
    }
}

pub(crate) fn nodes_call(after: Option<NodeId>, limit: usize) -> v1::ListNodesRequest {
    v1::ListNodesRequest { after: after.map(|node| node.0), limit: narrow(limit) }
}

pub fn nodes(call: v1::ListNodesRequest) -> (Option<NodeId>, usize) {
    (call.after.map(NodeId), call.limit as usize)
}

pub fn nodes_reply(page: Page<NodeStatus>) -> v1::ListNodesResponse {
    v1::ListNodesResponse { nodes: page.items.into_iter().map(node_message).collect(), more: page.more }
}

pub(crate) fn nodes_page(reply: v1::ListNodesResponse) -> Converted<Page<NodeStatus>> {
    let items = reply.nodes.into_iter().map(node).collect::<Converted<_>>()?;
    Ok(Page { items, more: reply.more })
}

fn node_message(node: NodeStatus) -> v1::NodeStatus {
    let state = match node.state {
        NodeState::Up => v1::NodeState::Up,
        NodeState::Probation => v1::NodeState::Probation,
        NodeState::Slow => v1::NodeState::Slow,
        NodeState::Silent => v1::NodeState::Silent,
        NodeState::Unreadable => v1::NodeState::Unreadable,
        NodeState::Down => v1::NodeState::Down,
    };
    v1::NodeStatus {
        node: node.node.0,
        state: state.into(),
        address: node.address,
        rack: node.rack,
        software: node.software,
        directory: node.directory.map(directory_bytes),
        boot: node.boot,
        draining: node.draining,
        decommissioned: node.decommissioned,
        replicas: node.replicas,
        leads: node.leads,
        bytes: node.bytes,
    }
}

fn node(message: v1::NodeStatus) -> Converted<NodeStatus> {
    let state = match message.state() {
        v1::NodeState::Unspecified => return Err(BadMessage("node state")),
        v1::NodeState::Up => NodeState::Up,
        v1::NodeState::Probation => NodeState::Probation,
        v1::NodeState::Slow => NodeState::Slow,
        v1::NodeState::Silent => NodeState::Silent,
        v1::NodeState::Unreadable => NodeState::Unreadable,
        v1::NodeState::Down => NodeState::Down,
    };
    Ok(NodeStatus {
        node: NodeId(message.node),
        state,
        address: message.address,
        rack: message.rack,
        software: message.software,
        directory: message.directory.as_deref().map(directory).transpose()?,
        boot: message.boot,
        draining: message.draining,
        decommissioned: message.decommissioned,
        replicas: message.replicas,
        leads: message.leads,
        bytes: message.bytes,
    })
}

pub(crate) fn partitions_call(query: PartitionQuery) -> v1::ListPartitionsRequest {
    v1::ListPartitionsRequest {
        topic: query.topic.map(|topic| ref_message(topic.into())),
        problems_only: query.problems_only,
        after: query
            .after
            .map(|id| v1::TopicPartition { topic_id: topic_id_bytes(id.topic), partition: id.partition.0 }),
        limit: narrow(query.limit),
    }
}

/// A query; `topic` is what the caller makes of the topic that is named.
pub fn partitions(call: &v1::ListPartitionsRequest, topic: Option<TopicId>) -> Converted<PartitionQuery> {
    let after =
        |id: &v1::TopicPartition| Ok(TopicPartition::new(topic_id(&id.topic_id)?, PartitionId(id.partition)));
    Ok(PartitionQuery {
        topic,
        problems_only: call.problems_only,
        after: call.after.as_ref().map(after).transpose()?,
        limit: call.limit as usize,
    })
}

pub fn partitions_reply(page: &Page<PartitionStatus>) -> v1::ListPartitionsResponse {
    let partitions = page.items.iter().map(partition_message).collect();
    v1::ListPartitionsResponse { partitions, more: page.more }
}

pub(crate) fn partitions_page(reply: v1::ListPartitionsResponse) -> Converted<Page<PartitionStatus>> {
    let items = reply.partitions.into_iter().map(partition).collect::<Converted<_>>()?;
    Ok(Page { items, more: reply.more })
}

fn partition_message(partition: &PartitionStatus) -> v1::PartitionStatus {
    let state = match partition.state {
        PartitionState::Offline => v1::PartitionState::Offline,
        PartitionState::BelowFloor => v1::PartitionState::BelowFloor,
        PartitionState::UnderReplicated => v1::PartitionState::UnderReplicated,
        PartitionState::Moving => v1::PartitionState::Moving,
        PartitionState::Healthy => v1::PartitionState::Healthy,
    };
    v1::PartitionStatus {
        topic_id: topic_id_bytes(partition.topic),
        topic: partition.name.to_string(),
        partition: partition.partition.0,
        state: state.into(),
        epoch: partition.epoch.0,
        leader: partition.leader.map(|node| node.0),
        replicas_wanted: partition.wanted,
        replicas: numbers(&partition.replicas),
        isr: numbers(&partition.isr),
        adding: numbers(&partition.adding),
        removing: numbers(&partition.removing),
        unclean_epoch: partition.unclean_epoch.map(|epoch| epoch.0),
        bytes: partition.bytes,
    }
}

fn partition(message: v1::PartitionStatus) -> Converted<PartitionStatus> {
    let state = match message.state() {
        v1::PartitionState::Unspecified => return Err(BadMessage("partition state")),
        v1::PartitionState::Offline => PartitionState::Offline,
        v1::PartitionState::BelowFloor => PartitionState::BelowFloor,
        v1::PartitionState::UnderReplicated => PartitionState::UnderReplicated,
        v1::PartitionState::Moving => PartitionState::Moving,
        v1::PartitionState::Healthy => PartitionState::Healthy,
    };
    Ok(PartitionStatus {
        topic: topic_id(&message.topic_id)?,
        name: TopicName::new(&message.topic).map_err(|_| BadMessage("topic name"))?,
        partition: PartitionId(message.partition),
        state,
        epoch: LeaderEpoch(message.epoch),
        leader: message.leader.map(NodeId),
        wanted: message.replicas_wanted,
        replicas: nodes_of(message.replicas),
        isr: nodes_of(message.isr),
        adding: nodes_of(message.adding),
        removing: nodes_of(message.removing),
        unclean_epoch: message.unclean_epoch.map(LeaderEpoch),
        bytes: message.bytes,
    })
}

pub(crate) fn reassign_call(moves: Vec<Reassignment>) -> v1::ReassignRequest {
    let moves = moves.into_iter().map(|step| v1::reassign_request::Move {
        topic: Some(ref_message(step.partition.topic.into())),
        partition: step.partition.partition.0,
        replicas: numbers(&step.replicas),
    });
    v1::ReassignRequest { moves: moves.collect() }
}

pub(crate) fn reassign(call: v1::ReassignRequest) -> Converted<Vec<Reassignment>> {
    let moves = call.moves.into_iter().map(|step| {
        let partition = TopicPartition::new(by_id(step.topic)?, PartitionId(step.partition));
        Ok(Reassignment { partition, replicas: nodes_of(step.replicas) })
    });
    moves.collect()
}

pub(crate) fn elect_call(partitions: &[TopicPartition]) -> v1::ElectUncleanRequest {
    let partitions = partitions.iter().map(|id| v1::elect_unclean_request::Partition {
        topic: Some(ref_message(id.topic.into())),
        partition: id.partition.0,
    });
    v1::ElectUncleanRequest { partitions: partitions.collect() }
}

pub(crate) fn elect(call: v1::ElectUncleanRequest) -> Converted<Vec<TopicPartition>> {
    let partitions = call.partitions.into_iter();
    partitions.map(|id| Ok(TopicPartition::new(by_id(id.topic)?, PartitionId(id.partition)))).collect()
}

pub fn elected_reply(elected: &[Elected]) -> v1::ElectUncleanResponse {
    let elected = elected.iter().map(|elected| v1::elect_unclean_response::Elected {
        topic_id: topic_id_bytes(elected.partition.topic),
        partition: elected.partition.partition.0,
        node: elected.node.0,
        epoch: elected.epoch.0,
    });
    v1::ElectUncleanResponse { elected: elected.collect() }
}

pub(crate) fn elected(reply: v1::ElectUncleanResponse) -> Converted<Vec<Elected>> {
    let elected = reply.elected.into_iter().map(|elected| {
        Ok(Elected {
            partition: TopicPartition::new(topic_id(&elected.topic_id)?, PartitionId(elected.partition)),
            node: NodeId(elected.node),
            epoch: LeaderEpoch(elected.epoch),
        })
    });
    elected.collect()
}

pub(crate) fn count_call(topic: TopicId, count: u32) -> v1::TopicCountCall {
    v1::TopicCountCall { topic_id: topic_id_bytes(topic), count }
}

/// Within a cluster topics are named by their ids.
pub(crate) fn by_id(topic: Option<v1::TopicRef>) -> Converted<TopicId> {
    match topic_ref(topic)? {
        TopicRef::Id(id) => Ok(id),
        TopicRef::Name(_) => Err(BadMessage("topic id")),
    }
}

pub fn nodes_of(numbers: Vec<u32>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId).collect()
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.0).collect()
}

fn narrow(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
