//! A cluster that is played: stores with logs, leaders that keep their ISRs, and an image of it all.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidelog_meta::{
    Drain, Held, Image, Leader, Live, NodeImage, Partition, Presence, Replica, Revision, Topic,
};
use tidelog_model::{
    DirectoryId, LeaderEpoch, NodeId, Offset, PartitionId, TimestampMs, TopicConfig, TopicId, TopicPartition,
};
use tidelog_peer::{LogReport, LogReports};

use super::rules;
use crate::Options;
use crate::health::Standing;
use crate::plan::election::{self, Reports};
use crate::plan::placement::Loads;
use crate::plan::{Allowed, Change, Plan, View, World, leader_of, leadership, plan};

/// Something that goes on around the plan.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    Kill {
        node: u32,
        by_lease: bool,
    },
    Start {
        node: u32,
        fresh_disk: bool,
    },
    Disk {
        node: u32,
        fit: bool,
    },
    Drain {
        node: u32,
        on: bool,
    },
    Decommission {
        node: u32,
        on: bool,
    },
    Replication {
        topic: u8,
        replicas: u32,
    },
    Resign {
        partition: usize,
        node: u32,
    },
    Produce,
    /// Leaders bring their ISRs up to date; of which partitions, the bits say.
    Follow {
        which: u64,
    },
    /// A plan is made, and the part of it carried out that the bits say.
    Pass {
        which: u64,
        balance: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Log {
    /// How many records were acknowledged, and how many each replica has.
    pub(super) acknowledged: u64,
    pub(super) held: HashMap<Replica, u64>,
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) image: Image,
    pub(super) view: View,
    pub(super) logs: BTreeMap<TopicPartition, Log>,
    nodes: u32,
    racks: usize,
    boots: BTreeMap<NodeId, (DirectoryId, u64)>,
    revision: u64,
    disks: u8,
}

impl Cluster {
    pub(super) fn new(nodes: u32, racks: usize) -> Self {
        let mut cluster = Self {
            image: Image::default(),
            view: View::default(),
            logs: BTreeMap::new(),
            nodes,
            racks,
            boots: BTreeMap::new(),
            revision: 0,
            disks: 0,
        };
        (1..=nodes).for_each(|node| cluster.start(node, true));
        cluster
    }

