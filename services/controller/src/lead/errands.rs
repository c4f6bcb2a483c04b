//! From errands to jobs, and from what jobs came to back into the term.

use std::collections::BTreeMap;

use tidelog_meta::MetaError;

use super::jobs::{self, Done};
use super::{End, Lead};
use crate::commit::Committed;
use crate::plan::Reason;
use crate::term::Errand;

impl Lead {
    /// Plans, and starts what was decided.
    pub(super) fn pass(&mut self) {
        let errands = self.term.pass(self.now());
        self.start(errands);
    }

    pub(super) fn start(&mut self, errands: impl IntoIterator<Item = Errand>) {
        for errand in errands {
            let context = &self.context;
            self.jobs.push(match errand {
                Errand::Ask { partitions, stores } => jobs::asking(context, partitions, stores),
                Errand::HandOver { moves, leaders } => jobs::hand_over(context, moves, leaders),
                Errand::Commit(changes) => jobs::committing(context, changes),
            });
        }
    }

    pub(super) fn on_done(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Reported { partitions, reports } => {
                let errand = self.term.reported(&partitions, &reports, now);
                self.start(errand);
            }
            Done::HandedOver(moves) => {
                let errand = self.term.handed_over(&moves, now);
                self.start(errand);
            }
            Done::Committed(committed) => self.on_committed(committed),
            Done::Sizes(sizes) => self.term.sized(&sizes),
            Done::Deposed => self.end = Some(End::Deposed),
            Done::Then(rest) => rest(self),
        }
    }

    pub(super) fn on_committed(&mut self, mut committed: Committed) {
        report(&committed);
        if committed.deposed {
            self.end = Some(End::Deposed);
        }
        if let Some(error @ (MetaError::Closed | MetaError::Failed(_))) = committed.error.take() {
            self.end = Some(End::Failed(error));
        }
        self.term.committed(committed, self.now());
    }

    pub(super) fn ask_for_sizes(&mut self) {
        let stores = self.term.sizes_due(self.now());
        if !stores.is_empty() {
            self.jobs.push(jobs::sizes(&self.context, stores));
        }
    }
}

fn report(committed: &Committed) {
    let mut reasons = BTreeMap::<Reason, usize>::new();
    for (change, _) in &committed.done {
        *reasons.entry(change.reason).or_default() += 1;
    }
    for (reason, partitions) in reasons {
        tracing::info!(?reason, partitions, "partitions changed");
    }
    let (conflicts, unknown) = (committed.conflicts.len(), committed.unknown.len());
    let unavailable = committed.unavailable.len();
    if conflicts + unknown + unavailable > 0 {
        let error = committed.error.as_ref().map(ToString::to_string);
        tracing::warn!(conflicts, unknown, unavailable, error, "partitions could not be changed yet");
    }
}
