//! A key that says that a process is there, for as long as it is.
//!
//! The key is bound to a lease and put again under a new one when a lease was lost: to an etcd that could
//! not be reached for longer than the lease lasts, a process that goes on working comes back by itself.
//! What must not go on without the lease watches [`Registration::lease`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use crate::lease::hold;
use crate::{
    Compare, HeldLease, Key, LeaseEnd, LeaseId, MetaError, Revision, SharedMeta, Txn, TxnOutcome, Value,
};

/// How long to wait after the key could not be put.
const PAUSE: Duration = Duration::from_millis(500);

/// How long the removal of the key may hold up a process that ends; the lease does it otherwise.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);

/// The handle of a registration. Cheap to clone.
pub struct Registration<V>(Arc<Shared<V>>);

struct Shared<V> {
    wanted: watch::Sender<Wanted<V>>,
    held: watch::Receiver<Option<HeldLease>>,
    lease: watch::Receiver<Option<LeaseId>>,
    done: watch::Receiver<bool>,
}

/// What the key is to hold; `None`: it is to go, for good.
type Wanted<V> = Option<Arc<V>>;

/// What a registration depends on holds no more: its place is someone else's now. Nothing is put any more.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key} is not registered any more: what it depends on had changed at revision {revision}")]
pub struct Superseded {
    pub key: String,
    pub revision: Revision,
}

/// Registers as soon as what is returned beside the handle is run; that ends when the registration does.
pub fn register<V: Value>(
    meta: SharedMeta,
    ttl: Duration,
    key: Key<V>,
    value: V,
) -> (Registration<V>, impl Future<Output = ()> + Send + 'static) {
    let (registration, task) = register_while(meta, ttl, key, value, Vec::new());
    let task = async move {
        if let Err(superseded) = task.await {
            unreachable!("it depends on nothing: {superseded}");
        }
    };
    (registration, task)
}

/// The same, and only as long as `conditions` hold whenever the key is put. They are not looked at in
/// between.
pub fn register_while<V: Value>(
    meta: SharedMeta,
    ttl: Duration,
    key: Key<V>,
    value: V,
    conditions: Vec<Compare>,
) -> (Registration<V>, impl Future<Output = Result<(), Superseded>> + Send + 'static) {
    let (wanted, wants) = watch::channel(Some(Arc::new(value)));
    let (held, seen) = watch::channel(None);
    let (lease, lease_seen) = watch::channel(None);
    let (done, is_done) = watch::channel(false);
    let shared = Shared { wanted, held: seen, lease: lease_seen, done: is_done };
    let keeper = Keeper { meta, ttl, key, conditions, wants, held, lease };
    let task = async move {
        let outcome = keeper.run().await;
        done.send_replace(true);
        outcome
    };
    (Registration(Arc::new(shared)), task)
}

impl<V: Value> Registration<V> {
    /// The lease that the key is bound to, once it is put and until the lease is over.
    pub fn held(&self) -> watch::Receiver<Option<HeldLease>> {
        self.0.held.clone()
    }

    /// The same lease by its name.
    pub fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.0.lease.clone()
    }

    /// Whether the key is there for certain.
    pub fn is_held(&self) -> bool {
        self.0.held.borrow().as_ref().is_some_and(HeldLease::is_valid)
    }

    /// Puts another value, now and from now on.
    pub fn replace(&self, change: impl FnOnce(&V) -> V) {
        self.0.wanted.send_if_modified(|wanted| {
            let Some(value) = wanted else { return false };
            *value = Arc::new(change(value));
            true
        });
    }

    /// Removes the key and ends the lease; returns when that is done, or cannot be done soon. Nothing is
    /// registered again.
    pub async fn end(&self) {
        self.0.wanted.send_replace(None);
        let mut done = self.0.done.clone();
        // The task that would say so may be gone already.
        let _ = tokio::time::timeout(REMOVE_WITHIN, done.wait_for(|done| *done)).await;
    }
}

struct Keeper<V> {
    meta: SharedMeta,
    ttl: Duration,
    key: Key<V>,
    conditions: Vec<Compare>,
    wants: watch::Receiver<Wanted<V>>,
    held: watch::Sender<Option<HeldLease>>,
    lease: watch::Sender<Option<LeaseId>>,
}

/// Why the key was not put.
#[derive(Debug)]
enum NotPut {
    Meta(MetaError),
    Superseded(Superseded),
}

impl From<MetaError> for NotPut {
    fn from(error: MetaError) -> Self {
        Self::Meta(error)
    }
}

impl<V: Value> Keeper<V> {
    async fn run(mut self) -> Result<(), Superseded> {
        while self.is_wanted() {
            match self.once().await {
                Ok(()) => {}
                Err(NotPut::Superseded(superseded)) => return Err(superseded),
                Err(NotPut::Meta(error)) => {
                    tracing::warn!(key = %self.key, %error, "cannot register; it is tried again");
                    let _ = tokio::time::timeout(PAUSE, self.is_unwanted()).await;
                }
            }
        }
        Ok(())
    }

    /// Registers under one lease, until that is over or nobody wants it any more.
    async fn once(&mut self) -> Result<(), NotPut> {
        let (keeper, held) = hold(Arc::clone(&self.meta), self.ttl).await?;
        let keeping = keeper.run();
        tokio::pin!(keeping);
        let outcome = tokio::select! {
            end = &mut keeping => Ok(Some(end)),
            kept = self.keep(&held) => kept.map(|()| None),
        };
        self.held.send_replace(None);
        self.lease.send_replace(None);
        if let Ok(Some(end)) = &outcome {
            tracing::warn!(key = %self.key, ?end, "the lease is over; registering again");
            return Ok(());
        }
        // The key goes with the lease, whatever became of the last put.
        let revoked = tokio::time::timeout(REMOVE_WITHIN, self.meta.revoke(held.id())).await;
        if !matches!(revoked, Ok(Ok(()))) {
            tracing::warn!(key = %self.key, "the key could not be removed; its lease will end it");
        }
        outcome.map(|_: Option<LeaseEnd>| ())
    }

    /// Puts the key, and puts it again when its value is to be another.
    async fn keep(&mut self, held: &HeldLease) -> Result<(), NotPut> {
        loop {
            let Some(value) = self.wants.borrow_and_update().clone() else { return Ok(()) };
            let put = Txn::new().put_leased(&self.key, &*value, held.id());
            let txn = self.conditions.iter().cloned().fold(put, Txn::when);
            match self.meta.txn(txn).await {
                Ok(TxnOutcome::Committed(_)) => {}
                Ok(TxnOutcome::Conflict(revision)) => {
                    let key = self.key.to_string();
                    return Err(NotPut::Superseded(Superseded { key, revision }));
                }
                // The same may be put twice.
                Err(MetaError::OutcomeUnknown(_)) => {
                    let _ = tokio::time::timeout(PAUSE, self.wants.changed()).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if self.held.borrow().is_none() {
                self.held.send_replace(Some(held.clone()));
                self.lease.send_replace(Some(held.id()));
            }
            if self.wants.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Somebody holds the handle, and has not ended it.
    fn is_wanted(&self) -> bool {
        self.wants.borrow().is_some() && self.wants.has_changed().is_ok()
    }

    async fn is_unwanted(&mut self) {
        let _ = self.wants.wait_for(Option::is_none).await;
    }
}

impl<V> Clone for Registration<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V> fmt::Debug for Registration<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("lease", &*self.0.lease.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
