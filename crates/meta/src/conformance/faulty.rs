//! A metadata store that answers badly when it is told to, for tests of those who use one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::{
    Counts, Entry, Lease, LeaseId, Listing, Meta, MetaError, Revision, Seen, SharedMeta, SharedMonotonic,
    Txn, TxnOutcome, Watch,
};

/// What happens to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnFault {
    /// Applied, and the answer lost.
    LoseAnswer,
    /// Lost on its way, and the sender does not know.
    LoseRequest,
    /// Refused for now, without effect.
    Refuse,
}

/// Another store with faults before it.
#[derive(Debug)]
pub struct Faulty {
    inner: SharedMeta,
    txns: Mutex<Vec<TxnFault>>,
    refuses_keep_alives: AtomicBool,
}

impl Faulty {
    pub fn new(inner: SharedMeta) -> Self {
        Self { inner, txns: Mutex::new(Vec::new()), refuses_keep_alives: AtomicBool::new(false) }
    }

    /// The next transactions meet these faults, one each.
    pub fn fail_txns(&self, faults: impl IntoIterator<Item = TxnFault>) {
        let mut txns = self.txns.lock();
        *txns = faults.into_iter().collect();
        txns.reverse();
    }

    pub fn refuse_keep_alives(&self, refuse: bool) {
        self.refuses_keep_alives.store(refuse, Ordering::Relaxed);
    }
}

#[async_trait]
impl Meta for Faulty {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let fault = self.txns.lock().pop();
        let unknown = || Err(MetaError::OutcomeUnknown("the answer was lost on purpose".to_owned()));
        match fault {
            None => self.inner.txn(txn).await,
            Some(TxnFault::LoseAnswer) => self.inner.txn(txn).await.and_then(|_| unknown()),
            Some(TxnFault::LoseRequest) => unknown(),
            Some(TxnFault::Refuse) => Err(MetaError::Unavailable("refused on purpose".to_owned())),
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError> {
        self.inner.watch(prefix, from).await
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError> {
        if self.refuses_keep_alives.load(Ordering::Relaxed) {
            return Err(MetaError::Unavailable("refused on purpose".to_owned()));
        }
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.inner.revoke(lease).await
    }

    fn clock(&self) -> SharedMonotonic {
        self.inner.clock()
    }

    fn seen(&self) -> Seen {
        self.inner.seen()
    }

    fn counts(&self) -> Counts {
        self.inner.counts()
    }
}
