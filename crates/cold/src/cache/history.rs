//! Which ranges were read before.

use std::collections::{HashMap, VecDeque};

use super::RangeKey;

/// How many ranges are remembered as read before. At 4 MiB each that is a history of 256 GiB, for
/// some 4 MiB of memory.
const HISTORY_MAX: usize = 64 * 1024;

/// What is remembered of a range that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Past {
    Once,
    /// It was given to the disk.
    Admitted,
}

/// The ranges that were read lately, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct History {
    past: HashMap<RangeKey, Past>,
    order: VecDeque<RangeKey>,
}

impl History {
    pub(super) fn get(&self, key: &RangeKey) -> Option<Past> {
        self.past.get(key).copied()
    }

    pub(super) fn set(&mut self, key: RangeKey, past: Past) {
        if self.past.insert(key, past).is_none() {
            self.order.push_back(key);
            if self.order.len() > HISTORY_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.past.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidelog_model::ObjectId;

    use super::*;

    fn key(block: u32) -> RangeKey {
        RangeKey { segment: ObjectId::from_bytes([7; 16]), block }
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut history = History::default();
        for block in 0..=HISTORY_MAX as u32 {
            history.set(key(block), Past::Once);
            history.set(key(block), Past::Admitted);
        }
        assert_eq!(history.get(&key(0)), None);
        assert_eq!(history.get(&key(1)), Some(Past::Admitted));
        assert_eq!((history.past.len(), history.order.len()), (HISTORY_MAX, HISTORY_MAX));
    }
}
