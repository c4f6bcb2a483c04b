//! Events after which a replica may write: room in the journal comes first.

use std::sync::Arc;
use std::time::Duration;

use tidelog_format::batch::BatchHeader;
use tidelog_journal::{AppendError, Journal, Reservation};
use tidelog_model::{LeaderEpoch, TimestampMs};
use tidelog_replica::{Event, Observed};

use super::Partition;
use super::step::{NoSink, PushedBatch};
use crate::journal_sink::{JournalSink, SMALL_FRAME_BYTES};

/// How often room is asked for again while the disk or the budget is full.
const ROOM_AGAIN: Duration = Duration::from_millis(200);

impl Partition {
    /// Brings the replica an event that it may write after, as soon as there is room for that; waits as
    /// long as the disk is full. An event is dropped when the journal is closed.
    pub(crate) async fn feed(
        self: &Arc<Self>,
        journal: &Journal,
        event: Event,
        batch: Option<PushedBatch>,
        now: TimestampMs,
    ) {
        let small = self.may_write_a_fact(&event);
        let Ok((small, room)) = reserve(journal, small, batch.as_ref().map(|batch| batch.bytes.len())).await
        else {
            return;
        };
        if small.is_none() && room.is_none() {
            return self.step(event, None, &mut NoSink);
        }
        let mut sink = JournalSink::new(journal, self.id, now, small, room);
        self.step(event, batch, &mut sink);
    }

    /// Whether a leadership may begin or the log may be cut by it.
    fn may_write_a_fact(&self, event: &Event) -> bool {
        match event {
            Event::Lead(_) | Event::Tiered { .. } | Event::CutDurable { .. } => true,
            Event::Observed(Observed { record, .. }) => {
                record.leader.is_some_and(|leader| leader == self.cell.lock().replica.me())
            }
            Event::Pushed(pushed) => pushed.span.is_some_and(|span| !self.knows(span.epoch)),
            _ => false,
        }
    }

    /// Whether the newest records here are of that leadership.
    fn knows(&self, epoch: LeaderEpoch) -> bool {
        self.cell.lock().replica.history().newest() == Some(epoch)
    }
}

async fn reserve(
    journal: &Journal,
    small: bool,
    batch_bytes: Option<usize>,
) -> Result<(Option<Reservation>, Option<Reservation>), AppendError> {
    let small = if small { Some(room(journal, SMALL_FRAME_BYTES).await?) } else { None };
    let batch = match batch_bytes {
        Some(bytes) => Some(room(journal, bytes).await?),
        None => None,
    };
    Ok((small, batch))
}

/// Waits while the disk or the budget is full.
async fn room(journal: &Journal, bytes: usize) -> Result<Reservation, AppendError> {
    loop {
        match journal.reserve(bytes).await {
            #[expect(clippy::disallowed_methods, reason = "a back-off")]
            Err(AppendError::Full | AppendError::Backlog) => tokio::time::sleep(ROOM_AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// A batch that came from a leader, if it is whole and the one that was announced.
pub(crate) fn announced(
    header: BatchHeader,
    span: tidelog_replica::Span,
    bytes: bytes::Bytes,
    now: TimestampMs,
) -> Option<PushedBatch> {
    (super::step::span_of(&header) == span).then_some(PushedBatch { header, bytes, now })
}
