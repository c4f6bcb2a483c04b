//! Topics and partitions that are to be: where they go, and the transactions that make them.
//!
//! A topic of many partitions does not fit into one transaction. It is first written as a deleted one,
//! without its name, then its partitions, and the last transaction gives it its name and its life: what
//! a crash leaves behind is a deleted topic, which is cleared away like any other. Partitions that are
//! added count once the topic's record says so; those that an interrupted attempt has left are used.

use tidelog_meta::{Compare, Partition, Topic, TopicNameOwner, Txn, Value as _, keys};
use tidelog_model::limits::PARTITIONS_PER_TOPIC_MAX;
use tidelog_model::{NodeId, PartitionId, TopicId, TopicPartition};
use tidelog_peer::{NewTopic, TopicInfo};

use crate::commit::RECORDS_PER_TXN;
use crate::lead::Lead;
use crate::operator::{Refusal, Reply};
use crate::orders;
use crate::plan::World;
use crate::plan::placement::{Loads, TooFewStores};

/// Partitions beside the election's key, the topic and its name.
const PARTITIONS_PER_TXN: usize = RECORDS_PER_TXN - 2;

impl Lead {
    pub(super) fn create_topic(&mut self, topic: NewTopic, reply: Reply<TopicInfo>) {
        let id = TopicId(uuid::Uuid::new_v4());
        let (record, txns) = match self.new_topic(id, &topic) {
            Ok(planned) => planned,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let info = TopicInfo {
            id,
            name: topic.name,
            partitions: record.partitions,
            replication_factor: record.replication_factor,
            config: topic.config,
            created: record.created,
        };
        self.commit_all(txns, move |result| {
            let answer = match result {
                // Most likely the name; nothing else that is compared can be changed by others.
                Err(Refusal::Conflict) => Err(Refusal::TopicExists(info.name)),
                result => result.map(|()| info),
            };
            drop(reply.send(answer));
        });
    }

    fn new_topic(&self, id: TopicId, topic: &NewTopic) -> Result<(Topic, Vec<Txn>), Refusal> {
        let partitions = topic.partitions;
        if partitions == 0 || partitions > PARTITIONS_PER_TOPIC_MAX {
            return Err(Refusal::Partitions { asked: partitions, most: PARTITIONS_PER_TOPIC_MAX });
        }
        let exists = |known: &Topic| known.deleted.is_none() && known.name == topic.name;
        if self.term.image().topics.values().any(|held| exists(&held.value)) {
            return Err(Refusal::TopicExists(topic.name.clone()));
        }
        let world = self.term.world();
        let replication_factor = topic.replication_factor.unwrap_or_else(|| default_replicas(&world));
        topic.config.check_replicas(replication_factor)?;
        let created = self.context.clock.now();
        let record = Topic::new(topic.name.clone(), partitions, &topic.config, created);
        let record = Topic { replication_factor, ..record };
        orders::enough_stores(&world, &record)?;
        let partitions = placed(&world, id, 0..partitions, replication_factor)?;
        let txns = creation(id, &record, &partitions);
        Ok((record, txns))
    }
}

/// The cluster's default: three, or as many as there are stores that can take replicas.
fn default_replicas(world: &World<'_>) -> u32 {
    world.targets().take(3).count().max(1) as u32
}

/// Partitions and what their records are to be.
type Placed = Vec<(TopicPartition, Partition)>;

fn placed(
    world: &World<'_>,
    topic: TopicId,
    numbers: impl Iterator<Item = u32>,
    replicas: u32,
) -> Result<Placed, Refusal> {
    let mut loads = Loads::of(world);
    numbers
        .map(|number| {
            let replicas = loads.place(replicas as usize)?;
            let id = TopicPartition::new(topic, PartitionId(number));
            Ok((id, first_record(world, &replicas)))
        })
        .collect()
}

impl From<TooFewStores> for Refusal {
    fn from(TooFewStores { wanted, stores }: TooFewStores) -> Self {
        Self::TooFewStores { wanted, stores }
    }
}

/// A partition that has no record yet: all its replicas have everything.
fn first_record(world: &World<'_>, replicas: &[NodeId]) -> Partition {
    let leaders: Vec<_> =
        replicas.iter().filter_map(|node| world.up(*node)).map(crate::plan::leader_of).collect();
    Partition {
        epoch: Partition::default().epoch.next(),
        leader: leaders.first().copied(),
        replicas: replicas.to_vec(),
        isr: leaders.iter().map(tidelog_meta::Leader::replica).collect(),
        ..Partition::default()
    }
}

fn creation(id: TopicId, record: &Topic, partitions: &[(TopicPartition, Partition)]) -> Vec<Txn> {
    let (key, name) = (keys::topic(id), keys::topic_name(&record.name));
    let (early, last) = partitions.split_at(partitions.len().saturating_sub(PARTITIONS_PER_TXN));
    let hidden = Topic { deleted: Some(record.created), ..record.clone() };
    let mut txns = Vec::new();
    let as_before = if early.is_empty() {
        Compare::Absent { key: key.to_string() }
    } else {
        txns.push(Txn::new().when_absent(&key).put(&key, &hidden));
        Compare::ValueIs { key: key.to_string(), value: hidden.encode() }
    };
    txns.extend(early.chunks(PARTITIONS_PER_TXN).map(|chunk| with_partitions(Txn::new(), chunk)));
    let last_txn = Txn::new()
        .when(as_before)
        .when_absent(&name)
        .put(&key, record)
        .put(&name, &TopicNameOwner { topic: id });
    txns.push(with_partitions(last_txn, last));
    txns
}

fn with_partitions(txn: Txn, partitions: &[(TopicPartition, Partition)]) -> Txn {
    partitions.iter().fold(txn, |txn, (id, record)| txn.put(&keys::partition(*id), record))
}

/// The transactions that give a topic more partitions.
pub(super) fn more_partitions(
    world: &World<'_>,
    topic: TopicId,
    partitions: u32,
) -> Result<Vec<Txn>, Refusal> {
    let record = world.image.topic(topic).ok_or(Refusal::UnknownTopic)?;
    let current = record.partitions;
    if partitions > PARTITIONS_PER_TOPIC_MAX {
        return Err(Refusal::Partitions { asked: partitions, most: PARTITIONS_PER_TOPIC_MAX });
    }
    if partitions <= current {
        return Err(Refusal::NotMore { current, asked: partitions });
    }
    orders::enough_stores(world, record)?;
    let is_missing =
        |number: &u32| world.image.partition(TopicPartition::new(topic, PartitionId(*number))).is_none();
    let placed = placed(world, topic, (current..partitions).filter(is_missing), record.replication_factor)?;
    let chunks = placed.chunks(PARTITIONS_PER_TXN / 2).map(|chunk| {
        chunk.iter().fold(Txn::new(), |txn, (id, record)| {
            let key = keys::partition(*id);
            txn.when_absent(&key).put(&key, record)
        })
    });
    let key = keys::topic(topic);
    let raised = Topic { partitions, ..record.clone() };
    let last = Txn::new().when_unchanged(&key, world.image.topics[&topic].revision).put(&key, &raised);
    Ok(chunks.chain([last]).collect())
}
