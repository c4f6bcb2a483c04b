//! A journal: operations in order, synced up to somewhere.

use std::collections::BTreeMap;

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{EpochStart, Event, Generation, History, Marks, Recovered, Span};

#[derive(Clone, Debug)]
pub(crate) enum Op {
    EpochStart { epoch: LeaderEpoch, start: Offset },
    Write { span: Span, generation: Generation },
    Truncate { to: Offset, generation: Generation },
    Reset { to: Offset, generation: Generation, history: Vec<EpochStart> },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) ops: Vec<Op>,
    pub(crate) synced: usize,
}

/// What replaying a journal gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replayed {
    pub(crate) batches: BTreeMap<Offset, Span>,
    pub(crate) history: History,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
}

impl Disk {
    /// Syncs the next operations and says what the journal then reports.
    pub(crate) fn sync(&mut self, count: usize) -> Vec<Event> {
        let to = (self.synced + count).min(self.ops.len());
        let done = self.ops[self.synced..to].iter();
        self.synced = to;
        done.filter_map(|op| match op {
            Op::EpochStart { .. } => None,
            Op::Write { span, generation } => {
                Some(Event::LocalDurable { generation: *generation, up_to: span.next })
            }
            Op::Truncate { generation, .. } | Op::Reset { generation, .. } => {
                Some(Event::CutDurable { generation: *generation })
            }
        })
        .collect()
    }

    /// The power goes: what was not synced is there up to somewhere.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.ops.truncate(self.synced + kept.min(self.ops.len() - self.synced));
        self.synced = self.ops.len();
    }

    pub(crate) fn replay(&self, synced_only: bool) -> Replayed {
        let upto = if synced_only { self.synced } else { self.ops.len() };
        let mut log = Replayed::default();
        for op in &self.ops[..upto] {
            match op {
                Op::EpochStart { epoch, start } => log.history.begin(*epoch, *start),
                Op::Write { span, .. } => {
                    log.batches.insert(span.base, *span);
                    log.end = span.next;
                }
                Op::Truncate { to, .. } => {
                    log.batches.split_off(to);
                    log.history.cut(*to);
                    log.end = *to;
                }
                Op::Reset { to, history, .. } => {
                    log.batches.clear();
                    log.history = History::from_entries(history.iter().copied());
                    (log.start, log.end) = (*to, *to);
                }
            }
        }
        log
    }

    pub(crate) fn recovered(&self, marks: Marks) -> Recovered {
        let log = self.replay(false);
        let local_start = marks.local_start.max(log.start);
        Recovered {
            marks: Marks { local_start, ..marks },
            log_end: log.end,
            high_watermark: Offset::ZERO,
            history: log.history,
        }
    }
}
