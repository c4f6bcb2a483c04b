//! A metadata store whose watches can fall silent and be torn.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidelog_meta::{
    Changes, Counts, Embedded, Entry, Lease, LeaseId, Listing, Meta, MetaError, Revision, Seen,
    SharedMonotonic, Txn, TxnOutcome, Watch, WatchError, WatchSource,
};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Steady,
    /// Nothing comes, and it is not known that there was something.
    Silent,
}

#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<Embedded>,
    delivery: watch::Sender<Delivery>,
    torn: watch::Sender<u64>,
}

impl Watched {
    pub(crate) fn new(inner: Arc<Embedded>) -> Self {
        Self { inner, delivery: watch::Sender::new(Delivery::Steady), torn: watch::Sender::new(0) }
    }

    /// From now on watches deliver nothing.
    pub(crate) fn fall_silent(&self) {
        self.delivery.send_replace(Delivery::Silent);
    }

    /// Ends the silence with a gap: what was not delivered never is.
    pub(crate) fn tear(&self) {
        self.torn.send_modify(|times| *times += 1);
        self.delivery.send_replace(Delivery::Steady);
    }
}

#[async_trait]
impl Meta for Watched {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        self.inner.txn(txn).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError> {
        let watch = self.inner.watch(prefix, from).await?;
        let (torn, delivery) = (self.torn.subscribe(), self.delivery.subscribe());
        Ok(Watch::new(Tearable { watch, torn, delivery }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError> {
        self.inner.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError> {
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

struct Tearable {
    watch: Watch,
    torn: watch::Receiver<u64>,
    delivery: watch::Receiver<Delivery>,
}

#[async_trait]
impl WatchSource for Tearable {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        let delivered = async {
            let _ = self.delivery.wait_for(|delivery| *delivery == Delivery::Steady).await;
            self.watch.next().await
        };
        tokio::select! {
            biased;
            Ok(()) = self.torn.changed() => Err(WatchError::Compacted { oldest: Revision(u64::MAX) }),
            changes = delivered => changes,
        }
    }
}
