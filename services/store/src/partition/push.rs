//! What followers are sent: the newest batches from memory, older ones from the journal.

use bytes::Bytes;
use tidelog_format::batch;
use tidelog_journal::{Journal, ReadError};
use tidelog_model::Offset;
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_replica::{Attempt, Pushed, Span};

use super::Partition;
use super::step::span_of;

/// A batch that the journal was given and has not synced.
#[derive(Clone, Debug)]
pub(super) struct Unsynced {
    pub(super) span: Span,
    pub(super) bytes: Bytes,
}

impl Partition {
    /// The batches from `from` on and below `up_to`, each with the header it travels under: at least one
    /// if there is one, then up to `max_bytes`. Empty when this replica does not lead any more.
    pub(crate) async fn batches(
        &self,
        journal: &Journal,
        attempt: Attempt,
        from: Offset,
        up_to: Offset,
        max_bytes: usize,
    ) -> Result<Vec<(Pushed, Bytes)>, ReadError> {
        let unsynced = self.unsynced(from, up_to, max_bytes);
        let batches = if unsynced.is_empty() {
            spans(journal.read(self.id, from, up_to, max_bytes).await?)
        } else {
            unsynced
        };
        let cell = self.cell.lock();
        let now = self.ticks.now();
        let pushed = batches
            .into_iter()
            .map(|Unsynced { span, bytes }| Some((cell.replica.pushed(now, attempt, span)?, bytes)));
        Ok(pushed.collect::<Option<Vec<_>>>().unwrap_or_default())
    }

    /// The batch that is held at this offset, if there is one.
    pub(crate) async fn held(&self, journal: &Journal, base: Offset) -> Option<Span> {
        let end = self.cell.lock().replica.log_end();
        let held = match self.unsynced(base, end, 1) {
            unsynced if unsynced.is_empty() => spans(journal.read(self.id, base, end, 1).await.ok()?),
            unsynced => unsynced,
        };
        held.into_iter().map(|batch| batch.span).find(|span| (span.base..span.next).contains(&base))
    }

    /// Those that begin with `from` and are not synced yet; none when `from` is older.
    fn unsynced(&self, from: Offset, up_to: Offset, max_bytes: usize) -> Vec<Unsynced> {
        let cell = self.cell.lock();
        let first = cell.unsynced.partition_point(|batch| batch.span.base < from);
        let mut room = max_bytes;
        let mut next = from;
        let mut found = Vec::new();
        for batch in cell.unsynced.iter().skip(first) {
            let fits = found.is_empty() || batch.bytes.len() <= room;
            if batch.span.base != next || batch.span.next > up_to || !fits {
                break;
            }
            room = room.saturating_sub(batch.bytes.len());
            next = batch.span.next;
            found.push(batch.clone());
        }
        found
    }
}

/// The batches of runs that were checked when they were read.
fn spans(runs: Vec<Bytes>) -> Vec<Unsynced> {
    let batches = runs.into_iter().flat_map(|run| batch::split(run, BATCH_BYTES_MAX));
    batches
        .map_while(Result::ok)
        .map(|batch| {
            let span = span_of(&batch.header());
            Unsynced { span, bytes: batch.into_bytes() }
        })
        .collect()
}
