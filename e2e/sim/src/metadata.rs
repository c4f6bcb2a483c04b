//! The metadata store: a linearizable tree of a few keys with revisions, comparisons, leases and a history
//! for watchers. What makes it hostile (answers that get lost, watches that lag, repeat and break) is the
//! way to and from it; see `world/store/metadata.rs`.

use std::collections::BTreeMap;

use tidelog_meta::{Drain, Leader, Partition, Topic};
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, Offset, PartitionId, TopicId, TopicPartition};
use tidelog_replica::{Instance, Record, ReplicaId};

use crate::agenda::{Micros, SECOND};
use crate::bucket::RootId;
use crate::disk::Disk;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Whoever put it is the controller, as long as its lease lives.
    Controller,
    /// A node's permanent entry.
    Node(NodeId),
    /// A node's leased entry.
    Live(NodeId),
    /// What an operator wants of a node.
    Drain(NodeId),
    /// Each partition is the only one of its topic.
    Topic(usize),
    Partition(usize),
    Pointer(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Controller { node: NodeId, boot: u64 },
    Node { directory: DirectoryId, boot: u64 },
    Live { directory: DirectoryId, boot: u64 },
    Drain(Drain),
    Topic(Topic),
    Partition(Partition),
    Pointer(Pointer),
}

/// A partition's cold pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub(crate) root: RootId,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) tiered_end: Offset,
}

/// The name that everyone else has for a partition.
pub(crate) fn partition_id(partition: usize) -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([partition as u8 + 1; 16]), PartitionId(0))
}

/// The partition of a name.
pub(crate) fn partition_number(id: TopicPartition) -> usize {
    usize::from(id.topic.0.as_bytes()[0]) - 1
}

/// What a replica needs to know of a partition's record.
pub(crate) fn record_of(partition: &Partition) -> Record {
    Record {
        epoch: partition.epoch,
        leader: partition.leader.map(instance_of),
        replicas: partition.replicas.clone(),
        isr: partition.isr.iter().map(|member| replica_of(*member)).collect(),
        unclean_epoch: partition.unclean_epoch,
    }
}

pub(crate) fn instance_of(leader: Leader) -> Instance {
    Instance { replica: replica_of(leader.replica()), boot: leader.boot }
}

fn replica_of(member: tidelog_meta::Replica) -> ReplicaId {
    ReplicaId { node: member.node, directory: member.directory }
}

pub(crate) type Revision = u64;
pub(crate) type LeaseId = u64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) value: Value,
    pub(crate) revision: Revision,
    lease: Option<LeaseId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    /// The key was last changed at this revision; 0 means that it does not exist.
    Unchanged(Key, Revision),
    /// The partition's record has this epoch, at whatever revision.
    Epoch(usize, LeaderEpoch),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) key: Key,
    /// `None` deletes.
    pub(crate) value: Option<Value>,
    pub(crate) lease: Option<LeaseId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Get(Key),
    /// Everything, as it is now.
    List,
    /// All puts if all comparisons hold.
    Txn {
        compares: Vec<Compare>,
        puts: Vec<Put>,
    },
    Grant,
    KeepAlive(LeaseId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    Got(Option<Stored>),
    Listed {
        revision: Revision,
        entries: Vec<(Key, Stored)>,
    },
    Committed(Revision),
    Conflict,
    Granted(LeaseId),
    Alive,
    /// The lease is gone, and every key that was bound to it.
    Lost,
}

/// A change that watchers are told.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct Metadata {
    revision: Revision,
    keys: BTreeMap<Key, Stored>,
    leases: BTreeMap<LeaseId, Micros>,
    history: Vec<Change>,
    lease_ttl: Micros,
    now: Micros,
    /// The least replication factor that somebody may still go by, and until when.
    factors_before: BTreeMap<usize, (Micros, u32)>,
}

/// After this, everyone who can do something has heard of a new replication factor.
const FACTOR_HEARD: Micros = 10 * SECOND;

