//! A partition's entries in the open file, with their bytes summed up: whoever asks how much there is
//! must not hold up the writer for as long as a walk over a busy partition's entries takes.

use std::ops::Deref;

use tidelog_format::journal::Entry;
use tidelog_model::Offset;

/// Entries in the order of their offsets.
#[derive(Debug, Default)]
pub(super) struct OpenEntries {
    entries: Vec<Entry>,
    /// The bytes of each entry and of all before it.
    bytes_until: Vec<u64>,
}

impl OpenEntries {
    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes_until.push(self.bytes() + u64::from(entry.payload_bytes));
        self.entries.push(entry);
    }

    pub(super) fn insert(&mut self, at: usize, entry: Entry) {
        let bytes = u64::from(entry.payload_bytes);
        self.bytes_until.insert(at, self.bytes_below(at));
        self.bytes_until[at..].iter_mut().for_each(|until| *until += bytes);
        self.entries.insert(at, entry);
    }

    /// Drops every entry that reaches past `end`.
    pub(super) fn truncate(&mut self, end: Offset) {
        let kept = self.entries.partition_point(|entry| entry.next_offset() <= end);
        self.entries.truncate(kept);
        self.bytes_until.truncate(kept);
    }

    /// The place of the first entry that reaches past `from`.
    pub(super) fn place_of(&self, from: Offset) -> usize {
        self.entries.partition_point(|entry| entry.next_offset() <= from)
    }

    pub(super) fn bytes_from(&self, place: usize) -> u64 {
        self.bytes() - self.bytes_below(place)
    }

    fn bytes(&self) -> u64 {
        self.bytes_until.last().copied().unwrap_or(0)
    }

    fn bytes_below(&self, place: usize) -> u64 {
        place.checked_sub(1).map_or(0, |last| self.bytes_until[last])
    }
}

impl Deref for OpenEntries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use tidelog_model::{LeaderEpoch, TimestampMs};

    use super::*;

    fn entry(base: u64, payload_bytes: u32) -> Entry {
        Entry {
            base_offset: Offset(base),
            max_timestamp: TimestampMs(1),
            append_time: TimestampMs(1),
            position: 0,
            payload_bytes,
            count: 10,
            epoch: LeaderEpoch(1),
        }
    }

    #[test]
    fn the_sums_are_those_of_a_walk_whatever_was_done() {
        let mut open = OpenEntries::default();
        let check = |open: &OpenEntries| {
            for place in 0..=open.len() {
                let walked: u64 = open[place..].iter().map(|entry| u64::from(entry.payload_bytes)).sum();
                assert_eq!(open.bytes_from(place), walked);
            }
        };
        check(&open);
        for (at, base) in [0, 10, 40, 50].into_iter().enumerate() {
            open.push(entry(base, 100 << at));
        }
        check(&open);
        open.insert(2, entry(20, 7));
        open.insert(0, entry(0, 9));
        open.insert(6, entry(60, 11));
        check(&open);
        assert_eq!(open.place_of(Offset(25)), 3);
        open.truncate(Offset(49));
        assert_eq!(open.len(), 4);
        check(&open);
        open.truncate(Offset(0));
        assert!(open.is_empty());
        check(&open);
    }
}
