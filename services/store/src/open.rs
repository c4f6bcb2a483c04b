//! Opening a store: identity, leadership, recovery, and the tasks that run from then on.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use thiserror::Error;
use tidelog_cold::descriptor::Descriptors;
use tidelog_cold::{Bucket, ColdReader, Tier};
use tidelog_format::pointer::Pointer;
use tidelog_journal::{Checkpoints, Directory, Journal, JournalConfig, PartitionCheckpoint, RecoveryReport};
use tidelog_meta::value::{Cluster, Topic as TopicRecord};
use tidelog_meta::{MetaError, Revision, SharedMeta, Stored, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::{ClusterId, Incarnation, Offset, SharedClock, TopicId, TopicPartition};
use tidelog_replica::Origin;
use tidelog_runtime::{Metrics, Supervisor};

use crate::boot::bucket::{self, Owner, OwnerError};
use crate::boot::identity::{self, IdentityError};
use crate::boot::leadership::{self, Led};
use crate::boot::memory::MemoryError;
use crate::boot::recovery::{Commitment, Gap, Recovery};
use crate::boot::refill;
use crate::boot::replica::{self, Missing};
use crate::metrics::{self, StoreMetrics};
use crate::node::{Identity, Node};
use crate::offload::scheduler::{Inbox, Offloader, Scheduler};
use crate::options::StoreOptions;
use crate::partition::outside::{Alone, Outside};
use crate::partition::step::Ticks;
use crate::producer_ids::ProducerIdSource;
use crate::rot::RotError;
use crate::store::Store;
use crate::tiered::Tiered;
use crate::topics::catalog::{self, Catalog, Topic};
use crate::topics::scribe::{self, Scribe};
use crate::{records, retention};

/// What a store stands on. The caller opens these, in this order; the directory's lock comes first.
#[derive(Debug)]
pub struct Parts {
    /// The data directory, held for as long as the store is open.
    pub directory: Directory,
    pub meta: SharedMeta,
    pub journal: JournalConfig,
    pub bucket: Bucket,
    pub cold: ColdReader,
    pub clock: SharedClock,
    pub metrics: Metrics,
}

/// Why a store does not open. Nothing was deleted.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Bucket(#[from] OwnerError),
    #[error("the journal: {0}")]
    Journal(#[from] tidelog_journal::OpenError),
    #[error(
        "the journal: {0}. In a cluster nothing goes on without what it held: where other stores have it, empty \
         the data directory, and this store comes back as another replica and is filled from them"
    )]
    Replica(tidelog_journal::OpenError),
    #[error("the journal misses records of partition {}: offset {} is followed by {}", .0.partition, .0.expected, .0.found)]
    Gap(Gap),
    #[error(
        "the journal has records of topic {0}, which the metadata store does not know: the metadata is not \
         the one these records were written under"
    )]
    UnknownTopic(TopicId),
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Rot(#[from] RotError),
    #[error("the metadata store: {0}")]
    Meta(#[from] MetaError),
    #[error("the metadata store has the key {0:?}, which is about nothing known")]
    StrangeKey(String),
}

/// What the metadata store knows of topics and partitions.
struct Known {
    topics: Vec<(TopicId, Stored<TopicRecord>)>,
    led: HashMap<TopicPartition, Led>,
    pointers: HashMap<TopicPartition, (Pointer, Revision)>,
}

impl Store {
    /// Opens the store and starts its tasks under `supervisor`. Records that were acknowledged before
    /// are there when this returns.
    pub async fn open(
        options: StoreOptions,
        parts: Parts,
        supervisor: &Supervisor,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let bucket_owner = Owner::default();
        let Parts { directory, meta, bucket, clock, .. } = &parts;
        let cluster = cluster(meta, bucket, clock, &bucket_owner).await?;
        let claim = identity::claim(&**meta, options.node, directory).await?;
        let leader = claim.leader;
        let known = read(meta, leadership::take_over(&**meta, leader).await?).await?;
        let pointers = known.pointers.iter().map(|(id, (pointer, _))| (*id, *pointer)).collect();
        // Nobody else ever led: there is nobody whose promises could outlive him.
        let replication =
            tidelog_replica::Config { promotion_wait: Duration::ZERO, ..tidelog_replica::Config::default() };
        let frame = Frame {
            identity: Identity { cluster, leader },
            commitment: Commitment::Synced,
            replication,
            bucket_owner,
        };
        let alone = |node: &Weak<Node>| -> Arc<dyn Outside> { Arc::new(Alone { node: Weak::clone(node) }) };
        let Assembled { node, mut recovery, inbox, report } =
            assemble(&options, parts, frame, pointers, alone)?;
        let in_bucket = populate(&node, known, &mut recovery).await?;
        start(&node, &options, inbox, in_bucket, supervisor);
        Ok((Self { node }, report))
    }
}

/// What distinguishes a store among others.
pub(crate) struct Frame {
    pub(crate) identity: Identity,
    pub(crate) commitment: Commitment,
    pub(crate) replication: tidelog_replica::Config,
    pub(crate) bucket_owner: Owner,
}

/// A store whose journal is open, without partitions yet.
pub(crate) struct Assembled {
    pub(crate) node: Arc<Node>,
    pub(crate) recovery: Recovery,
    pub(crate) inbox: Inbox,
    pub(crate) report: RecoveryReport,
}

/// Opens the journal and puts everything together that partitions stand on.
pub(crate) fn assemble(
    options: &StoreOptions,
    parts: Parts,
    frame: Frame,
    pointers: HashMap<TopicPartition, Pointer>,
    outside: impl FnOnce(&Weak<Node>) -> Arc<dyn Outside>,
) -> Result<Assembled, OpenError> {
    let Parts { directory, meta, journal, bucket, cold, clock, metrics } = parts;
    let Frame { identity, commitment, replication, bucket_owner } = frame;
    let catalog = Arc::new(Catalog::default());
    let mut recovery = Recovery::new(commitment, pointers);
    let scribe = Arc::new(Scribe::default());
    let checkpoints = PartitionCheckpoints {
        catalog: Arc::clone(&catalog),
        scribe: Arc::clone(&scribe),
        clock: Arc::clone(&clock),
    };
    let (journal, report) = open_journal(journal, checkpoints, &mut recovery)?;
    let incarnation = identity.cluster.incarnation;
    let tier = Tier::with_config(bucket.clone(), incarnation, options.tier_config(Arc::clone(&clock)));
    let (offloader, inbox) = Offloader::new();
    let node = Arc::new_cyclic(|node| Node {
        descriptors: Descriptors::new(bucket.clone()),
        producer_ids: ProducerIdSource::new(Arc::clone(&meta)),
        identity,
        scribe,
        commitment,
        replication,
        ticks: Ticks::start(),
        outside: outside(node),
        directory: Arc::new(directory),
        clock,
        meta,
        journal,
        room_timeout: options.room_timeout,
        bucket,
        tier,
        cold,
        catalog,
        offloader,
        bucket_owner,
        metrics: StoreMetrics::register(&metrics),
    });
    metrics::observe(&metrics, &node);
    Ok(Assembled { node, recovery, inbox, report })
}

/// The cluster this store belongs to, after a look at whose bucket it is.
pub(crate) async fn cluster(
    meta: &SharedMeta,
    bucket: &Bucket,
    clock: &SharedClock,
    owner: &Owner,
) -> Result<Cluster, OpenError> {
    let key = keys::cluster();
    if let Some(stored) = meta.read(&key).await? {
        return joined(stored.value, bucket, clock, owner).await;
    }
    // A first start. A bucket that cannot be used is more likely a wrong setting than bad luck.
    bucket.probe().await.map_err(OwnerError::from)?;
    let found = bucket::newest(bucket).await?;
    let id = ClusterId(uuid::Uuid::new_v4());
    let cluster = Cluster { id, incarnation: Incarnation::FIRST, created: clock.now() };
    let txn = Txn::new().when_absent(&key).put(&key, &cluster);
    // Another store may be starting the same cluster at this moment: whoever comes second joins.
    if let Some(stored) = meta.read(&key).await? {
        return joined(stored.value, bucket, clock, owner).await;
    }
    if let Some(found) = found {
        return Err(OwnerError::MetadataMissing { found: found.cluster }.into());
    }
    if let TxnOutcome::Conflict(_) = meta.txn(txn).await? {
        let stored = meta
            .read(&key)
            .await?
            .ok_or_else(|| MetaError::Unavailable("the cluster's record was there and is gone".to_owned()))?;
        return joined(stored.value, bucket, clock, owner).await;
    }
    bucket::claim(bucket, &cluster, clock.now()).await?;
    owner.set_verified();
    Ok(cluster)
}

/// A cluster that is there already, if the bucket is its own.
async fn joined(
    cluster: Cluster,
    bucket: &Bucket,
    clock: &SharedClock,
    owner: &Owner,
) -> Result<Cluster, OpenError> {
    match bucket::claim(bucket, &cluster, clock.now()).await {
        Ok(()) => owner.set_verified(),
        // The hot tier works without it; nothing is uploaded before the bucket could be asked.
        Err(error) if error.is_unreachable() => {
            tracing::warn!(%error, "the bucket cannot be reached; records stay in the hot tier");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(cluster)
}

async fn read(meta: &SharedMeta, led: HashMap<TopicPartition, Led>) -> Result<Known, OpenError> {
    let strange = |key: &str| OpenError::StrangeKey(key.to_owned());
    let mut topics = Vec::new();
    for stored in meta.read_all(&keys::topics()).await?.items {
        let id = keys::parse_topic(&stored.key).ok_or_else(|| strange(&stored.key))?;
        topics.push((id, stored));
    }
    let mut pointers = HashMap::new();
    for stored in meta.read_all(&keys::pointers()).await?.items {
        let id = keys::parse_partition(&stored.key).ok_or_else(|| strange(&stored.key))?;
        pointers.insert(id, (stored.value, stored.mod_revision));
    }
    Ok(Known { topics, led, pointers })
}

/// Opening the journal blocks on the disk; nothing else of the process runs yet.
fn open_journal(
    config: JournalConfig,
    checkpoints: PartitionCheckpoints,
    recovery: &mut Recovery,
) -> Result<(Journal, RecoveryReport), OpenError> {
    let accepts_damage = config.on_damage == tidelog_journal::OnDamage::Quarantine;
    let (journal, report) = Journal::open(config, Arc::new(checkpoints), recovery)?;
    match recovery.gaps().first() {
        Some(gap) if !accepts_damage => Err(OpenError::Gap(*gap)),
        _ => Ok((journal, report)),
    }
}

/// Makes topics and partitions visible. Returns those whose state has to be read from the bucket.
async fn populate(node: &Node, known: Known, recovery: &mut Recovery) -> Result<Vec<Missing>, OpenError> {
    let Known { topics, led, pointers } = known;
    let mut in_bucket = Vec::new();
    let mut deleted = Vec::new();
    let all: HashSet<TopicId> = topics.iter().map(|(id, _)| *id).collect();
    let mut observed = Vec::new();
    for (id, stored) in topics {
        if stored.value.deleted.is_some() {
            deleted.push(id);
            continue;
        }
        let topic = Topic::new(id, &stored.value, stored.mod_revision);
        let mut partitions = Vec::new();
        for id in catalog::ids(&topic) {
            // Another node leads it.
            let Some(led) = led.get(&id) else { continue };
            let stored = pointers.get(&id).copied();
            let pointer = stored.map(|(pointer, _)| pointer);
            if let Some(pointer) = pointer {
                node.journal.set_covered(id, pointer.tiered_end);
            }
            let tiered = Some(Tiered::stored(stored));
            let (partition, missing) = replica::open(node, &topic, id, recovery.take(id), tiered, pointer);
            in_bucket.extend(missing);
            observed.push((Arc::clone(&partition), led));
            partitions.push(partition);
        }
        node.catalog.insert(topic, partitions);
    }
    let left = recovery.left();
    if let Some(topic) = left.difference(&all).next() {
        return Err(OpenError::UnknownTopic(*topic));
    }
    for topic in deleted {
        node.journal.remove(topic);
        node.scribe.bury(topic, left.contains(&topic));
    }
    // Only now: what is written first begins a file, whose checkpoint must have every partition.
    let now = node.clock.now();
    for (partition, led) in observed {
        records::observe(&node.journal, &partition, &led.record, led.revision, Origin::Read, now).await;
    }
    Ok(in_bucket)
}

pub(crate) fn start(
    node: &Arc<Node>,
    options: &StoreOptions,
    inbox: Inbox,
    in_bucket: Vec<Missing>,
    supervisor: &Supervisor,
) {
    let failing = Arc::clone(node);
    let token = supervisor.token();
    supervisor.spawn_fallible("journal", async move {
        match token.run_until_cancelled(failing.journal.failed()).await {
            Some(fatal) => Err(fatal),
            None => Ok(()),
        }
    });
    let scheduler = Scheduler::new(Arc::clone(node), options.pass_limits());
    supervisor.spawn("offload", scheduler.run(inbox, supervisor.token()));
    supervisor.spawn("scribe", scribe::run(Arc::clone(node), supervisor.token()));
    supervisor.spawn("local-retention", retention::run(Arc::clone(node), supervisor.token()));
    if !in_bucket.is_empty() {
        supervisor.spawn("refill", refill::run(Arc::clone(node), in_bucket, supervisor.token()));
    }
}

/// What the journal asks for when it begins a file.
struct PartitionCheckpoints {
    catalog: Arc<Catalog>,
    scribe: Arc<Scribe>,
    clock: SharedClock,
}

impl Checkpoints for PartitionCheckpoints {
    fn checkpoint(&self) -> Vec<(TopicPartition, PartitionCheckpoint)> {
        self.scribe.on_checkpoint();
        let now = self.clock.now();
        let partitions = self.catalog.partitions().into_iter();
        partitions
            .filter_map(|partition| {
                let (state, log_start) = partition.checkpoint(now)?;
                Some((partition.id, PartitionCheckpoint { log_start, state }))
            })
            .collect()
    }

    fn local_start_moved(&self, partition: TopicPartition, local_start: Offset) {
        // Followers are told where a leader's log begins.
        if let Ok(partition) = self.catalog.partition(partition) {
            partition.moved_local_start(local_start);
        }
    }
}
