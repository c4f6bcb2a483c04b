//! What a log holds, as all acknowledgements and reads together tell it.
//!
//! While they are gathered, offsets lie in pages of 64, which suits reads that come in order; then they
//! become one sorted list.

use std::collections::HashMap;

const PAGE: u64 = 64;

#[derive(Debug)]
struct Page {
    filled: u64,
    read: u64,
    values: [u64; PAGE as usize],
    events: [u32; PAGE as usize],
    transactions: [u32; PAGE as usize],
}

impl Default for Page {
    fn default() -> Self {
        let (values, numbers) = ([0; PAGE as usize], [0; PAGE as usize]);
        Self { filled: 0, read: 0, values, events: numbers, transactions: numbers }
    }
}

/// A record at an offset, and the operation that told of it: its acknowledgement, or the first read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) offset: u64,
    pub(crate) value: u64,
    pub(crate) event: u32,
    /// [`NONE`](crate::index::NONE) outside of transactions.
    pub(crate) transaction: u32,
}

/// What telling of a record changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Nothing was known of the offset.
    New,
    Same(Known),
    /// Something else is there.
    Other(Known),
}

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pages: HashMap<u64, Box<Page>>,
}

impl Contents {
    /// Takes note of a record, unless its offset is taken.
    pub(crate) fn tell(&mut self, known: Known) -> Told {
        let page = self.pages.entry(known.offset / PAGE).or_default();
        let slot = (known.offset % PAGE) as usize;
        if page.filled & (1 << slot) == 0 {
            page.filled |= 1 << slot;
            page.values[slot] = known.value;
            page.events[slot] = known.event;
            page.transactions[slot] = known.transaction;
            return Told::New;
        }
        let there = Known {
            offset: known.offset,
            value: page.values[slot],
            event: page.events[slot],
            transaction: page.transactions[slot],
        };
        if there.value == known.value { Told::Same(there) } else { Told::Other(there) }
    }

    /// Marks a known offset as read; true the first time.
    pub(crate) fn read_first(&mut self, offset: u64) -> bool {
        let Some(page) = self.pages.get_mut(&(offset / PAGE)) else { return false };
        let bit = 1 << (offset % PAGE);
        let first = page.read & bit == 0;
        page.read |= bit;
        first
    }

    /// Everything that is known, by offset.
    pub(crate) fn into_sorted(self) -> Vec<Known> {
        let mut pages: Vec<_> = self.pages.into_iter().collect();
        pages.sort_unstable_by_key(|(number, _)| *number);
        let mut sorted = Vec::with_capacity(pages.iter().map(|(_, p)| p.filled.count_ones() as usize).sum());
        for (number, page) in pages {
            for slot in (0..PAGE as usize).filter(|slot| page.filled & (1 << slot) != 0) {
                sorted.push(Known {
                    offset: number * PAGE + slot as u64,
                    value: page.values[slot],
                    event: page.events[slot],
                    transaction: page.transactions[slot],
                });
            }
        }
        sorted
    }
}

/// The records with `from <= offset < next`.
pub(crate) fn range(sorted: &[Known], from: u64, next: u64) -> &[Known] {
    let start = sorted.partition_point(|known| known.offset < from);
    let end = sorted.partition_point(|known| known.offset < next);
    &sorted[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(offset: u64, value: u64) -> Known {
        Known { offset, value, event: 0, transaction: 0 }
    }

    #[test]
    fn an_offset_keeps_the_first_value_it_was_told() {
        let mut contents = Contents::default();
        assert_eq!(contents.tell(known(64, 1)), Told::New);
        assert_eq!(contents.tell(known(64, 1)), Told::Same(known(64, 1)));
        assert_eq!(contents.tell(known(64, 2)), Told::Other(known(64, 1)));
        assert!(contents.read_first(64));
        assert!(!contents.read_first(64));
    }

    #[test]
    fn what_is_known_comes_out_in_order_however_far_apart() {
        let mut contents = Contents::default();
        for offset in [u64::MAX - 1, 0, 63, 1 << 40, 64] {
            contents.tell(known(offset, offset));
        }
        let sorted = contents.into_sorted();
        let offsets: Vec<_> = sorted.iter().map(|known| known.offset).collect();
        assert_eq!(offsets, [0, 63, 64, 1 << 40, u64::MAX - 1]);
        assert_eq!(range(&sorted, 1, 65).len(), 2);
        assert_eq!(range(&sorted, 65, 1).len(), 0);
    }
}
