//! The metadata store's records, in the words of replication.

use std::sync::Arc;
use std::time::Duration;

use tidelog_journal::Journal;
use tidelog_meta::value::{Leader, Partition as PartitionRecord, Replica as Member};
use tidelog_meta::{MetaError, Revision, TypedMeta as _, keys};
use tidelog_model::TimestampMs;
use tidelog_replica::{Event, Instance, Observed, Origin, Record, ReplicaId};

use crate::node::Node;
use crate::partition::Partition;

pub(crate) fn instance(leader: Leader) -> Instance {
    Instance { replica: replica(leader.replica()), boot: leader.boot }
}

pub(crate) fn replica(member: Member) -> ReplicaId {
    ReplicaId { node: member.node, directory: member.directory }
}

pub(crate) fn member(replica: ReplicaId) -> Member {
    Member { node: replica.node, directory: replica.directory }
}

/// Tells a partition's replica what its record says, as soon as there is room for what may follow.
pub(crate) async fn observe(
    journal: &Journal,
    partition: &Arc<Partition>,
    record: &PartitionRecord,
    revision: Revision,
    origin: Origin,
    now: TimestampMs,
) {
    let floor = record.floor(partition.topic.isr_floor());
    let record = Record {
        epoch: record.epoch,
        leader: record.leader.map(instance),
        replicas: record.replicas.clone(),
        isr: record.isr.iter().copied().map(replica).collect(),
        unclean_epoch: record.unclean_epoch,
    };
    let observed = Observed { record, revision: revision.0, floor, origin };
    partition.feed(journal, Event::Observed(observed), None, now).await;
}

/// How often a read of a record is tried again.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Reads a partition's record, beginning now, and tells its replica; again and again until it can be read.
pub(crate) async fn read_back(node: Arc<Node>, partition: Arc<Partition>) {
    let key = keys::partition(partition.id);
    loop {
        match node.meta.read(&key).await {
            Ok(Some(stored)) => {
                let now = node.clock.now();
                let (record, revision) = (&stored.value, stored.mod_revision);
                return observe(&node.journal, &partition, record, revision, Origin::Read, now).await;
            }
            // Deleted; whoever follows the topics takes the partition out.
            Ok(None) | Err(MetaError::Closed) => return,
            Err(error) => {
                tracing::warn!(partition = %partition.id, %error, "its record cannot be read; trying again");
                #[expect(clippy::disallowed_methods, reason = "a back-off")]
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }
}
