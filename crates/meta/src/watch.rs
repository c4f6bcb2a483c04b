//! Following changes. A watch either delivers every change in order or says that it cannot.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use thiserror::Error;

use crate::{Entry, MetaError, Revision};

/// A change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Put(Entry),
    Delete { key: Arc<str>, revision: Revision },
}

impl Event {
    pub fn key(&self) -> &str {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// Everything that one transaction changed under the watch's prefix. Never empty, never split; the
/// order of its events means nothing, as no key is among them twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WatchError {
    /// Changes from the revision asked for on are no longer kept. List again, and watch from there.
    #[error("changes before revision {oldest} are no longer kept; list again")]
    Compacted { oldest: Revision },
    /// The store refuses to go on, for a reason that waiting does not remove.
    #[error(transparent)]
    Failed(MetaError),
    /// The store was closed or has failed.
    #[error("the metadata store is closed")]
    Closed,
}

/// What an implementation delivers a watch's changes through.
#[async_trait]
pub trait WatchSource: Send {
    /// The next transaction's changes. Cancelling the call loses nothing.
    async fn next(&mut self) -> Result<Changes, WatchError>;
}

/// A running watch. Dropping it ends it.
pub struct Watch(Box<dyn WatchSource>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    pub fn new(source: impl WatchSource + 'static) -> Self {
        Self(Box::new(source))
    }

    /// The next transaction's changes, in the order of revisions, without gaps or repetitions. Waits
    /// as long as there are none, or the store cannot be reached. Cancelling the call loses nothing.
    pub async fn next(&mut self) -> Result<Changes, WatchError> {
        self.0.next().await
    }
}
