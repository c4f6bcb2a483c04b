//! New leaders learn what the bucket has: their pointers are read, many at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_format::pointer::Pointer;
use tidelog_meta::{MetaError, Revision, TypedMeta as _, keys};
use tidelog_model::{LeaderEpoch, TopicPartition};
use tidelog_runtime::CancellationToken;
use tokio::sync::Notify;

use crate::node::Node;
use crate::partition::Partition;
use crate::tiered::Tiered;

/// Beyond so many, one listing of all pointers is less than a read of each.
const SINGLE_READS_MAX: usize = 16;

const AGAIN: Duration = Duration::from_millis(200);

/// The newest leadership of each partition whose pointer is to be read.
#[derive(Default)]
pub(super) struct PointerReads {
    wanted: Mutex<HashMap<TopicPartition, (Arc<Partition>, LeaderEpoch)>>,
    wake: Notify,
}

impl PointerReads {
    pub(super) fn want(&self, partition: &Arc<Partition>, epoch: LeaderEpoch) {
        self.wanted.lock().insert(partition.id, (Arc::clone(partition), epoch));
        self.wake.notify_one();
    }

    fn take(&self) -> HashMap<TopicPartition, (Arc<Partition>, LeaderEpoch)> {
        std::mem::take(&mut self.wanted.lock())
    }

    /// Those that were not read, unless they are wanted for a newer leadership by now.
    fn put_back(&self, unread: HashMap<TopicPartition, (Arc<Partition>, LeaderEpoch)>) {
        let mut wanted = self.wanted.lock();
        for (id, one) in unread {
            wanted.entry(id).or_insert(one);
        }
    }
}

/// Runs until cancelled.
pub(super) async fn run(node: Arc<Node>, reads: Arc<PointerReads>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let wanted = reads.take();
        if wanted.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = reads.wake.notified() => continue,
            }
        }
        // The reads begin now, after the leaderships did.
        match read(&node, &wanted).await {
            Ok(mut pointers) => {
                for (id, (partition, epoch)) in wanted {
                    partition.found_pointer(epoch, Tiered::stored(pointers.remove(&id)));
                }
            }
            Err(error) => {
                tracing::warn!(%error, partitions = wanted.len(), "pointers cannot be read; trying again");
                reads.put_back(wanted);
                let _ = tokio::time::timeout(AGAIN, stop.cancelled()).await;
            }
        }
    }
}

async fn read(
    node: &Node,
    wanted: &HashMap<TopicPartition, (Arc<Partition>, LeaderEpoch)>,
) -> Result<HashMap<TopicPartition, (Pointer, Revision)>, MetaError> {
    let mut pointers = HashMap::new();
    if wanted.len() > SINGLE_READS_MAX {
        for stored in node.meta.read_all(&keys::pointers()).await?.items {
            if let Some(id) = keys::parse_partition(&stored.key) {
                pointers.insert(id, (stored.value, stored.mod_revision));
            }
        }
        return Ok(pointers);
    }
    for id in wanted.keys() {
        if let Some(stored) = node.meta.read(&keys::pointer(*id)).await? {
            pointers.insert(*id, (stored.value, stored.mod_revision));
        }
    }
    Ok(pointers)
}
