//! What a replica knows of its own log: where it begins and ends, what of it is synced, what is
//! committed, which epochs wrote it.

use tidelog_model::{LeaderEpoch, Offset};

use crate::action::{Action, Actions};
use crate::history::{EpochStart, History};
use crate::span::{Generation, Marks, Span};

/// What recovery found on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Recovered {
    pub marks: Marks,
    /// All of it is synced: recovery secures what it finds before it counts.
    pub log_end: Offset,
    /// What this very log was told to be committed up to, by a checkpoint in its own journal; 0 when
    /// nothing is known. Not the tiered end: a log that parted from what was committed may do so below.
    pub high_watermark: Offset,
    pub history: History,
}

#[derive(Clone, Debug)]
pub(crate) struct Log {
    pub(crate) marks: Marks,
    /// The offset after the last record, written or on its way to the disk.
    pub(crate) end: Offset,
    /// Everything below is synced.
    pub(crate) durable: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) history: History,
    pub(crate) generation: Generation,
}

impl Log {
    pub(crate) fn new(recovered: Recovered) -> Self {
        let Recovered { mut marks, log_end, high_watermark, history } = recovered;
        if marks.local_start > marks.resume_at() {
            // Nothing leaves the disk before it is in the bucket or deleted.
            marks.tiered_end = marks.local_start;
        }
        Self {
            marks,
            end: log_end,
            durable: log_end,
            high_watermark: high_watermark.min(log_end),
            history,
            generation: Generation::default(),
        }
    }

    /// The epoch of the last record.
    pub(crate) fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.history.epoch_before(self.end)
    }

    /// Whether the local log is empty.
    pub(crate) fn holds_nothing(&self) -> bool {
        self.end <= self.marks.local_start
    }

    /// What is committed at the leader is committed here, as far as it is here.
    pub(crate) fn commit(&mut self, high_watermark: Offset, out: &mut Actions) {
        let high_watermark = high_watermark.min(self.end);
        if high_watermark > self.high_watermark {
            self.high_watermark = high_watermark;
            out.push(Action::Advance { high_watermark });
        }
    }

    /// Begins an epoch at the log's end.
    pub(crate) fn begin_epoch(&mut self, epoch: LeaderEpoch, out: &mut Actions) {
        if self.history.newest().is_some_and(|newest| newest >= epoch) {
            return;
        }
        self.history.begin(epoch, self.end);
        out.push(Action::WriteEpochStart { epoch, start: self.end, generation: self.generation });
    }

    /// Takes a batch at the log's end, as a follower.
    pub(crate) fn take(&mut self, span: Span, out: &mut Actions) {
        self.begin_epoch(span.epoch, out);
        self.end = span.next;
        out.push(Action::Write { span, generation: self.generation });
    }

    /// Cuts everything at and above `to`.
    pub(crate) fn truncate(&mut self, to: Offset, out: &mut Actions) {
        self.generation.0 += 1;
        self.end = to;
        self.durable = self.durable.min(to);
        self.history.cut(to);
        self.rewind(to, out);
        out.push(Action::Truncate { to, generation: self.generation });
    }

    /// Drops everything and begins again at `to`, which the bucket covers, with the history of whoever
    /// has what lies below.
    pub(crate) fn reset(&mut self, to: Offset, history: &[EpochStart], out: &mut Actions) {
        self.generation.0 += 1;
        self.end = to;
        self.durable = self.durable.min(to);
        self.marks.local_start = to;
        self.adopt_history(history);
        self.rewind(to, out);
        let history = self.history.entries().to_vec();
        out.push(Action::Reset { to, generation: self.generation, history });
        self.commit(to, out);
    }

    /// An empty log has the history of the log that it continues.
    pub(crate) fn adopt_history(&mut self, history: &[EpochStart]) {
        self.history = History::from_entries(history.iter().copied());
        self.history.cut(self.end);
    }

    fn rewind(&mut self, end: Offset, out: &mut Actions) {
        if self.high_watermark > end {
            self.high_watermark = end;
            out.push(Action::Rewound { high_watermark: end });
        }
    }

    /// A sync is done. True when it says something about what is there now.
    pub(crate) fn synced(&mut self, generation: Generation, up_to: Offset, any_generation: bool) -> bool {
        if generation != self.generation && !any_generation {
            return false;
        }
        self.durable = self.durable.max(up_to.min(self.end));
        true
    }
}
