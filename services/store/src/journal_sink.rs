//! Handing a partition's batches to the journal.

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
