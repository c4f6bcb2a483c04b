//! Keeping what this store holds in step with the cluster's records.
//!
//! The mirror tells what changed, and must not be kept waiting; a task of its own does what follows, each
//! partition once however often it changed meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tidelog_format::pointer::Pointer;
use tidelog_journal::Append;
use tidelog_link::{Mesh, PeerAddress};
use tidelog_meta::image::{Image, Mirror, Observer, Subject};
use tidelog_meta::value::{Leader, Partition as PartitionRecord};
use tidelog_meta::{Revision, Role};
use tidelog_model::{LeaderEpoch, NodeId, Offset, TopicId, TopicPartition};
use tidelog_replica::Origin;
use tidelog_runtime::{CancellationToken, Supervisor};
use tokio::sync::{Notify, oneshot};

use crate::boot::recovery::RecoveredLog;
use crate::boot::replica::{self, Missing};
use crate::journal_sink::SMALL_FRAME_BYTES;
use crate::node::Node;
use crate::partition::{Partition, Status, not_leader};
use crate::records;
use crate::topics::catalog::Topic;

/// What the journal had and what the bucket has, of partitions that were not opened yet.
#[derive(Default)]
pub(super) struct Found {
    pub(super) logs: HashMap<TopicPartition, RecoveredLog>,
    pub(super) pointers: HashMap<TopicPartition, Pointer>,
}

/// What changed and was not looked at.
#[derive(Default)]
struct News {
    all: bool,
    peers: bool,
    topics: HashSet<TopicId>,
    partitions: HashSet<TopicPartition>,
}

impl News {
    fn is_empty(&self) -> bool {
        !self.all && !self.peers && self.topics.is_empty() && self.partitions.is_empty()
    }
}

/// The mirror's observer.
#[derive(Default)]
pub(super) struct Follow {
    news: Mutex<News>,
    wake: Notify,
}

impl Observer for Follow {
    fn changed(&self, _: &Image, subjects: &[Subject]) {
        let mut news = self.news.lock();
        for subject in subjects {
            match subject {
                Subject::Live(_) => news.peers = true,
                Subject::Topic(topic) => drop(news.topics.insert(*topic)),
                Subject::Partition(partition) => drop(news.partitions.insert(*partition)),
                Subject::Node(_) | Subject::Drain(_) => {}
            }
        }
        drop(news);
        self.wake.notify_one();
    }

    fn listed(&self, _: &Image) {
        self.news.lock().all = true;
        self.wake.notify_one();
    }
}

/// The task that carries news out.
pub(super) struct Follower {
    pub(super) node: Arc<Node>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) mesh: Mesh,
    pub(super) found: Found,
    pub(super) tasks: Supervisor,
}

/// A partition whose record is to be told.
struct Told {
    partition: Arc<Partition>,
    record: PartitionRecord,
    revision: Revision,
}

