//! What is durable, in memory: the entries, and the newest changes for watches.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::draft::Draft;
use crate::{Changes, Entry, Event, LeaseId, Revision};

/// How many changes are kept for watches, in events and in bytes of their values. Someone who is further
/// behind lists again, which costs about as much.
const HISTORY_EVENTS_MAX: usize = 8 * 1024;
const HISTORY_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Image {
    revision: Revision,
    entries: BTreeMap<Arc<str>, Entry>,
    leases: BTreeMap<LeaseId, Duration>,
    /// The largest lease id ever granted.
    last_lease: i64,
    history: History,
}

/// What a watch finds from a revision on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Since {
    Changes(Changes),
    /// Nothing for this prefix yet; look again from this revision on.
    Nothing {
        next: Revision,
    },
    Compacted {
        oldest: Revision,
    },
}

impl Image {
    pub(super) fn restore(
        revision: Revision,
        entries: BTreeMap<Arc<str>, Entry>,
        leases: BTreeMap<LeaseId, Duration>,
        last_lease: i64,
    ) -> Self {
        let history = History { oldest: revision.next(), changes: VecDeque::new(), events: 0, bytes: 0 };
        Self { revision, entries, leases, last_lease, history }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn leases(&self) -> &BTreeMap<LeaseId, Duration> {
        &self.leases
    }

    pub(super) fn last_lease(&self) -> i64 {
        self.last_lease
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    /// Takes over what a draft changed, after it became durable.
    pub(super) fn publish(&mut self, draft: Draft) {
        for (key, change) in draft.changes {
            match change {
                Some(entry) => drop(self.entries.insert(key, entry)),
                None => drop(self.entries.remove(&key)),
            }
        }
        for (lease, change) in draft.leases {
            match change {
                Some(ttl) => drop(self.leases.insert(lease, ttl)),
                None => drop(self.leases.remove(&lease)),
            }
        }
        self.revision = draft.revision;
        self.last_lease = draft.last_lease;
        for changes in draft.history {
            self.history.push(changes);
        }
    }

    pub(super) fn compact(&mut self) {
        let oldest = self.revision.next();
        self.history = History { oldest, changes: VecDeque::new(), events: 0, bytes: 0 };
    }

    /// The first transaction from `from` on that changed something under `prefix`.
    pub(super) fn since(&self, from: Revision, prefix: &str) -> Since {
        if from < self.history.oldest {
            return Since::Compacted { oldest: self.history.oldest };
        }
        let first = self.history.changes.partition_point(|changes| changes.revision < from);
        for changes in self.history.changes.range(first..) {
            let events: Vec<Event> =
                changes.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
            if !events.is_empty() {
                return Since::Changes(Changes { revision: changes.revision, events });
            }
        }
        Since::Nothing { next: from.max(self.revision.next()) }
    }
}

/// The newest changes, bounded.
#[derive(Debug)]
struct History {
    /// The first revision that can still be watched from.
    oldest: Revision,
    changes: VecDeque<Changes>,
    events: usize,
    bytes: usize,
}

impl History {
    fn push(&mut self, changes: Changes) {
        self.events += changes.events.len();
        self.bytes += bytes_of(&changes);
        self.changes.push_back(changes);
        while self.events > HISTORY_EVENTS_MAX || self.bytes > HISTORY_BYTES_MAX {
            let Some(dropped) = self.changes.pop_front() else { break };
            self.events -= dropped.events.len();
            self.bytes -= bytes_of(&dropped);
            self.oldest = dropped.revision.next();
        }
    }
}

fn bytes_of(changes: &Changes) -> usize {
    let bytes = |event: &Event| match event {
        Event::Put(entry) => entry.value.len(),
        Event::Delete { .. } => 0,
    };
    changes.events.iter().map(bytes).sum()
}
