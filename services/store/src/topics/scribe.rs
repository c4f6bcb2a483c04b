//! Tells the bucket which topics and partitions there are, for whoever has nothing but the bucket.
//!
//! Descriptors are written when a topic is created, altered or deleted, in the background, again and
//! again until the bucket takes them; and in any case before a partition's first segment is published.
//!
//! A deleted topic is forgotten by the metadata store last: as long as the journal's replay may come
//! upon its records, the topic's record says why nobody asks for them. Records without any topic would
//! mean that the metadata is not what it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_format::descriptor::{PartitionDescriptor, TopicDescriptor};
use tidelog_meta::limits::TXN_OPS_MAX;
use tidelog_meta::value::Topic as TopicRecord;
use tidelog_meta::{Op, Stored, Txn, TypedMeta as _, keys};
use tidelog_model::TopicId;
use tidelog_peer::{StoreError, TopicRef};
use tidelog_runtime::CancellationToken;
use tokio::sync::Notify;

use super::catalog::Topic;
use crate::error::{of_bucket, of_meta};
use crate::node::Node;
use crate::offload::error::OffloadError;
use crate::partition::Partition;

const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// What is to be told. There is at most one of each for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// The topic as it is now.
    Describe(TopicId),
    /// That the topic is deleted.
    Bury(TopicId),
    /// Nothing more to tell: the metadata store forgets the topic.
    Forget(TopicId),
}

/// What waits to be told.
#[derive(Debug, Default)]
pub(crate) struct Scribe {
    tasks: Mutex<BTreeSet<Task>>,
    wake: Notify,
    /// Deleted topics, each with the number of checkpoints that were begun when it was taken out.
    replayed: Mutex<Vec<(TopicId, u64)>>,
    checkpoints: AtomicU64,
}

/// Checkpoints that must have begun after a topic was taken out: the first is without it, and the second
/// one's beginning says that the first is complete.
const CHECKPOINTS_WITHOUT: u64 = 2;

impl Scribe {
    pub(crate) fn describe(&self, topic: TopicId) {
        self.add(Task::Describe(topic));
    }

    /// `replayed` says whether the journal's replay may come upon the topic.
    pub(crate) fn bury(&self, topic: TopicId, replayed: bool) {
        // Known before the task can be found, which forgets what is not replayed.
        if replayed {
            self.replayed.lock().push((topic, self.checkpoints.load(Ordering::Relaxed)));
        }
        self.add(Task::Bury(topic));
    }

    /// The journal begins a file with a checkpoint.
    pub(crate) fn on_checkpoint(&self) {
        let begun = self.checkpoints.fetch_add(1, Ordering::Relaxed) + 1;
        self.replayed.lock().retain(|(topic, since)| {
            let waits = begun - since < CHECKPOINTS_WITHOUT;
            if !waits {
                self.add(Task::Bury(*topic));
            }
            waits
        });
    }

    fn is_replayed(&self, topic: TopicId) -> bool {
        self.replayed.lock().iter().any(|(other, _)| *other == topic)
    }

    fn add(&self, task: Task) {
        self.tasks.lock().insert(task);
        self.wake.notify_one();
    }

    fn first(&self) -> Option<Task> {
        self.tasks.lock().first().copied()
    }

    fn done(&self, task: Task) {
        self.tasks.lock().remove(&task);
    }
}

/// Runs until cancelled.
pub(crate) async fn run(node: Arc<Node>, stop: CancellationToken) {
    let mut failures = 0_u32;
    while !stop.is_cancelled() {
        let Some(task) = node.scribe.first() else {
            failures = 0;
            tokio::select! {
                () = stop.cancelled() => return,
                () = node.scribe.wake.notified() => continue,
            }
        };
        match perform(&node, task).await {
            Ok(()) => {
                node.scribe.done(task);
                failures = 0;
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(?task, %error, "a descriptor could not be written; trying again");
                }
                let wait = BACKOFF_FIRST.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
                failures += 1;
                let _ = tokio::time::timeout(wait, stop.cancelled()).await;
            }
        }
    }
}

