//! Telling what is there.

use std::collections::BTreeMap;

use tidelog_meta::{NodeImage, Presence};
use tidelog_model::{NodeId, TopicId};

use super::Lead;
use crate::health::Standing;
use crate::operator::{ClusterStatus, NodeState, NodeStatus, PartitionState, PartitionStatus};
use crate::plan::{World, leadership};

impl Lead {
    pub(super) fn status(&self) -> ClusterStatus {
        let partitions = self.partitions(None);
        let nodes = self.nodes();
        let count = |wanted: fn(&PartitionStatus) -> bool| partitions.iter().filter(|p| wanted(p)).count();
        ClusterStatus {
            controller: self.context.node,
            nodes: nodes.len(),
            nodes_not_up: nodes.iter().filter(|node| node.state != NodeState::Up).count(),
            topics: self.image.topics.values().filter(|topic| topic.value.deleted.is_none()).count(),
            partitions: partitions.len(),
            offline: count(|p| p.state == PartitionState::Offline),
            below_floor: count(|p| p.state == PartitionState::BelowFloor),
            under_replicated: count(|p| p.isr.len() < p.wanted as usize),
            moving: count(|p| !p.adding.is_empty() || !p.removing.is_empty()),
            not_preferred: count(|p| p.leader.is_some() && p.leader != p.replicas.first().copied()),
            unreadable: self.image.unreadable.iter().map(|(k, why)| (k.clone(), why.clone())).collect(),
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeStatus> {
        let world = World::new(&self.image, &self.view);
        let led = leadership::leaderships(&world);
        let mut held: BTreeMap<NodeId, (usize, u64)> = BTreeMap::new();
        for (id, record, _) in self.image.current() {
            for node in &record.value.replicas {
                let (replicas, bytes) = held.entry(*node).or_default();
                *replicas += 1;
                *bytes += world.size(id);
            }
        }
        let status = |(node, image): (&NodeId, &NodeImage)| {
            let live = self.image.live(*node);
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
                leads: led.get(node).copied().unwrap_or(0),
                bytes,
            }
        };
        self.image.nodes.iter().map(status).collect()
    }

    pub(super) fn partitions(&self, topic: Option<TopicId>) -> Vec<PartitionStatus> {
        let world = World::new(&self.image, &self.view);
        let wanted = self.image.current().filter(|(id, ..)| topic.is_none_or(|topic| topic == id.topic));
        wanted
            .map(|(id, held, topic)| {
                let record = &held.value;
                let state = if !world.is_led(id, record) {
                    PartitionState::Offline
                } else if record.isr.len() < world.floor(id, record) {
                    PartitionState::BelowFloor
                } else if record.is_moving() {
                    PartitionState::Moving
                } else if record.isr.len() < topic.replication_factor as usize {
                    PartitionState::UnderReplicated
                } else {
                    PartitionState::Healthy
                };
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
            })
            .collect()
    }
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
