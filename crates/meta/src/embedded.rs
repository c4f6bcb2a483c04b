//! The metadata store of one process, on local disk.
//!
//! Everything is held in memory, and every transaction is in a redb file before it is answered or
//! visible. One thread writes: what queues up while it commits becomes one commit (and one revision
//! each), so that raising five thousand epochs costs a handful of syncs. Leases run on a monotonic clock
//! that is handed in; one that was granted by an earlier process gets its full time again, as after a
//! change of leader in etcd.

mod disk;
mod draft;
mod image;
mod leases;
mod queue;
mod room;
mod watcher;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

pub use disk::{Creation, OpenError};
use image::Image;
use leases::Leases;
use queue::{Command, Queue};
use watcher::Watcher;
use writer::Writer;

use crate::counts::Counters;
use crate::limits::{check_list, check_ttl};
use crate::{
    Counts, Entry, Lease, LeaseId, Listing, Meta, MetaError, Revision, Seen, SharedMonotonic,
    SystemMonotonic, Txn, TxnOutcome, Watch,
};

/// A metadata store in a directory of its own. Dropping it closes it.
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What callers, watches and the writer share.
struct Shared {
    /// What is durable.
    image: RwLock<Image>,
    leases: Leases,
    queue: Queue,
    clock: SharedMonotonic,
    counters: Counters,
    /// Wakes watches: the newest revision, and whether there will be no more.
    news: watch::Sender<News>,
    /// Why nothing works any more.
    failed: OnceLock<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct News {
    revision: Revision,
    ended: bool,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.shared.image.read();
        f.debug_struct("Embedded")
            .field("revision", &image.revision())
            .field("keys", &image.len())
            .finish_non_exhaustive()
    }
}

impl Embedded {
    /// Opens the store in `directory`, with the system's clock for leases. Blocks on the disk.
    pub fn open(directory: &Path, creation: Creation) -> Result<Self, OpenError> {
        Self::open_with_clock(directory, creation, Arc::new(SystemMonotonic))
    }

    /// Opens the store in `directory`. Blocks on the disk.
    pub fn open_with_clock(
        directory: &Path,
        creation: Creation,
        clock: SharedMonotonic,
    ) -> Result<Self, OpenError> {
        let (disk, image) = disk::open(directory, creation)?;
        let leases = Leases::restore(image.leases(), clock.now());
        let (news, _) = watch::channel(News { revision: image.revision(), ended: false });
        let shared = Arc::new(Shared {
            image: RwLock::new(image),
            leases,
            queue: Queue::new(),
            clock,
            counters: Counters::default(),
            news,
            failed: OnceLock::new(),
        });
        let writer = Writer::new(Arc::clone(&shared), disk);
        let thread =
            std::thread::Builder::new()
                .name("meta-writer".to_owned())
                .spawn(move || writer.run())
                .map_err(|error| OpenError::Io { path: directory.to_owned(), reason: error.to_string() })?;
        Ok(Self { shared, writer: Mutex::new(Some(thread)) })
    }

    /// Ends the writer after what is queued. Blocks on the disk.
    pub fn close(&self) {
        self.shared.queue.close();
        if let Some(thread) = self.writer.lock().take() {
            // A panic there has been announced through `failed` already.
            let _ = thread.join();
        }
    }

    /// Resolves with the reason when the disk failed: nothing is accepted from then on, and the process
    /// should end. Never resolves while all is well.
    pub async fn failed(&self) -> String {
        let mut news = self.shared.news.subscribe();
        let _ = news.wait_for(|news| news.ended).await;
        match self.shared.failed.get() {
            Some(reason) => reason.clone(),
            // Closed in good order.
            None => std::future::pending().await,
        }
    }

    /// Looks at the clock now instead of when the next lease is due, for clocks that are moved by hand.
    pub fn tick(&self) {
        self.shared.queue.wake();
    }

    /// Forgets the changes up to the newest revision: a watch that has not seen them must list again.
    /// For tests of exactly that.
    pub fn compact(&self) {
        self.shared.image.write().compact();
        self.shared.news.send_modify(|_| ());
    }

    async fn submit<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, MetaError>>) -> Command,
    ) -> Result<T, MetaError> {
        let (answer, answered) = oneshot::channel();
        self.shared.check()?;
        self.shared.queue.push(command(answer)).await?;
        let lost = || MetaError::OutcomeUnknown("the store stopped before it answered".to_owned());
        answered.await.map_err(|_| lost())?
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn check(&self) -> Result<(), MetaError> {
        if let Some(reason) = self.failed.get() {
            return Err(MetaError::Failed(reason.clone()));
        }
        if self.queue.is_closed() { Err(MetaError::Closed) } else { Ok(()) }
    }
}

#[async_trait]
impl Meta for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, MetaError> {
        self.shared.check()?;
        self.shared.counters.read();
        Ok(self.shared.image.read().get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.shared.check()?;
        self.shared.counters.read();
        let image = self.shared.image.read();
        check_list(image.under(prefix).map(Entry::bytes).sum())?;
        Ok(Listing { revision: image.revision(), entries: image.under(prefix).cloned().collect() })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, MetaError> {
        txn.check()?;
        let outcome = self.submit(|answer| Command::Txn(txn, answer)).await;
        self.shared.counters.txn(&outcome);
        outcome
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Watch, MetaError> {
        self.shared.check()?;
        Ok(Watch::new(Watcher::new(Arc::clone(&self.shared), prefix, from)))
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease, MetaError> {
        let ttl = check_ttl(ttl)?;
        let asked = self.shared.clock.now();
        let (id, ttl) = self.submit(|answer| Command::Grant(ttl, answer)).await?;
        self.shared.counters.lease();
        Ok(Lease { id, ttl, valid_until: asked + ttl })
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Lease, MetaError> {
        self.shared.check()?;
        let asked = self.shared.clock.now();
        let ttl = self.shared.leases.renew(lease, asked).ok_or(MetaError::LeaseNotFound(lease))?;
        self.shared.counters.keep_alive();
        Ok(Lease { id: lease, ttl, valid_until: asked + ttl })
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.submit(|answer| Command::Revoke(lease, answer)).await?;
        self.shared.counters.lease();
        Ok(())
    }

    fn clock(&self) -> SharedMonotonic {
        Arc::clone(&self.shared.clock)
    }

    fn seen(&self) -> Seen {
        Seen { store: 0, revision: self.shared.image.read().revision() }
    }

    fn counts(&self) -> Counts {
        self.shared.counters.counts()
    }
}

#[cfg(test)]
mod tests;
