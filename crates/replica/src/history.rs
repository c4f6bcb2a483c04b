//! Which epoch appended what: where two logs part.

use tidelog_model::{LeaderEpoch, Offset};

/// An epoch's first offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// The epochs of one log, oldest first; epochs and starts both rise strictly.
///
/// An epoch without records is there only at the very end, between a promotion and the first append:
/// the next epoch that begins at the same offset takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct History {
    entries: Vec<EpochStart>,
}

/// Where a follower's log parts from its leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The logs are the same below this offset; above it, the follower has nothing to keep.
    At(Offset),
    /// They share an epoch and do not agree where it begins.
    Disagree { epoch: LeaderEpoch, here: Offset, there: Offset },
}

impl History {
    /// Takes entries from outside; those out of order are left out, newest kept.
    pub fn from_entries(entries: impl IntoIterator<Item = EpochStart>) -> Self {
        let mut history = Self::default();
        for entry in entries {
            history.begin(entry.epoch, entry.start);
        }
        history
    }

    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }

    /// The newest epoch known, with or without records.
    pub fn newest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// Where the newest epoch begins.
    pub fn newest_start(&self) -> Option<Offset> {
        self.entries.last().map(|entry| entry.start)
    }

    /// The epoch of the record right before `offset`.
    pub fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        // The newest epoch is asked for nearly always.
        match self.entries.last() {
            Some(last) if last.start < offset => Some(last.epoch),
            _ => {
                let count = self.entries.partition_point(|entry| entry.start < offset);
                count.checked_sub(1).map(|at| self.entries[at].epoch)
            }
        }
    }

    /// The epoch of the record at `offset`, were there one.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let count = self.entries.partition_point(|entry| entry.start <= offset);
        count.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// An epoch begins. Epochs without records give way; an epoch that is not newer is ignored.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        if self.newest().is_some_and(|newest| newest >= epoch) {
            return;
        }
        self.cut(start);
        self.entries.push(EpochStart { epoch, start });
    }

    /// The log ends at `end` now: forgets the epochs that begin there or later.
    pub fn cut(&mut self, end: Offset) {
        let keep = self.entries.partition_point(|entry| entry.start < end);
        self.entries.truncate(keep);
    }

    /// The newest `count` entries.
    pub fn newest_entries(&self, count: usize) -> &[EpochStart] {
        &self.entries[self.entries.len().saturating_sub(count)..]
    }

    /// Where an epoch ends in a log that ends at `log_end`.
    fn end_of(entries: &[EpochStart], at: usize, log_end: Offset) -> Offset {
        entries.get(at + 1).map_or(log_end, |next| next.start)
    }

    /// Where this log (a follower's, ending at `log_end`) parts from a leader's: at the nearer end of
    /// the newest epoch that both have (KIP-101, with both histories at hand as KIP-279 asks for).
    ///
    /// The leader's own epoch, the last of `leader`, has no end: its leader has everything of it,
    /// whatever an old message says about how far that was.
    pub fn fork(&self, log_end: Offset, leader: &[EpochStart]) -> Fork {
        for (at, mine) in self.entries.iter().enumerate().rev() {
            let Ok(there) = leader.binary_search_by_key(&mine.epoch, |entry| entry.epoch) else { continue };
            let theirs = leader[there];
            if theirs.start != mine.start {
                return Fork::Disagree { epoch: mine.epoch, here: mine.start, there: theirs.start };
            }
            let end_here = Self::end_of(&self.entries, at, log_end);
            let end_there = Self::end_of(leader, there, Offset::MAX);
            return Fork::At(end_here.min(end_there));
        }
        // Nothing in common: what is here was never there.
        Fork::At(self.entries.first().map_or(log_end, |first| first.start.min(log_end)))
    }
}
