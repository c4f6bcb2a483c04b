//! The trait that the rest of the system sees, and the words it is spoken in.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Counts, MetaError, SharedMonotonic, Txn, TxnOutcome, Watch};

/// A small, consistent tree of keys: etcd, or something that behaves like it.
///
/// Reads see everything that was committed before they began, whoever committed it. A transaction's answer
/// comes after it is durable. Every call ends within a time that the implementation is configured with;
/// all but [`txn`](Self::txn) are tried again within it, as they may be. Cancelling a call leaves its
/// outcome unknown. The typed calls of [`TypedMeta`](crate::TypedMeta) are what most callers want.
#[async_trait]
pub trait Meta: Send + Sync + fmt::Debug {
    /// The entry of a key, if there is one.
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError>;

    /// Every entry whose key begins with `prefix`, in the order of their keys, as of one revision. At
    /// most [`LIST_BYTES_MAX`](crate::limits::LIST_BYTES_MAX).
    async fn list(&self, prefix: &str) -> Result<Listing, MetaError>;

    /// Applies all of the transaction's operations if all of its comparisons hold, else nothing.
    ///
    /// It is sent once. After [`MetaError::OutcomeUnknown`] it may still be applied at any later moment:
    /// the caller reads back before it assumes anything, or lets [`settle`](crate::settle::settle) do it.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError>;

    /// Follows changes to keys that begin with `prefix`, from the revision `from` (included) on. To
    /// continue after a [`Listing`], pass its revision plus one. Interruptions are the implementation's to
    /// bridge; while one lasts, nothing is delivered.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError>;

    /// Begins a lease: keys bound to it vanish when it is revoked or not kept alive for `ttl`. The
    /// lease that is granted may live longer than asked for, never shorter. One whose answer is lost
    /// holds no keys and ends by itself, so a failed call can be repeated.
    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError>;

    /// Gives a lease its full time to live again. [`MetaError::LeaseNotFound`] means it has ended, and
    /// its keys with it. A [`LeaseKeeper`](crate::LeaseKeeper) does this in time.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError>;

    /// Ends a lease and removes its keys. Ending one that is gone succeeds.
    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError>;

    /// The clock that [`Lease::valid_until`] is read on.
    fn clock(&self) -> SharedMonotonic;

    /// Which store this is and how far it has come: to be remembered, and compared after a restart.
    fn seen(&self) -> Seen;

    /// How much was asked and written since it was opened.
    fn counts(&self) -> Counts;
}

/// A metadata store shared by everything in a process.
pub type SharedMeta = Arc<dyn Meta>;

/// Counts the transactions that changed something, over the whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// No revision: older than any, and what a comparison gives for a key that does not exist.
    pub const NONE: Self = Self(0);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a lease. Never 0, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub i64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A lease as granted or kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub ttl: Duration,
    /// Up to here, on the store's [clock](Meta::clock), it has certainly not run out: its time to live
    /// counted from before the request was sent. Another process may still have revoked it.
    pub valid_until: Instant,
}

/// What never goes back in a store that is the one it was. One that has another id, or has not come as
/// far, was replaced or restored from an older copy, and nothing that was built on it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// etcd's cluster id; 0 for the embedded store.
    pub store: u64,
    /// The highest revision that an answer carried.
    pub revision: Revision,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store {:x} at revision {}", self.store, self.revision)
    }
}

/// A key with its value and its history in three numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Arc<str>,
    pub value: Bytes,
    /// When the key began to exist; a key that is deleted and put again gets a new one.
    pub create_revision: Revision,
    /// When the value was last put.
    pub mod_revision: Revision,
    /// How often it was put since it began to exist.
    pub version: u64,
    pub lease: Option<LeaseId>,
}

impl Entry {
    /// What counts against the limit of a listing.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Entries as of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}
