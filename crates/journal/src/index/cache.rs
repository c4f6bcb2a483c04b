//! Decoded index blocks of sealed files, the most recently used ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tidelog_format::journal::Entry;

/// A block: the file and the number of the span's first entry.
type Key = (u64, u32);

/// Least recently used goes first; bounded in bytes.
#[derive(Debug)]
pub(crate) struct IndexCache {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: usize,
    clock: u64,
    blocks: HashMap<Key, (u64, Arc<[Entry]>)>,
    by_use: BTreeMap<u64, Key>,
}

/// What a block costs beside its entries.
const BLOCK_OVERHEAD_BYTES: usize = 128;

fn cost(entries: &[Entry]) -> usize {
    size_of_val(entries) + BLOCK_OVERHEAD_BYTES
}

impl IndexCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, state: Mutex::default() }
    }

    pub(crate) fn get(&self, file: u64, first_entry: u32) -> Option<Arc<[Entry]>> {
        let key = (file, first_entry);
        let mut state = self.state.lock();
        let state = &mut *state;
        let (used, entries) = state.blocks.get_mut(&key)?;
        state.clock += 1;
        state.by_use.remove(used);
        state.by_use.insert(state.clock, key);
        *used = state.clock;
        Some(Arc::clone(entries))
    }

    /// A block larger than the whole cache is not kept.
    pub(crate) fn put(&self, file: u64, first_entry: u32, entries: &Arc<[Entry]>) {
        let cost_new = cost(entries);
        if cost_new > self.bytes_max {
            return;
        }
        let mut state = self.state.lock();
        state.remove((file, first_entry));
        while state.bytes + cost_new > self.bytes_max {
            let Some((_, key)) = state.by_use.first_key_value().map(|(used, key)| (*used, *key)) else {
                break;
            };
            state.remove(key);
        }
        state.clock += 1;
        let clock = state.clock;
        state.bytes += cost_new;
        state.blocks.insert((file, first_entry), (clock, Arc::clone(entries)));
        state.by_use.insert(clock, (file, first_entry));
    }

    pub(crate) fn forget_file(&self, file: u64) {
        let mut state = self.state.lock();
        let keys: Vec<Key> = state.blocks.keys().filter(|key| key.0 == file).copied().collect();
        for key in keys {
            state.remove(key);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl State {
    fn remove(&mut self, key: Key) {
        if let Some((used, entries)) = self.blocks.remove(&key) {
            self.by_use.remove(&used);
            self.bytes -= cost(&entries);
        }
    }
}