impl Follower {
    /// Runs until cancelled.
    pub(super) async fn run(mut self, follow: Arc<Follow>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let news = std::mem::take(&mut *follow.news.lock());
            if news.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = follow.wake.notified() => continue,
                }
            }
            self.take_in(news).await;
        }
    }

    /// What the listing before the first news says: everything that this store holds is opened.
    pub(super) async fn open_all(&mut self) {
        self.take_in(News { all: true, ..News::default() }).await;
    }

    async fn take_in(&mut self, mut news: News) {
        if news.all {
            self.everything(&mut news);
        }
        if news.all || news.peers {
            self.mesh.set_peers(self.peers());
        }
        for topic in std::mem::take(&mut news.topics) {
            self.follow_topic(topic, &mut news.partitions);
        }
        let mut told = Vec::new();
        for id in news.partitions {
            told.extend(self.follow_partition(id).await);
        }
        // Only now: whatever is written first may begin a file, whose checkpoint must have them all.
        for Told { partition, record, revision } in told {
            // The listing and what followed it are newer than this start's registration: for the first record
            // that a replica is told, that is as good as a read. (One that waits for room was not told yet.)
            let origin = if partition.record().1 == 0 { Origin::Read } else { Origin::Watch };
            let leads = record.leader == Some(self.me());
            let node = Arc::clone(&self.node);
            let observe = async move {
                let now = node.clock.now();
                records::observe(&node.journal, &partition, &record, revision, origin, now).await;
            };
            // Who is to lead may have to wait for room in the journal; others are not to wait for that.
            if leads {
                self.tasks.spawn_until_cancelled("observe", observe);
            } else {
                observe.await;
            }
        }
    }

    fn me(&self) -> Leader {
        self.node.identity.leader
    }

    /// Everything that is in the image, and everything that is here.
    fn everything(&self, news: &mut News) {
        let image = self.mirror.image();
        news.topics.extend(image.topics.keys());
        news.topics.extend(self.node.catalog.topics().iter().map(|topic| topic.id));
        news.partitions.extend(image.partitions.keys());
        news.partitions.extend(self.node.catalog.partitions().iter().map(|partition| partition.id));
    }

    fn peers(&self) -> HashMap<NodeId, PeerAddress> {
        let image = self.mirror.image();
        let stores = image.live_nodes().filter(|live| live.roles.contains(&Role::Store));
        let peer = |live: &tidelog_meta::Live| {
            let leader = Leader { node: live.node, directory: live.directory, boot: live.boot };
            (live.node, PeerAddress { address: live.address.clone(), instance: records::instance(leader) })
        };
        stores.filter(|live| live.node != self.me().node).map(peer).collect()
    }

    fn follow_topic(&self, id: TopicId, partitions: &mut HashSet<TopicPartition>) {
        let catalog = &self.node.catalog;
        let image = self.mirror.image();
        let Some(held) = image.topics.get(&id) else {
            // A deleted topic says so. Nothing is dropped because a record is missing or cannot be read.
            if catalog.topic(&id.into()).is_ok() {
                tracing::error!(topic = %id, "the record of a topic is gone or cannot be read; what is here stays");
            }
            return;
        };
        if held.value.deleted.is_some() {
            return self.bury(id);
        }
        match catalog.topic(&id.into()) {
            Ok(topic) => topic.change(&held.value, held.revision),
            Err(_) => catalog.insert(Topic::new(id, &held.value, held.revision), []),
        }
        // Their records may have come before the topic's.
        partitions.extend(image.partitions.range(topic_range(id)).map(|(partition, _)| *partition));
    }

    fn bury(&self, topic: TopicId) {
        for partition in self.node.catalog.remove(topic) {
            partition.leave(Status::Deleted);
        }
        self.node.journal.remove(topic);
    }

    async fn follow_partition(&mut self, id: TopicPartition) -> Option<Told> {
        let (topic, record, revision) = {
            let image = self.mirror.image();
            let held = image.partitions.get(&id)?;
            let topic = self.node.catalog.topic(&id.topic.into()).ok()?;
            (topic, held.value.clone(), held.revision)
        };
        let is_here = self.is_placed_here(&record);
        match self.node.catalog.partition(id) {
            Ok(partition) if is_here => Some(Told { partition, record, revision }),
            Ok(partition) => {
                tracing::info!(partition = %id, "this store holds it no more");
                self.node.catalog.remove_partition(id);
                // Who waits here is to look for the others.
                partition.leave(Status::Failed(not_leader(id)));
                self.clear(id, record.epoch).await;
                None
            }
            Err(_) if is_here && id.partition.0 < topic.partitions() => {
                Some(Told { partition: self.open(&topic, id).await, record, revision })
            }
            Err(_) => {
                // Moved away while this store was down: the journal may have it still.
                if self.found.logs.remove(&id).is_some() {
                    self.clear(id, record.epoch).await;
                }
                None
            }
        }
    }

    fn is_placed_here(&self, record: &PartitionRecord) -> bool {
        let me = self.me();
        record.replicas.contains(&me.node) || record.isr.contains(&me.replica())
    }

    /// Opens a partition on what the journal has of it.
    async fn open(&mut self, topic: &Arc<Topic>, id: TopicPartition) -> Arc<Partition> {
        let node = &self.node;
        let mut log = self.found.logs.remove(&id).unwrap_or_default();
        let pointer = self.found.pointers.remove(&id);
        if let Some(pointer) = pointer {
            node.journal.set_covered(id, pointer.tiered_end);
        }
        let filled = replica::fill(&node.journal, id, &mut log).await;
        let (partition, missing) = replica::open(node, topic, id, log, None, pointer);
        if let Err(error) = filled {
            tracing::error!(partition = %id, %error, "the journal cannot be read; the partition stays out");
            partition.leave(Status::Failed(crate::error::of_read(&error)));
        }
        node.catalog.insert_partition(Arc::clone(&partition));
        if let Some(missing) = missing {
            self.refill(missing);
        }
        partition
    }

    /// Lets the journal forget a partition for good: should it come back, nothing old comes back with it.
    async fn clear(&self, id: TopicPartition, epoch: LeaderEpoch) {
        let journal = &self.node.journal;
        if journal.local(id).is_none() {
            return;
        }
        let Ok(room) = journal.reserve(SMALL_FRAME_BYTES).await else { return };
        let (cut, is_cut) = oneshot::channel();
        let done = move |outcome: Result<_, _>| {
            let _ = cut.send(outcome.is_ok());
        };
        journal.append(room, Append::truncate(id, epoch, Offset::ZERO), Box::new(done));
        if is_cut.await == Ok(true) {
            journal.remove_partition(id);
        }
    }

    fn refill(&self, missing: Missing) {
        let (node, stop) = (Arc::clone(&self.node), self.tasks.token());
        self.tasks.spawn("refill", crate::boot::refill::run(node, vec![missing], stop));
    }
}

/// Every partition of a topic.
fn topic_range(topic: TopicId) -> std::ops::RangeInclusive<TopicPartition> {
    let at = |number| TopicPartition::new(topic, tidelog_model::PartitionId(number));
    at(0)..=at(u32::MAX)
}