async fn perform(node: &Node, task: Task) -> Result<(), StoreError> {
    match task {
        Task::Describe(topic) => match node.catalog.topic(&TopicRef::Id(topic)) {
            Ok(topic) => describe_topic(node, &topic).await,
            // It was deleted since.
            Err(_) => Ok(()),
        },
        Task::Bury(topic) => bury(node, topic).await,
        Task::Forget(topic) => forget(node, topic).await,
    }
}

/// Makes sure that the bucket knows a partition before it gets the partition's records.
pub(crate) async fn describe_partition(node: &Node, partition: &Partition) -> Result<(), OffloadError> {
    describe_topic(node, &partition.topic).await.map_err(OffloadError::Bucket)?;
    if partition.pointer().is_some() {
        return Ok(());
    }
    let descriptor = PartitionDescriptor {
        tp: partition.id,
        incarnation: node.identity.cluster.incarnation,
        epoch: partition.leadership().epoch,
        sequence: 1,
        written: node.clock.now(),
        created: partition.topic.created,
    };
    node.owner().await.map_err(OffloadError::Bucket)?;
    let put = node.descriptors.put_partition(&descriptor).await;
    put.map(drop).map_err(|error| OffloadError::Bucket(of_bucket(&error)))
}

async fn describe_topic(node: &Node, topic: &Topic) -> Result<(), StoreError> {
    let revision = topic.revision();
    if topic.described() >= revision {
        return Ok(());
    }
    let config = topic.config();
    let overrides = config.overrides().into_iter();
    let descriptor = TopicDescriptor {
        topic: topic.id,
        name: topic.name.clone(),
        incarnation: node.identity.cluster.incarnation,
        sequence: revision.0,
        partitions: topic.partitions(),
        written: node.clock.now(),
        created: topic.created,
        deleted: None,
        config: overrides.map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    node.owner().await?;
    node.descriptors.put_topic(&descriptor).await.map_err(|error| of_bucket(&error))?;
    topic.set_described(revision);
    Ok(())
}

/// Writes a deleted topic's tombstone; the topic is forgotten when nothing can come upon it.
async fn bury(node: &Node, topic: TopicId) -> Result<(), StoreError> {
    let stored = node.meta.read(&keys::topic(topic)).await.map_err(|error| of_meta(&error))?;
    let Some(Stored { value: record, mod_revision, .. }) = stored else {
        return Ok(());
    };
    let Some(deleted) = record.deleted else {
        return Ok(());
    };
    let TopicRecord { name, partitions, created, config, .. } = record;
    let tombstone = TopicDescriptor {
        topic,
        name,
        incarnation: node.identity.cluster.incarnation,
        sequence: mod_revision.0,
        partitions,
        written: node.clock.now(),
        created,
        deleted: Some(deleted),
        config: config.into_iter().collect(),
    };
    node.owner().await?;
    node.descriptors.put_topic(&tombstone).await.map_err(|error| of_bucket(&error))?;
    if !node.scribe.is_replayed(topic) {
        node.scribe.add(Task::Forget(topic));
    }
    Ok(())
}

/// Removes a topic's keys, the topic itself last, so that what a crash leaves is found again.
async fn forget(node: &Node, topic: TopicId) -> Result<(), StoreError> {
    let mut doomed = Vec::new();
    for prefix in [keys::partitions_of(topic).to_string(), keys::pointers_of(topic).to_string()] {
        let listing = node.meta.list(&prefix).await.map_err(|error| of_meta(&error))?;
        doomed.extend(listing.entries.into_iter().map(|entry| entry.key.as_ref().to_owned()));
    }
    for chunk in doomed.chunks(TXN_OPS_MAX) {
        let txn = chunk.iter().fold(Txn::new(), |txn, key| txn.op(Op::Delete { key: key.clone() }));
        let _ = node.meta.txn(txn).await.map_err(|error| of_meta(&error))?;
    }
    let txn = Txn::new().delete(&keys::topic(topic));
    let _ = node.meta.txn(txn).await.map_err(|error| of_meta(&error))?;
    Ok(())
}
