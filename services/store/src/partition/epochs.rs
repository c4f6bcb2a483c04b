//! Which leader wrote which offsets.

use std::ops::Range;

use tidelog_format::state::EpochEntry;
use tidelog_model::{Incarnation, LeaderEpoch, Offset};

/// A leadership of a partition. Ordered: a later one fences the earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leadership {
    pub(crate) incarnation: Incarnation,
    pub(crate) epoch: LeaderEpoch,
}

/// The leaderships that wrote something, oldest first, each with its first offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EpochHistory {
    entries: Vec<EpochEntry>,
}

impl EpochHistory {
    pub(crate) fn restore(entries: Vec<EpochEntry>) -> Self {
        Self { entries }
    }

    /// A leadership begins to write at `start`. An earlier one that was to begin there or later wrote
    /// nothing and is dropped.
    pub(crate) fn start(&mut self, leadership: Leadership, start: Offset) {
        let Leadership { incarnation, epoch } = leadership;
        if self.last() == Some(leadership) {
            return;
        }
        self.entries.retain(|entry| entry.start < start);
        self.entries.push(EpochEntry { incarnation, epoch, start });
    }

    /// The history before what is known here. The two may overlap.
    pub(crate) fn add_older(&mut self, mut older: Vec<EpochEntry>) {
        let Some(first) = self.entries.first() else {
            self.entries = older;
            return;
        };
        let of = |entry: &EpochEntry| (entry.incarnation, entry.epoch);
        older.retain(|entry| entry.start < first.start || of(entry) < of(first));
        // The same leadership began earlier than was known here.
        if older.last().is_some_and(|last| of(last) == of(first)) {
            self.entries.remove(0);
        }
        older.append(&mut self.entries);
        self.entries = older;
    }

    pub(crate) fn last(&self) -> Option<Leadership> {
        self.entries.last().map(|entry| Leadership { incarnation: entry.incarnation, epoch: entry.epoch })
    }

    /// The history of the log up to `end`.
    pub(crate) fn until(&self, end: Offset) -> Vec<EpochEntry> {
        self.entries.iter().filter(|entry| entry.start < end).copied().collect()
    }

    /// The leaderships that wrote some of `range`.
    pub(crate) fn within(&self, range: &Range<Offset>) -> Vec<EpochEntry> {
        let first = self.entries.partition_point(|entry| entry.start <= range.start).saturating_sub(1);
        self.entries[first..].iter().filter(|entry| entry.start < range.end).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leadership(epoch: u32) -> Leadership {
        Leadership { incarnation: Incarnation::FIRST, epoch: LeaderEpoch(epoch) }
    }

    fn history(starts: &[(u32, u64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for (epoch, start) in starts {
            history.start(leadership(*epoch), Offset(*start));
        }
        history
    }

    fn epochs(entries: &[EpochEntry]) -> Vec<u32> {
        entries.iter().map(|entry| entry.epoch.0).collect()
    }

    #[test]
    fn a_leadership_that_wrote_nothing_leaves_no_trace() {
        let history = history(&[(1, 0), (2, 10), (3, 10), (3, 15), (5, 20)]);
        assert_eq!(epochs(&history.until(Offset(100))), [1, 3, 5]);
        assert_eq!(history.last(), Some(leadership(5)));
    }

    #[test]
    fn the_history_of_a_part_has_only_who_wrote_it() {
        let history = history(&[(1, 0), (2, 10), (4, 20)]);
        assert_eq!(epochs(&history.until(Offset(20))), [1, 2]);
        assert_eq!(epochs(&history.within(&(Offset(0)..Offset(10)))), [1]);
        assert_eq!(epochs(&history.within(&(Offset(10)..Offset(20)))), [2]);
        assert_eq!(epochs(&history.within(&(Offset(9)..Offset(21)))), [1, 2, 4]);
        assert_eq!(epochs(&history.within(&(Offset(25)..Offset(30)))), [4]);
    }

    #[test]
    fn older_parts_join_without_repetition() {
        let older = history(&[(1, 0), (2, 10), (4, 20)]).until(Offset(30));
        for (newer, expected) in [
            (vec![(4, 25), (5, 40)], vec![(1, 0), (2, 10), (4, 20), (5, 40)]),
            (vec![(5, 40)], vec![(1, 0), (2, 10), (4, 20), (5, 40)]),
            (vec![(2, 15), (4, 20), (6, 50)], vec![(1, 0), (2, 10), (4, 20), (6, 50)]),
            (vec![], vec![(1, 0), (2, 10), (4, 20)]),
        ] {
            let mut joined = history(&newer);
            joined.add_older(older.clone());
            assert_eq!(joined, history(&expected));
        }
    }

    #[test]
    fn an_empty_history_has_no_parts() {
        assert!(history(&[]).within(&(Offset(0)..Offset(5))).is_empty());
    }
}
