//! Telling what is there.

use std::collections::BTreeMap;
use std::ops::Bound;

use tidelog_meta::{NodeImage, Partition, Presence, Topic};
use tidelog_model::{NodeId, PartitionId, TopicPartition};
use tidelog_peer::{
    ClusterStatus, NodeState, NodeStatus, PARTITIONS_PER_PAGE_MAX, Page, PartitionQuery, PartitionState,
    PartitionStatus, UNREADABLE_SHOWN_MAX,
};

use super::Lead;
use crate::health::Standing;
use crate::plan::{World, leadership};

impl Lead {
    pub(super) fn status(&self) -> ClusterStatus {
        let nodes = self.nodes();
        let unreadable = &self.term.image().unreadable;
        let shown = unreadable.iter().take(UNREADABLE_SHOWN_MAX);
        let mut status = ClusterStatus {
            controller: self.context.node,
            nodes: narrow(nodes.len()),
            nodes_not_up: narrow(nodes.iter().filter(|node| node.state != NodeState::Up).count()),
            topics: narrow(
                self.term.image().topics.values().filter(|held| held.value.deleted.is_none()).count(),
            ),
            partitions: 0,
            offline: 0,
            below_floor: 0,
            under_replicated: 0,
            moving: 0,
            not_preferred: 0,
            unreadable: narrow(unreadable.len()),
            unreadable_shown: shown.map(|(key, why)| (key.clone(), why.clone())).collect(),
        };
        let world = self.term.world();
        for (id, held, topic) in self.term.image().current() {
            let record = &held.value;
            let state = partition_state(&world, id, record, topic);
            let leader = record.leader.map(|leader| leader.node);
            status.partitions += 1;
            status.offline += u32::from(state == PartitionState::Offline);
            status.below_floor += u32::from(state == PartitionState::BelowFloor);
            status.under_replicated += u32::from(is_under_replicated(record, topic));
            status.moving += u32::from(record.is_moving());
            status.not_preferred += u32::from(leader.is_some() && leader != record.replicas.first().copied());
        }
        status
    }

    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        let world = self.term.world();
        let led = leadership::leaderships(&world);
        let mut held: BTreeMap<NodeId, (u32, u64)> = BTreeMap::new();
        for (id, record, _) in self.term.image().current() {
            for node in &record.value.replicas {
                let (replicas, bytes) = held.entry(*node).or_default();
                *replicas += 1;
                *bytes += world.size(id);
            }
        }
        let status = |(node, image): (&NodeId, &NodeImage)| {
            let live = self.term.image().live(*node);
            let registered = image.registered.as_ref().map(|held| &held.value);
            let (replicas, bytes) = held.get(node).copied().unwrap_or_default();
            NodeStatus {
                node: *node,
                state: state(&world, *node, &image.presence),
                address: live.map(|live| live.address.clone()),
                rack: live.and_then(|live| live.rack.clone()),
                software: live.map(|live| live.software.clone()),
                directory: registered.map(|node| node.directory).or(live.map(|live| live.directory)),
                boot: registered.map(|node| node.boot).or(live.map(|live| live.boot)),
                draining: world.is_leaving(*node),
                decommissioned: world.is_decommissioned(*node),
                replicas,
                leads: narrow(led.get(node).copied().unwrap_or(0)),
                bytes,
            }
        };
        self.term.image().nodes.iter().map(status).collect()
    }

    pub(super) fn partitions(&self, query: &PartitionQuery) -> Page<PartitionStatus> {
        let limit = match query.limit {
            0 => PARTITIONS_PER_PAGE_MAX,
            stated => stated.min(PARTITIONS_PER_PAGE_MAX),
        };
        let world = self.term.world();
        let mut wanted =
            self.term.image().current_between(range_of(query)).filter_map(|(id, held, topic)| {
                let state = partition_state(&world, id, &held.value, topic);
                (!query.problems_only || state.is_problem()).then_some((id, held, topic, state))
            });
        let items = wanted
            .by_ref()
            .take(limit)
            .map(|(id, held, topic, state)| described(&world, id, &held.value, topic, state))
            .collect();
        Page { items, more: wanted.next().is_some() }
    }
}

/// The keys that a query is about: those of one topic or all, behind where it goes on.
fn range_of(query: &PartitionQuery) -> (Bound<TopicPartition>, Bound<TopicPartition>) {
    let first = |topic| TopicPartition::new(topic, PartitionId(0));
    let last = |topic| TopicPartition::new(topic, PartitionId(u32::MAX));
    let begin = query.topic.map(first).max(query.after);
    let end = query.topic.map(|topic| begin.map_or(last(topic), |begin| last(topic).max(begin)));
    let begin = match begin {
        Some(id) if query.after == Some(id) => Bound::Excluded(id),
        Some(id) => Bound::Included(id),
        None => Bound::Unbounded,
    };
    (begin, end.map_or(Bound::Unbounded, Bound::Included))
}

fn partition_state(
    world: &World<'_>,
    id: TopicPartition,
    record: &Partition,
    topic: &Topic,
) -> PartitionState {
    if !world.is_led(id, record) {
        PartitionState::Offline
    } else if record.isr.len() < world.floor(id, record) {
        PartitionState::BelowFloor
    } else if is_under_replicated(record, topic) {
        PartitionState::UnderReplicated
    } else if record.is_moving() {
        PartitionState::Moving
    } else {
        PartitionState::Healthy
    }
}

fn is_under_replicated(record: &Partition, topic: &Topic) -> bool {
    record.isr.len() < topic.replication_factor as usize
}

fn described(
    world: &World<'_>,
    id: TopicPartition,
    record: &Partition,
    topic: &Topic,
    state: PartitionState,
) -> PartitionStatus {
    PartitionStatus {
        topic: id.topic,
        name: topic.name.clone(),
        partition: id.partition,
        state,
        epoch: record.epoch,
        leader: record.leader.map(|leader| leader.node),
        wanted: topic.replication_factor,
        replicas: record.replicas.clone(),
        isr: record.isr.iter().map(|replica| replica.node).collect(),
        adding: record.adding.clone(),
        removing: record.removing.clone(),
        unclean_epoch: record.unclean_epoch,
        bytes: world.size(id),
    }
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn state(world: &World<'_>, node: NodeId, presence: &Presence) -> NodeState {
    match (presence, world.standing(node)) {
        (Presence::Absent, _) => NodeState::Down,
        (Presence::Unreadable, _) => NodeState::Unreadable,
        (Presence::Live(_), Standing::Dead) => NodeState::Silent,
        (Presence::Live(_), Standing::Unfit) => NodeState::Slow,
        (Presence::Live(_), Standing::Probation) => NodeState::Probation,
        (Presence::Live(_), Standing::Good) => NodeState::Up,
    }
}
