//! Handing a partition's batches to the journal.

use std::time::Duration;

use tidelog_format::state::EpochEntry;
use tidelog_journal::{Append, AppendError, Journal, Reservation};
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::StoreError;

use crate::partition::epochs::Leadership;
use crate::partition::log_state::Place;
use crate::partition::{Completion, Sink};
use crate::produce::Validated;

/// Room for a frame that carries no batch.
const EPOCH_START_BYTES: usize = 64;

/// The journal with room reserved in it, so that nothing it is handed can fail for lack of it.
pub(crate) struct JournalSink<'a> {
    journal: &'a Journal,
    partition: TopicPartition,
    now: TimestampMs,
    batch: Option<Reservation>,
    epoch_start: Option<Reservation>,
}

impl<'a> JournalSink<'a> {
    /// Waits for room for one batch, and for the start of an epoch if there may be one.
    pub(crate) async fn reserve(
        journal: &'a Journal,
        partition: TopicPartition,
        batch_bytes: usize,
        starts_epoch: bool,
        now: TimestampMs,
    ) -> Result<Self, StoreError> {
        let refused = |error| refused(partition, &error);
        let epoch_start = if starts_epoch {
            Some(journal.reserve(EPOCH_START_BYTES).await.map_err(refused)?)
        } else {
            None
        };
        let batch = Some(journal.reserve(batch_bytes).await.map_err(refused)?);
        Ok(Self { journal, partition, now, batch, epoch_start })
    }
}

impl Sink for JournalSink<'_> {
    fn epoch_start(&mut self, leadership: Leadership, start: Offset) {
        let Leadership { incarnation, epoch } = leadership;
        let append = Append::epoch_start(self.partition, EpochEntry { incarnation, epoch, start });
        let room = self.epoch_start.take().expect("an epoch that has started does not start again");
        // If this fails the batch behind it fails too, and that one is answered.
        self.journal.append(room, append, Box::new(|_| {}));
    }

    fn batch(&mut self, _: Place, validated: Validated, done: Completion) {
        let bytes = validated.bytes.freeze();
        let header = tidelog_format::batch::header(&bytes).expect("a batch that was validated");
        let append = Append::batch(self.partition, &header, self.now, bytes);
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
            let room = JournalSink::reserve(&journal, partition, 100 << 10, false, TimestampMs(0));
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