impl Metadata {
    pub(crate) fn new(lease_ttl: Micros) -> Self {
        let (keys, leases) = (BTreeMap::new(), BTreeMap::new());
        Self {
            revision: 1,
            keys,
            leases,
            history: Vec::new(),
            lease_ttl,
            now: 0,
            factors_before: BTreeMap::new(),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Stored> {
        self.keys.get(&key)
    }

    /// A partition's record, which exists from the beginning.
    pub(crate) fn partition(&self, partition: usize) -> &Partition {
        match self.keys.get(&Key::Partition(partition)) {
            Some(Stored { value: Value::Partition(record), .. }) => record,
            _ => unreachable!("every partition has its record from the beginning"),
        }
    }

    /// A partition's topic, which exists from the beginning.
    pub(crate) fn topic(&self, partition: usize) -> &Topic {
        match self.keys.get(&Key::Topic(partition)) {
            Some(Stored { value: Value::Topic(topic), .. }) => topic,
            _ => unreachable!("every partition has its topic from the beginning"),
        }
    }

    /// How many disks an acknowledged record is on at the least. Nothing compares the topic: whoever has not
    /// heard of another replication factor goes by the one before, and a factor that was raised counts from
    /// when the replicas are there.
    pub(crate) fn floor(&self, partition: usize) -> usize {
        let (record, topic) = (self.partition(partition), self.topic(partition));
        let settled = record.replicas.len().saturating_sub(record.adding.len()) as u32;
        let before = self.factors_before.get(&partition).filter(|(until, _)| self.now < *until);
        let factor = before.map_or(u32::MAX, |(_, factor)| *factor).min(topic.replication_factor);
        let factor = factor.min(settled);
        if factor == topic.replication_factor {
            return record.isr_floor(topic);
        }
        record.isr_floor(&Topic { replication_factor: factor, ..topic.clone() })
    }

    /// The nodes that operators want spared.
    pub(crate) fn drained(&self) -> impl Iterator<Item = NodeId> {
        self.keys.keys().filter_map(|key| match key {
            Key::Drain(node) => Some(*node),
            _ => None,
        })
    }

    pub(crate) fn partition_revision(&self, partition: usize) -> Revision {
        self.keys.get(&Key::Partition(partition)).map_or(0, |stored| stored.revision)
    }

    pub(crate) fn pointer(&self, partition: usize) -> Option<(Pointer, Revision)> {
        match self.keys.get(&Key::Pointer(partition)) {
            Some(Stored { value: Value::Pointer(pointer), revision, .. }) => Some((*pointer, *revision)),
            _ => None,
        }
    }

    /// Whether a node's disk is not the one that the node last registered with, or is that one as it was
    /// before: once the node finds out, at its start, it is another replica.
    pub(crate) fn is_outdated(&self, node: NodeId, disk: &Disk) -> bool {
        match self.keys.get(&Key::Node(node)).map(|stored| &stored.value) {
            Some(Value::Node { directory, boot }) => *directory != disk.directory || disk.boot < *boot,
            _ => false,
        }
    }

    /// What changed after a revision.
    pub(crate) fn changes_after(&self, revision: Revision) -> &[Change] {
        &self.history[self.history.partition_point(|change| change.revision <= revision)..]
    }

    pub(crate) fn handle(&mut self, request: &Request, now: Micros) -> Response {
        self.expire(now);
        match request {
            Request::Get(key) => Response::Got(self.keys.get(key).cloned()),
            Request::List => Response::Listed {
                revision: self.revision,
                entries: self.keys.iter().map(|(key, stored)| (*key, stored.clone())).collect(),
            },
            Request::Txn { compares, puts } => self.commit(compares, puts),
            Request::Grant => {
                self.revision += 1;
                self.leases.insert(self.revision, now + self.lease_ttl);
                Response::Granted(self.revision)
            }
            Request::KeepAlive(lease) => match self.leases.get_mut(lease) {
                Some(ends) => {
                    *ends = now + self.lease_ttl;
                    Response::Alive
                }
                None => Response::Lost,
            },
        }
    }

    fn commit(&mut self, compares: &[Compare], puts: &[Put]) -> Response {
        let bound = puts.iter().filter_map(|put| put.lease);
        if !compares.iter().all(|compare| self.holds(compare)) {
            return Response::Conflict;
        }
        for lease in bound {
            if !self.leases.contains_key(&lease) {
                return Response::Lost;
            }
        }
        self.revision += 1;
        for put in puts {
            self.put(put.key, put.value.clone(), put.lease);
        }
        Response::Committed(self.revision)
    }

    fn put(&mut self, key: Key, value: Option<Value>, lease: Option<LeaseId>) {
        let revision = self.revision;
        if let (Key::Topic(partition), true) = (key, self.keys.contains_key(&key)) {
            let factor = self.topic(partition).replication_factor;
            let before = self.factors_before.get(&partition).filter(|(until, _)| self.now < *until);
            let least = before.map_or(factor, |(_, before)| factor.min(*before));
            self.factors_before.insert(partition, (self.now + FACTOR_HEARD, least));
        }
        match value.clone() {
            Some(value) => drop(self.keys.insert(key, Stored { value, revision, lease })),
            None => drop(self.keys.remove(&key)),
        }
        self.history.push(Change { revision, key, value });
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::Unchanged(key, revision) => {
                self.keys.get(key).map_or(0, |stored| stored.revision) == *revision
            }
            Compare::Epoch(partition, epoch) => self.partition(*partition).epoch == *epoch,
        }
    }

    /// Deletes what was bound to leases that ended.
    pub(crate) fn expire(&mut self, now: Micros) {
        self.now = now;
        let ended: Vec<LeaseId> =
            self.leases.iter().filter(|(_, ends)| **ends <= now).map(|(lease, _)| *lease).collect();
        for lease in ended {
            self.leases.remove(&lease);
            let bound = self.keys.iter().filter(|(_, stored)| stored.lease == Some(lease));
            let bound: Vec<Key> = bound.map(|(key, _)| *key).collect();
            if !bound.is_empty() {
                self.revision += 1;
            }
            for key in bound {
                self.put(key, None, None);
            }
        }
    }

    /// Puts a key without any comparison: how the world begins, and what an operator does.
    pub(crate) fn force(&mut self, key: Key, value: Option<Value>) {
        self.revision += 1;
        self.put(key, value, None);
    }
}
