//! Transactions applied on top of what is durable, before they are durable themselves.
//!
//! Each sees what the ones before it changed. The whole draft is then committed at once, or thrown away
//! at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::image::Image;
use crate::{Changes, Compare, Entry, Event, LeaseId, MetaError, Op, Revision, Txn, TxnOutcome};

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) revision: Revision,
    /// The changed keys; `None` is a deleted one.
    pub(super) changes: BTreeMap<Arc<str>, Option<Entry>>,
    /// The changed leases; `None` is an ended one.
    pub(super) leases: BTreeMap<LeaseId, Option<Duration>>,
    pub(super) last_lease: i64,
    /// The same changes in order, for watches.
    pub(super) history: Vec<Changes>,
}

impl Draft {
    pub(super) fn new(image: &Image) -> Self {
        Self {
            revision: image.revision(),
            changes: BTreeMap::new(),
            leases: BTreeMap::new(),
            last_lease: image.last_lease(),
            history: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.leases.is_empty()
    }

    /// About how many bytes change on the disk.
    pub(super) fn bytes(&self) -> u64 {
        const ROW_BYTES: usize = 64;
        let change = |(key, change): (&Arc<str>, &Option<Entry>)| {
            ROW_BYTES + key.len() + change.as_ref().map_or(0, |entry| entry.value.len())
        };
        let entries: usize = self.changes.iter().map(change).sum();
        (entries + self.leases.len() * ROW_BYTES) as u64
    }

    pub(super) fn txn(&mut self, image: &Image, txn: Txn) -> Result<TxnOutcome, MetaError> {
        if !txn.compares.iter().all(|compare| self.holds(image, compare)) {
            return Ok(TxnOutcome::Conflict(self.revision));
        }
        for op in &txn.ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.lease_runs(image, *lease)
            {
                return Err(MetaError::LeaseNotFound(*lease));
            }
        }
        let revision = self.revision.next();
        let mut events = Vec::with_capacity(txn.ops.len());
        for op in txn.ops {
            match op {
                Op::Put { key, value, lease } => {
                    let before = self.get(image, &key);
                    let (created, version) = before.map_or((revision, 0), |e| (e.create_revision, e.version));
                    let entry = Entry {
                        key: key.into(),
                        value,
                        create_revision: created,
                        mod_revision: revision,
                        version: version + 1,
                        lease,
                    };
                    self.changes.insert(Arc::clone(&entry.key), Some(entry.clone()));
                    events.push(Event::Put(entry));
                }
                Op::Delete { key } => self.delete(image, &key, revision, &mut events),
            }
        }
        self.record(events);
        Ok(TxnOutcome::Committed(self.revision))
    }

    pub(super) fn grant(&mut self, ttl: Duration) -> LeaseId {
        self.last_lease += 1;
        let id = LeaseId(self.last_lease);
        self.leases.insert(id, Some(ttl));
        id
    }

    /// Ends a lease and removes its keys, all at one revision.
    pub(super) fn revoke(&mut self, image: &Image, lease: LeaseId) {
        if !self.lease_runs(image, lease) {
            return;
        }
        self.leases.insert(lease, None);
        let held = |entry: &Entry| entry.lease == Some(lease);
        let untouched = image.entries().filter(|e| held(e) && !self.changes.contains_key(&e.key));
        let touched = self.changes.values().flatten().filter(|e| held(e));
        let keys: Vec<Arc<str>> = untouched.chain(touched).map(|entry| Arc::clone(&entry.key)).collect();
        let revision = self.revision.next();
        let mut events = Vec::with_capacity(keys.len());
        for key in keys {
            self.delete(image, &key, revision, &mut events);
        }
        self.record(events);
    }

    fn delete(&mut self, image: &Image, key: &str, revision: Revision, events: &mut Vec<Event>) {
        if let Some(entry) = self.get(image, key) {
            let key = Arc::clone(&entry.key);
            self.changes.insert(Arc::clone(&key), None);
            events.push(Event::Delete { key, revision });
        }
    }

    /// A transaction that changed nothing leaves the revision as it is, as in etcd.
    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision = self.revision.next();
            self.history.push(Changes { revision: self.revision, events });
        }
    }

    fn get<'a>(&'a self, image: &'a Image, key: &str) -> Option<&'a Entry> {
        match self.changes.get(key) {
            Some(change) => change.as_ref(),
            None => image.get(key),
        }
    }

    fn lease_runs(&self, image: &Image, lease: LeaseId) -> bool {
        match self.leases.get(&lease) {
            Some(change) => change.is_some(),
            None => image.leases().contains_key(&lease),
        }
    }

    fn holds(&self, image: &Image, compare: &Compare) -> bool {
        let entry = self.get(image, compare.key());
        match compare {
            Compare::Absent { .. } => entry.is_none(),
            Compare::Exists { .. } => entry.is_some(),
            Compare::CreateRevision { revision, .. } => entry.is_some_and(|e| e.create_revision == *revision),
            Compare::ModRevision { revision, .. } => entry.is_some_and(|e| e.mod_revision == *revision),
            Compare::ValueIs { value, .. } => entry.is_some_and(|e| e.value == *value),
        }
    }
}
