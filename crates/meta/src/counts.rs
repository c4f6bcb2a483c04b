//! How much the metadata store is used: it must stay little.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{MetaError, TxnOutcome};

/// Calls since the store was opened, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Gets, and pages of listings.
    pub reads: u64,
    /// Transactions that were committed, leases granted and revoked: what the store writes to its disks.
    pub writes: u64,
    /// Transactions of which a comparison did not hold.
    pub conflicts: u64,
    /// Transactions whose answer was lost.
    pub unknown: u64,
    /// Leases kept alive; the store does not write these.
    pub keep_alives: u64,
    /// Changes that watches delivered.
    pub changes: u64,
    /// Watches that were begun again after an interruption.
    pub resumed_watches: u64,
    /// Connections that were given up for another one.
    pub lost_connections: u64,
}

/// The same while they grow.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    conflicts: AtomicU64,
    unknown: AtomicU64,
    keep_alives: AtomicU64,
    changes: AtomicU64,
    resumed_watches: AtomicU64,
    lost_connections: AtomicU64,
}

impl Counters {
    pub(crate) fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            reads: get(&self.reads),
            writes: get(&self.writes),
            conflicts: get(&self.conflicts),
            unknown: get(&self.unknown),
            keep_alives: get(&self.keep_alives),
            changes: get(&self.changes),
            resumed_watches: get(&self.resumed_watches),
            lost_connections: get(&self.lost_connections),
        }
    }

    pub(crate) fn read(&self) {
        add(&self.reads);
    }

    pub(crate) fn txn(&self, outcome: &Result<TxnOutcome, MetaError>) {
        match outcome {
            Ok(TxnOutcome::Committed(_)) => add(&self.writes),
            Ok(TxnOutcome::Conflict(_)) => add(&self.conflicts),
            Err(MetaError::OutcomeUnknown(_)) => add(&self.unknown),
            Err(_) => {}
        }
    }

    /// Granted or revoked.
    pub(crate) fn lease(&self) {
        add(&self.writes);
    }

    pub(crate) fn keep_alive(&self) {
        add(&self.keep_alives);
    }

    pub(crate) fn change(&self) {
        add(&self.changes);
    }

    pub(crate) fn resumed_watch(&self) {
        add(&self.resumed_watches);
    }

    pub(crate) fn lost_connection(&self) {
        add(&self.lost_connections);
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
