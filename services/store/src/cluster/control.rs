//! What the controller asks of this store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use tidelog_meta::image::Mirror;
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_peer::{
    HAND_OVER_HOLD, HandOver, LogReports, PartitionBytes, Ping, Pong, StoreControl, StoreError,
};
use tidelog_replica::Role;

use super::resigned::Resigned;
use crate::node::Node;
use crate::partition::Partition;

pub(super) struct Control {
    pub(super) node: Arc<Node>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) resigned: Arc<Resigned>,
    /// The newest controller's.
    pub(super) token: AtomicU64,
}

impl Control {
    /// Orders of a controller that was replaced are not carried out.
    fn check(&self, token: u64) -> Result<(), StoreError> {
        let newest = self.token.fetch_max(token, Ordering::Relaxed);
        if token >= newest {
            return Ok(());
        }
        let message = format!("token {token} is of an earlier controller; {newest} is newer");
        Err(StoreError::new(ErrorCode::NotController, message))
    }

    fn partitions(&self, ids: Vec<TopicPartition>) -> impl Iterator<Item = Arc<Partition>> + '_ {
        ids.into_iter().filter_map(|id| self.node.catalog.partition(id).ok())
    }
}

#[async_trait]
impl StoreControl for Control {
    async fn ping(&self, ping: Ping) -> Result<Pong, StoreError> {
        self.check(ping.token)?;
        let me = self.node.identity.leader;
        {
            let image = self.mirror.image();
            self.resigned.retain(|partition, epoch| {
                // The image may be behind what the replica knows.
                let record = image.partitions.get(&partition).map(|held| &held.value);
                record.is_some_and(|record| {
                    record.epoch < epoch || (record.epoch == epoch && record.leader == Some(me))
                })
            });
        }
        Ok(Pong {
            directory: me.directory,
            boot: me.boot,
            fit: !self.resigned.is_slow(),
            resigned: self.resigned.list(),
        })
    }

    async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, StoreError> {
        let me = self.node.identity.leader;
        // One that is being recovered does not know how far it reaches.
        let known = self.partitions(partitions).filter(|partition| partition.check().is_ok());
        let logs = known.map(|partition| partition.report()).collect();
        Ok(LogReports { directory: me.directory, boot: me.boot, logs })
    }

    async fn hand_over(&self, token: u64, partitions: Vec<HandOver>) -> Result<(), StoreError> {
        self.check(token)?;
        let until = Instant::now() + HAND_OVER_HOLD;
        let mut held = Vec::new();
        for HandOver { partition, epoch, .. } in partitions {
            if let Ok(partition) = self.node.catalog.partition(partition)
                && partition.hold(epoch, until)
            {
                held.push((partition, epoch));
            }
        }
        for (partition, epoch) in held {
            loop {
                let mut changed = std::pin::pin!(partition.changed());
                changed.as_mut().enable();
                if partition.is_quiet(epoch) {
                    break;
                }
                if tokio::time::timeout_at(until.into(), changed).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError> {
        let node = &self.node;
        let led = node.catalog.partitions().into_iter();
        let led = led.filter(|partition| matches!(partition.role(), Role::Leading { .. }));
        Ok(led
            .map(|partition| PartitionBytes {
                partition: partition.id,
                bytes: node.journal.local(partition.id).map_or(0, |local| local.bytes),
            })
            .collect())
    }
}
