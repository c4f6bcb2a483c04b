//! Three replicas, a record, a bucket, and a source of choices that decides what happens next: which
//! message arrives, twice, or never; which disk syncs, which process dies, whom the controller names.
//! After every step the invariants are looked at.

mod check;
mod disk;
mod faults;
mod host;
mod random;
mod step;

use std::collections::BTreeMap;

use tidelog_model::{LeaderEpoch, NodeId, Offset};
use tidelog_replica::{Config, EpochStart, Event, Instance, Observed, Origin, Record, ReplicaId, Ticket};

use crate::fixture::{directory, instance};
use host::Host;

pub(crate) const FLOOR: usize = 2;

/// What decides: a number below the bound.
pub(crate) trait Choices {
    fn below(&mut self, bound: usize) -> usize;
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: NodeId,
    pub(crate) event: Event,
}

impl Mail {
    /// Whether it belongs to that node's leadership: sent by it, or an answer to it.
    pub(crate) fn belongs_to(&self, leader: NodeId) -> bool {
        match &self.event {
            Event::Lead(lead) => lead.leader.node() == leader,
            Event::Pushed(pushed) => pushed.leader.node() == leader,
            _ => self.to == leader,
        }
    }
}

/// An ISR change on its way to the metadata store.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) by: Instance,
    pub(crate) ticket: Ticket,
    pub(crate) revision: u64,
    pub(crate) isr: Vec<ReplicaId>,
    /// Its proposer was told that the outcome is unknown.
    pub(crate) given_up: bool,
}

/// A batch that was committed, wherever the news of it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) next: Offset,
    pub(crate) crc: u32,
}

pub(crate) struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) record: Record,
    pub(crate) revision: u64,
    pub(crate) mail: Vec<Mail>,
    pub(crate) proposals: Vec<Proposal>,
    /// Real time, in microseconds.
    pub(crate) now: u64,
    pub(crate) tiered_end: Offset,
    pub(crate) bucket_history: Vec<EpochStart>,
    /// Every batch ever committed, by base.
    pub(crate) committed: BTreeMap<Offset, Committed>,
    pub(crate) committed_end: Offset,
    /// What each (epoch, base) named when it was first seen.
    pub(crate) names: BTreeMap<(LeaderEpoch, Offset), u32>,
    pub(crate) next_crc: u32,
    pub(crate) next_directory: u8,
    pub(crate) violation: Option<String>,
    pub(crate) trace: Vec<String>,
}

/// Which host has that node's process.
pub(crate) fn host_of(node: NodeId) -> usize {
    node.0 as usize - 1
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let nodes = [1_u8, 2, 3];
        let record = Record {
            epoch: LeaderEpoch(1),
            leader: Some(instance(1, 1)),
            replicas: nodes.map(|n| NodeId(u32::from(n))).to_vec(),
            isr: nodes.map(|n| instance(n, 1).replica).to_vec(),
            unclean_epoch: None,
        };
        let mut world = Self {
            hosts: nodes.map(|n| Host::new(instance(n, 1), config)).into(),
            record,
            revision: 1,
            mail: Vec::new(),
            proposals: Vec::new(),
            now: 1_000_000,
            tiered_end: Offset::ZERO,
            bucket_history: Vec::new(),
            committed: BTreeMap::new(),
            committed_end: Offset::ZERO,
            names: BTreeMap::new(),
            next_crc: 0,
            next_directory: 10,
            violation: None,
            trace: Vec::new(),
        };
        for at in 0..world.hosts.len() {
            world.start(at);
        }
        world
    }

    pub(crate) fn observed(&self, origin: Origin) -> Event {
        let (record, revision) = (self.record.clone(), self.revision);
        Event::Observed(Observed { record, revision, floor: FLOOR, origin })
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// The process starts on what its disk holds, and reads the record.
    pub(crate) fn start(&mut self, at: usize) {
        self.hosts[at].start();
        let event = self.observed(Origin::Read);
        self.give(at, event);
    }

    pub(crate) fn crash(&mut self, at: usize, kept: usize) {
        self.hosts[at].crash(kept);
        let node = self.hosts[at].me.node();
        for other in 0..self.hosts.len() {
            if other != at {
                self.give(other, Event::FollowerGone { node });
            }
        }
    }

    /// The node's disk is replaced by an empty one, which is another replica.
    pub(crate) fn wipe(&mut self, at: usize) {
        let directory = directory(self.next_directory);
        self.next_directory += 1;
        self.hosts[at].replace_disk(directory);
    }

    /// The controller names a leader: some member of the ISR that is alive on the disk named there.
    pub(crate) fn elect(&mut self, choose: usize) {
        let in_sync = |host: &&Host| {
            let any_disk = host.config.faults.keep_isr_member_with_new_disk;
            let named = |member: &ReplicaId| any_disk && member.node == host.me.node();
            self.record.isr.contains(&host.me.replica) || self.record.isr.iter().any(named)
        };
        let alive = self.hosts.iter().filter(|host| host.replica.is_some()).filter(in_sync);
        let alive: Vec<Instance> = alive.map(|host| host.me).collect();
        if alive.is_empty() {
            return;
        }
        self.record.epoch = self.record.epoch.next();
        self.record.leader = Some(alive[choose % alive.len()]);
        self.revision += 1;
    }

    pub(crate) fn apply_proposal(&mut self, at: usize) -> bool {
        let made = self.proposals[at].revision == self.revision;
        if made {
            self.record.isr = self.proposals[at].isr.clone();
            self.revision += 1;
            if self.record.isr.len() < FLOOR {
                self.fail(format!("the ISR is below the floor: {:?}", self.record.isr));
            }
        }
        made
    }
}

impl World {
    /// The end of the story, for a person to read.
    pub(crate) fn tail(&self) -> String {
        let from = self.trace.len().saturating_sub(60);
        self.trace[from..].join("\n")
    }
}
