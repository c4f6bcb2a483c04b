//! The metadata store of a cluster: etcd, version 3.4 or later.
//!
//! One connection at a time, to one member; when it does not answer, or says that it has no leader, the
//! next member is tried. Reads and leases are repeated until the call's time is over, as that does no harm.
//! A transaction is sent once: it goes to another member only when it certainly was not sent or not
//! applied, and is of unknown outcome otherwise.
//!
//! All keys lie below `{prefix}/`, so that several clusters share an etcd without seeing each other. Keys
//! and values are the same as in the embedded store.

mod connect;
mod convert;
mod fault;
mod identity;
mod listing;
mod options;
mod repeat;
mod tls;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::Client;

use connect::Connections;
use fault::Fault;
use identity::Identity;
pub use options::{Credentials, EtcdOptions, EtcdUrl, OptionsError, Password, TlsFiles};
use watcher::Watcher;

use crate::counts::Counters;
use crate::limits::check_ttl;
use crate::{
    Counts, Entry, Lease, LeaseId, Listing, Meta, MetaError, MonotonicClock as _, Revision, Seen,
    SharedMonotonic, SystemMonotonic, Txn, TxnOutcome, Watch,
};

/// A metadata store in etcd.
#[derive(Debug)]
pub struct Etcd {
    shared: Arc<Shared>,
}

/// What calls and watches share.
#[derive(Debug)]
struct Shared {
    connections: Connections,
    /// Before every key, with its slash.
    prefix: String,
    timeout: Duration,
    identity: Identity,
    counters: Counters,
}

impl Etcd {
    /// Connects, and makes sure that it is the etcd that the options remember.
    pub async fn open(options: EtcdOptions) -> Result<Self, MetaError> {
        options.check().map_err(|error| MetaError::Invalid(error.to_string()))?;
        let shared = Arc::new(Shared {
            prefix: format!("{}/", options.prefix),
            timeout: options.timeout,
            identity: Identity::new(options.remembered),
            counters: Counters::default(),
            connections: Connections::new(options),
        });
        shared.prove().await?;
        Ok(Self { shared })
    }
}

impl Shared {
    /// Reads something, so that a store that was replaced or restored is recognised.
    async fn prove(&self) -> Result<(), MetaError> {
        self.get("cluster").await.map(drop)
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        let key = format!("{}{key}", self.prefix);
        let floor = self.identity.floor()?;
        let call = |client: Client| {
            let key = key.clone();
            async move { client.kv_client().get(key, None).await }
        };
        let mut answer = self.repeat(call).await.map_err(Fault::into_error)?;
        self.counters.read();
        self.identity.check(floor, answer.header())?;
        let entry = answer.take_kvs().into_iter().next();
        entry.map(|found| convert::entry(found, &self.prefix)).transpose()
    }

    async fn txn(&self, txn: &Txn) -> Result<TxnOutcome, MetaError> {
        txn.check()?;
        let floor = self.identity.floor()?;
        let request = convert::txn(txn, &self.prefix);
        let call = |client: Client| {
            let request = request.clone();
            async move { client.kv_client().txn(request).await }
        };
        let answer = self.once(call).await.map_err(|fault| match fault {
            Fault::Lost(reason) => MetaError::OutcomeUnknown(reason),
            Fault::NoLease => {
                convert::lease_of(txn).map_or_else(|| Fault::NoLease.into_error(), MetaError::LeaseNotFound)
            }
            other => other.into_error(),
        })?;
        let revision = self.identity.check(floor, answer.header())?;
        Ok(if answer.succeeded() { TxnOutcome::Committed(revision) } else { TxnOutcome::Conflict(revision) })
    }

    async fn keep_alive(&self, id: LeaseId) -> Result<Lease, MetaError> {
        let call = |client: Client| async move {
            let (mut keeper, mut answers) = client.lease_client().keep_alive(id.0).await?;
            // The answer to the request that opens the stream is hidden by the library, so a second one
            // is sent, and its time counts.
            let sent = SystemMonotonic.now();
            keeper.keep_alive().await?;
            let ttl = answers.message().await?.map_or(0, |answer| answer.ttl());
            Ok((sent, ttl))
        };
        let (sent, ttl) = match self.repeat(call).await {
            Err(Fault::NoLease) => return Err(MetaError::LeaseNotFound(id)),
            answer => answer.map_err(Fault::into_error)?,
        };
        if ttl <= 0 {
            return Err(MetaError::LeaseNotFound(id));
        }
        let ttl = Duration::from_secs(ttl.unsigned_abs());
        self.counters.keep_alive();
        Ok(Lease { id, ttl, valid_until: sent + ttl })
    }
}

#[async_trait]
impl Meta for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.shared.get(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.shared.list(prefix).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        let outcome = self.shared.txn(&txn).await;
        self.shared.counters.txn(&outcome);
        outcome
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError> {
        Ok(Watch::new(Watcher::new(Arc::clone(&self.shared), prefix, from)))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError> {
        let ttl = check_ttl(ttl)?;
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).expect("a checked time to live is short");
        let call = |client: Client| async move {
            let sent = SystemMonotonic.now();
            let answer = client.lease_client().grant(seconds, None).await?;
            Ok((sent, answer))
        };
        let (sent, answer) = self.shared.repeat(call).await.map_err(Fault::into_error)?;
        self.shared.counters.lease();
        let ttl = Duration::from_secs(answer.ttl().max(0).unsigned_abs());
        Ok(Lease { id: LeaseId(answer.id()), ttl, valid_until: sent + ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError> {
        self.shared.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let call = |client: Client| async move { client.lease_client().revoke(lease.0).await };
        match self.shared.repeat(call).await {
            Ok(_) => {
                self.shared.counters.lease();
                Ok(())
            }
            Err(Fault::NoLease) => Ok(()),
            Err(fault) => Err(fault.into_error()),
        }
    }

    fn clock(&self) -> SharedMonotonic {
        Arc::new(SystemMonotonic)
    }

    fn seen(&self) -> Seen {
        self.shared.identity.seen()
    }

    fn counts(&self) -> Counts {
        self.shared.counters.counts()
    }
}
