//! Reads: from a follower nearby, from the leader, or the way to the bucket when there is none.

use std::time::Duration;

use tidelog_format::pointer::Pointer;
use tidelog_meta::{TypedMeta as _, keys};
use tidelog_model::{ErrorCode, Offset, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Marks, PartitionStore as _, StoreError};
use tokio::time::Instant;

use super::attempts::Attempts;
use super::peers::Peer;
use super::{Core, route};

impl Core {
    pub(super) async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        let wait = fetch.max_wait.unwrap_or(Duration::ZERO);
        let wait_until = Instant::now() + wait;
        // What was waited for elsewhere is not waited for again.
        let fetch = |follower| Fetch {
            max_wait: fetch.max_wait.map(|_| wait_until.saturating_duration_since(Instant::now())),
            follower,
            ..fetch
        };
        let (partition, from) = (fetch(false).partition, fetch(false).from);
        if let Some(peer) = self.nearby(partition) {
            match peer.call(peer.remote.fetch(fetch(true))).await {
                Ok(found) => return Ok(found),
                // It may be behind, or out of sync by now: the leader knows.
                Err(error) => {
                    tracing::debug!(%partition, store = %peer.store, %error, "not read from the follower");
                }
            }
        }
        let mut attempts = Attempts::new(self, partition, "a read", self.options.call_timeout + wait);
        let mut looked_up = false;
        loop {
            let failed = match attempts.ask(async |remote| remote.fetch(fetch(false)).await).await {
                Ok(found) => return Ok(found),
                Err(failed) => failed,
            };
            // Only a leader moves the pointer, so that it is looked up once.
            if !looked_up && failed.is_for_want_of_a_leader() {
                looked_up = true;
                if let Some(found) = self.tiered(partition, from).await? {
                    return Ok(found);
                }
            }
            attempts.again(failed).await?;
        }
    }

    /// The follower that this frontend reads a partition from.
    fn nearby(&self, partition: TopicPartition) -> Option<Peer> {
        let rack = self.options.rack.as_deref()?;
        let image = self.mirror.image();
        route::nearby(&image, partition, rack).map(|store| self.peers.of(&store))
    }

    /// What the metadata store says of an offset when no store does: where the bucket has it, or that
    /// nobody has it any more. `None` when only a leader can tell.
    async fn tiered(&self, partition: TopicPartition, from: Offset) -> Result<Option<Fetched>, StoreError> {
        let pointer = match self.meta.read(&keys::pointer(partition)).await {
            Ok(stored) => stored.map(|stored| stored.value),
            Err(error) => {
                tracing::debug!(%partition, %error, "the pointer cannot be read");
                None
            }
        };
        let Some(pointer) = pointer.filter(|pointer| from < pointer.tiered_end) else { return Ok(None) };
        if from < pointer.log_start {
            let (name, start) = (self.name(partition), pointer.log_start);
            let message = format!("{name}: offset {from} is below what there is, which begins at {start}");
            return Err(StoreError::new(ErrorCode::OffsetOutOfRange, message));
        }
        Ok(Some(Fetched::Tiered { pointer, marks: marks(&pointer) }))
    }
}

/// What is certain of a partition by its pointer alone: what the bucket has, it has.
fn marks(pointer: &Pointer) -> Marks {
    let end = pointer.tiered_end;
    Marks {
        log_start: pointer.log_start,
        local_start: end,
        tiered_end: end,
        last_stable: end,
        high_watermark: end,
        log_end: end,
    }
}
