//! A real metadata store whose answers can be lost and whose watches can be torn.
//!
//! It answers from a thread of its own, which the runtime does not know of: played time would run on
//! while it works. So every transaction is waited for on one of the runtime's own blocking threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tidelog_meta::{
    Changes, Counts, Embedded, Entry, Lease, LeaseId, Listing, Meta, MetaError, MonotonicClock, Revision,
    Seen, Txn, TxnOutcome, Watch, WatchError, WatchSource,
};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

/// What becomes of the next transactions that change a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Applied, and the answer is lost.
    AnswerLost,
    /// Not applied, and nobody knows.
    RequestLost,
    /// Not applied, and that is known.
    Unavailable,
}

#[derive(Debug)]
pub(crate) struct Steady {
    inner: Arc<Embedded>,
    /// What comes next, from the end.
    faults: Mutex<Vec<Fault>>,
    /// Transactions that changed partitions.
    txns: AtomicUsize,
    /// Counts the times that all watches were torn.
    torn: watch::Sender<u64>,
    /// Nothing is answered any more, watches included.
    cut: watch::Sender<bool>,
}

impl Steady {
    pub(crate) fn new(inner: Arc<Embedded>) -> Self {
        let (faults, torn, cut) = (Mutex::default(), watch::channel(0).0, watch::channel(false).0);
        Self { inner, faults, txns: AtomicUsize::new(0), torn, cut }
    }

    /// The same metadata, with faults of its own.
    pub(crate) fn another(&self) -> Arc<Self> {
        Arc::new(Self::new(Arc::clone(&self.inner)))
    }

    pub(crate) fn fail(&self, faults: &[Fault]) {
        self.faults.lock().extend(faults.iter().rev());
    }

    /// The process that uses this has ended, as far as anyone can see.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    async fn is_reachable(&self) {
        let _ = self.cut.subscribe().wait_for(|cut| !cut).await;
    }

    pub(crate) fn txns(&self) -> usize {
        self.txns.load(Ordering::Relaxed)
    }

    /// Ends every watch that runs: what it had not delivered is never delivered.
    pub(crate) fn tear_watches(&self) {
        self.torn.send_modify(|times| *times += 1);
    }

    async fn apart<T: Send + 'static>(
        &self,
        call: impl AsyncFnOnce(Arc<Embedded>) -> T + Send + 'static,
    ) -> T {
        let (inner, handle) = (Arc::clone(&self.inner), Handle::current());
        spawn_blocking(move || handle.block_on(call(inner))).await.unwrap()
    }
}

#[async_trait]
impl Meta for Steady {
    fn clock(&self) -> Arc<dyn MonotonicClock> {
        self.inner.clock()
    }

    fn seen(&self) -> Seen {
        self.inner.seen()
    }

    fn counts(&self) -> Counts {
        self.inner.counts()
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.is_reachable().await;
        self.inner.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.is_reachable().await;
        self.inner.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        self.is_reachable().await;
        let lost = || MetaError::OutcomeUnknown("the test lost it".to_owned());
        let changes_partitions = txn.ops.iter().any(|op| op.key().starts_with("partition/"));
        let fault = if changes_partitions {
            self.txns.fetch_add(1, Ordering::Relaxed);
            self.faults.lock().pop()
        } else {
            None
        };
        match fault {
            Some(Fault::RequestLost) => return Err(lost()),
            Some(Fault::Unavailable) => return Err(MetaError::Unavailable("the test says so".to_owned())),
            Some(Fault::AnswerLost) | None => {}
        }
        let outcome = self.apart(async move |inner| inner.txn(txn).await).await;
        if fault == Some(Fault::AnswerLost) { Err(lost()) } else { outcome }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError> {
        let watch = self.inner.watch(prefix, from).await?;
        Ok(Watch::new(Tearable { watch, torn: self.torn.subscribe(), cut: self.cut.subscribe() }))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError> {
        self.apart(async move |inner| inner.grant(ttl).await).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.apart(async move |inner| inner.revoke(lease).await).await
    }
}

struct Tearable {
    watch: Watch,
    torn: watch::Receiver<u64>,
    cut: watch::Receiver<bool>,
}

#[async_trait]
impl WatchSource for Tearable {
    async fn next(&mut self) -> Result<Changes, WatchError> {
        if *self.cut.borrow() {
            return std::future::pending().await;
        }
        tokio::select! {
            biased;
            Ok(()) = self.torn.changed() => Err(WatchError::Compacted { oldest: Revision(u64::MAX) }),
            changes = self.watch.next() => changes,
        }
    }
}
