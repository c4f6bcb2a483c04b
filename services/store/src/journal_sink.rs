//! Handing a partition's batches to the journal.

use std::time::Duration;

use bytes::Bytes;
use tidelog_format::batch::BatchHeader;
use tidelog_format::state::EpochEntry;
use tidelog_journal::{Append, AppendError, Journal, Reservation};
use tidelog_model::{ErrorCode, LeaderEpoch, Offset, TimestampMs, TopicPartition};
use tidelog_peer::StoreError;
use tidelog_replica::Event;

use crate::partition::step::{CutWritten, Sink, Written};

/// Room for a frame that carries no batch.
pub(crate) const SMALL_FRAME_BYTES: usize = 64;

/// The journal with room reserved in it, so that nothing it is handed can fail for lack of it.
pub(crate) struct JournalSink<'a> {
    journal: &'a Journal,
    partition: TopicPartition,
    now: TimestampMs,
    /// For one fact: a leadership that begins, or a cut.
    small: Option<Reservation>,
    batch: Option<Reservation>,
}

impl<'a> JournalSink<'a> {
    pub(crate) fn new(
        journal: &'a Journal,
        partition: TopicPartition,
        now: TimestampMs,
        small: Option<Reservation>,
        batch: Option<Reservation>,
    ) -> Self {
        Self { journal, partition, now, small, batch }
    }

    /// Waits for room for one batch.
    pub(crate) async fn reserve(
        journal: &'a Journal,
        partition: TopicPartition,
        batch_bytes: usize,
        now: TimestampMs,
    ) -> Result<Self, StoreError> {
        let room = journal.reserve(batch_bytes).await.map_err(|error| refused(partition, &error))?;
        Ok(Self::new(journal, partition, now, None, Some(room)))
    }
}

impl Sink for JournalSink<'_> {
    fn epoch_start(&mut self, entry: EpochEntry) {
        let room = self.small.take().expect("room for a leadership's begin");
        // If this fails the batch behind it fails too, and that one is answered.
        self.journal.append(room, Append::epoch_start(self.partition, entry), Box::new(|_| {}));
    }

    fn batch(&mut self, header: &BatchHeader, bytes: Bytes, done: Written) {
        let append = Append::batch(self.partition, header, self.now, bytes);
        let room = self.batch.take().expect("room for one batch");
        self.journal.append(
            room,
            append,
            Box::new(move |outcome| match outcome {
                Ok(_) => done.durable(),
                Err(error) => done.failed(code(&error), &error.to_string()),
            }),
        );
    }

    fn truncate(&mut self, epoch: LeaderEpoch, end: Offset, done: CutWritten) {
        let room = self.small.take().expect("room for a cut");
        cut(self.journal, room, self.partition, epoch, end, self.now, done);
    }
}

/// Voids everything of a partition from `end` on. When that is synced, the replica is told, for which
/// there must be room again: a leadership may begin then.
pub(crate) fn cut(
    journal: &Journal,
    room: Reservation,
    partition: TopicPartition,
    epoch: LeaderEpoch,
    end: Offset,
    now: TimestampMs,
    done: CutWritten,
) {
    let runtime = tokio::runtime::Handle::current();
    let owner = journal.clone();
    let told = move |outcome: Result<_, AppendError>| {
        // A journal that failed ends the process.
        let Ok(_) = outcome else { return };
        let CutWritten { partition, generation } = done;
        runtime.spawn(async move {
            partition.feed(&owner, Event::CutDurable { generation }, None, now).await;
        });
    };
    journal.append(room, Append::truncate(partition, epoch, end), Box::new(told));
}

/// Gives up the wait for room after `limit`. Nothing has been appended then, or ever will be: an offset
/// is given only to what has room.
pub(crate) async fn in_time<T>(
    limit: Duration,
    journal: &Journal,
    partition: TopicPartition,
    room: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    if let Ok(room) = tokio::time::timeout(limit, room).await {
        return room;
    }
    let stats = journal.stats();
    let (code, why) = if stats.disk_full {
        (ErrorCode::StorageFull, "the disk is full")
    } else if stats.backlog {
        (ErrorCode::BacklogFull, "the local budget is full of records that are not in the bucket yet")
    } else {
        (ErrorCode::ThrottlingQuotaExceeded, "the journal is behind")
    };
    let waited_ms = limit.as_millis();
    Err(StoreError::new(code, format!("{partition}: no room within {waited_ms} ms: {why}")))
}

/// Why nothing was appended, as the caller is told.
fn refused(partition: TopicPartition, error: &AppendError) -> StoreError {
    StoreError::new(code(error), format!("{partition}: {error}"))
}

fn code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Full => ErrorCode::StorageFull,
        AppendError::Backlog => ErrorCode::BacklogFull,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::Closed => ErrorCode::ShuttingDown,
        AppendError::Failed(_) => ErrorCode::StorageError,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidelog_format::journal::PartitionCheckpoint;
    use tidelog_journal::{Checkpoints, JournalConfig};
    use tidelog_model::{PartitionId, TopicId};

    use super::*;
    use crate::boot::recovery::Recovery;

    struct Nothing;

    impl Checkpoints for Nothing {
        fn checkpoint(&self) -> Vec<(TopicPartition, PartitionCheckpoint)> {
            Vec::new()
        }
    }

    #[tokio::test]
    async fn the_wait_for_room_ends_with_a_retriable_refusal() {
        let dir = tempfile::tempdir().unwrap();
        let mut config =
            JournalConfig::new(dir.path().join("journal"), tidelog_runtime::SystemClock::shared());
        (config.file_bytes, config.budget_bytes) = (1 << 20, 8 << 20);
        (config.group_bytes_max, config.queue_bytes_max) = (64 << 10, 128 << 10);
        let (journal, _) = Journal::open(config, Arc::new(Nothing), &mut Recovery::default()).unwrap();
        let partition = TopicPartition::new(TopicId::from_bytes([1; 16]), PartitionId(0));
        let reserve = |limit| {
            let room = JournalSink::reserve(&journal, partition, 100 << 10, TimestampMs(0));
            in_time(limit, &journal, partition, room)
        };
        let long = Duration::from_mins(1);
        let held = reserve(long).await.unwrap();
        let refused = reserve(Duration::from_millis(20)).await.err().unwrap();
        assert_eq!(refused.code, ErrorCode::ThrottlingQuotaExceeded);
        assert!(refused.is_retryable() && refused.has_no_side_effects());
        // Who gave up waiting holds nothing.
        drop(held);
        assert!(reserve(long).await.is_ok());
    }
}