    pub(super) fn world(&self) -> World<'_> {
        World::new(&self.image, &self.view)
    }

    fn next_revision(&mut self) -> Revision {
        self.revision += 1;
        Revision(self.revision)
    }

    /// A topic, placed as new ones are.
    pub(super) fn topic(&mut self, partitions: u32, replicas: u32) {
        let topic = self.empty_topic(partitions, replicas);
        let mut loads = Loads::of(&self.world());
        for number in 0..partitions {
            let chosen = loads.place(replicas as usize).unwrap();
            self.put_new(TopicPartition::new(topic, PartitionId(number)), &chosen);
        }
    }

    fn empty_topic(&mut self, partitions: u32, replicas: u32) -> TopicId {
        let id = TopicId::from_bytes([self.image.topics.len() as u8 + 1; 16]);
        let name = format!("topic-{id}").parse().unwrap();
        let topic = Topic::new(name, partitions, &TopicConfig::default(), TimestampMs(0));
        let value = Topic { replication_factor: replicas, ..topic };
        let revision = self.next_revision();
        self.image.topics.insert(id, Held { value, revision });
        id
    }

    /// A partition, a topic of its own, on these nodes.
    pub(super) fn partition_on(&mut self, replicas: &[u32]) -> TopicPartition {
        let topic = self.empty_topic(1, replicas.len() as u32);
        let id = TopicPartition::new(topic, PartitionId(0));
        self.put_new(id, &replicas.iter().copied().map(NodeId).collect::<Vec<_>>());
        id
    }

    fn put_new(&mut self, id: TopicPartition, replicas: &[NodeId]) {
        let leaders: Vec<Leader> =
            replicas.iter().map(|node| leader_of(self.image.live(*node).unwrap())).collect();
        let record = Partition {
            epoch: LeaderEpoch(1),
            leader: leaders.first().copied(),
            replicas: replicas.to_vec(),
            isr: leaders.iter().map(Leader::replica).collect(),
            ..Partition::default()
        };
        let revision = self.next_revision();
        self.image.put_partition(id, record, revision);
        self.logs.entry(id).or_default();
    }

    pub(super) fn led_by(&self, node: u32) -> Vec<TopicPartition> {
        let led = |record: &Partition| record.leader.is_some_and(|leader| leader.node == NodeId(node));
        self.image.current().filter(|(_, held, _)| led(&held.value)).map(|(id, ..)| id).collect()
    }

    pub(super) fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Kill { node, by_lease: true } => self.node(node).presence = Presence::Absent,
            Happening::Kill { node, by_lease: false } => {
                self.view.standings.insert(NodeId(node), Standing::Dead);
            }
            Happening::Start { node, fresh_disk } => self.start(node, fresh_disk),
            Happening::Disk { node, fit } => {
                if self.world().up(NodeId(node)).is_some() {
                    let standing = if fit { Standing::Good } else { Standing::Unfit };
                    self.view.standings.insert(NodeId(node), standing);
                }
            }
            Happening::Drain { node, on } => self.drain(node, on, false),
            Happening::Decommission { node, on } => self.drain(node, on, true),
            Happening::Replication { topic, replicas } => {
                let id = TopicId::from_bytes([topic + 1; 16]);
                let revision = self.next_revision();
                let held = self.image.topics.get_mut(&id).unwrap();
                *held =
                    Held { value: Topic { replication_factor: replicas, ..held.value.clone() }, revision };
            }
            Happening::Resign { partition, node } => {
                let id = *self.logs.keys().nth(partition % self.logs.len()).unwrap();
                let epoch = self.image.partition(id).unwrap().epoch;
                self.view.resigned.insert((NodeId(node), id, epoch));
            }
            Happening::Produce => self.produce(),
            Happening::Follow { which } => self.follow(which),
            Happening::Pass { which, balance } => self.pass(which, balance),
        }
    }

    fn node(&mut self, node: u32) -> &mut NodeImage {
        self.image.nodes.entry(NodeId(node)).or_default()
    }

    fn start(&mut self, node: u32, fresh_disk: bool) {
        let id = NodeId(node);
        if fresh_disk {
            self.disks += 1;
            self.boots.insert(id, (DirectoryId::from_bytes([self.disks; 16]), 0));
        }
        let (directory, boot) = self.boots.get_mut(&id).unwrap();
        *boot += 1;
        let value = Live {
            node: id,
            directory: *directory,
            boot: *boot,
            address: format!("store-{node}:9441"),
            rack: Some(format!("rack-{}", node as usize % self.racks)),
            software: String::new(),
            roles: vec![],
            draining: false,
        };
        let revision = self.next_revision();
        self.node(node).presence = Presence::Live(Held { value, revision });
        self.view.standings.insert(id, Standing::Good);
    }

    fn drain(&mut self, node: u32, on: bool, decommission: bool) {
        let revision = self.next_revision();
        let drain = Held { value: Drain { decommission, asked: TimestampMs(0) }, revision };
        self.node(node).drain = on.then_some(drain);
    }

    /// Every partition whose ISR can acknowledge takes a record.
    fn produce(&mut self) {
        let world = World::new(&self.image, &self.view);
        for (id, log) in &mut self.logs {
            let record = self.image.partition(*id).unwrap();
            let acknowledges = world.is_led(*id, record)
                && record.isr.len() >= world.floor(*id, record)
                && record.isr.iter().all(|replica| world.holder(replica).is_some());
            if acknowledges {
                log.acknowledged += 1;
                log.held.extend(record.isr.iter().map(|replica| (*replica, log.acknowledged)));
            }
        }
    }

    /// Leaders take those into the ISR that have caught up, and throw the dead out.
    pub(super) fn follow(&mut self, which: u64) {
        let ids: Vec<_> = self.logs.keys().copied().collect();
        for (_, id) in ids.into_iter().enumerate().filter(|(index, _)| which >> (index % 64) & 1 == 1) {
            let world = World::new(&self.image, &self.view);
            let record = self.image.partition(id).unwrap();
            if !world.is_led(id, record) {
                continue;
            }
            let own = record.leader.unwrap().replica();
            let mut after = record.clone();
            let alive = |replica: &Replica| *replica == own || world.holder(replica).is_some();
            for node in &record.replicas {
                let Some(live) = world.up(*node) else { continue };
                let replica = leader_of(live).replica();
                if !after.isr.contains(&replica) {
                    let log = self.logs.get_mut(&id).unwrap();
                    log.held.insert(replica, log.acknowledged);
                    after.isr.push(replica);
                }
            }
            let floor = world.floor(id, record);
            if after.isr.iter().filter(|replica| alive(replica)).count() >= floor {
                after.isr.retain(alive);
            }
            // Another disk of a node takes the place of the one that it had.
            let current =
                |replica: &Replica| world.up(replica.node).is_none_or(|l| l.directory == replica.directory);
            if after.isr.iter().filter(|replica| current(replica)).count() >= floor {
                after.isr.retain(current);
            }
            let revision = self.next_revision();
            self.image.put_partition(id, after, revision);
        }
    }

    pub(super) fn plan(&self, all: bool) -> Plan {
        let options = Options::default();
        let allowed = if all { Allowed { prefer: 100, balance: true } } else { Allowed::default() };
        // Who is believed to live gives signs of life.
        let moving = self.image.partitions.iter().filter(|(_, held)| held.value.is_moving());
        let view = View { vouched: moving.map(|(id, _)| *id).collect(), ..self.view.clone() };
        plan(&World::new(&self.image, &view), &BTreeSet::new(), &options, allowed)
    }

    /// Plans, and carries out what the bits say, from the back when the number is odd.
    pub(super) fn pass(&mut self, which: u64, all: bool) {
        let plan = self.plan(all);
        let reports = self.reports(&plan.elect);
        let world = self.world();
        let elected = plan.elect.iter().filter_map(|id| election::elect(&world, *id, &reports));
        let moved = plan.moves.iter().filter_map(|step| leadership::carry_out(&world, step));
        let mut changes: Vec<Change> = elected.chain(moved).chain(plan.changes.iter().cloned()).collect();
        let mut seen = BTreeSet::new();
        assert!(changes.iter().all(|change| seen.insert(change.partition)), "two decisions on one partition");
        if which % 2 == 1 {
            changes.reverse();
        }
        for (index, change) in changes.into_iter().enumerate() {
            if which >> (index % 64) & 1 == 1 {
                self.commit(change);
            }
        }
    }

    fn reports(&self, partitions: &[TopicPartition]) -> Reports {
        let mut reports = Reports::default();
        for (node, asked) in election::whom_to_ask(&self.world(), partitions, false) {
            let live = self.image.live(node).unwrap();
            let replica = leader_of(live).replica();
            let log = |id: &TopicPartition| LogReport {
                partition: *id,
                last_epoch: LeaderEpoch(1),
                log_end: Offset(self.logs[id].held.get(&replica).copied().unwrap_or(0)),
            };
            let logs = asked.iter().map(log).collect();
            reports.add(node, &LogReports { directory: live.directory, boot: live.boot, logs });
        }
        reports
    }

    fn commit(&mut self, change: Change) {
        let held = &self.image.partitions[&change.partition];
        assert_eq!(held.revision, change.planned_from);
        rules::assert_safe(&self.world(), &held.value, &change, &self.logs[&change.partition]);
        let revision = self.next_revision();
        self.image.put_partition(change.partition, change.record, revision);
    }

    /// All faults end: every store is back, nobody is decommissioned, topics want what can be had.
    pub(super) fn heal(&mut self) {
        for node in 1..=self.nodes {
            self.drain(node, false, false);
            if self.world().standing(NodeId(node)) != Standing::Good {
                self.start(node, false);
            }
        }
        self.view.resigned.clear();
    }

    /// Passes until there is nothing to do; how many it took.
    pub(super) fn settle(&mut self, most: usize) -> usize {
        for passes in 0..most {
            self.produce();
            self.follow(u64::MAX);
            if self.plan(true).is_empty() {
                return passes;
            }
            self.pass(u64::MAX, true);
        }
        most
    }

    /// Every partition that can have a leader has one, and as many replicas as its topic wants.
    pub(super) fn assert_as_wanted(&self) {
        let world = self.world();
        for (id, held, topic) in self.image.current() {
            let record = &held.value;
            let reachable = record.isr.iter().any(|replica| world.holder(replica).is_some());
            // When every in-sync disk is gone, the partition waits for an operator.
            assert_eq!(world.is_led(id, record), reachable, "{id} {record:?}");
            if reachable {
                assert_eq!(record.replicas.len(), topic.replication_factor as usize, "{id} {record:?}");
                assert!(!record.is_moving(), "{id} {record:?}");
                assert_eq!(record.leader.map(|leader| leader.node), record.replicas.first().copied());
            }
        }
    }
}
