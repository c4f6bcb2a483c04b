//! Noticing that etcd is not the one it was.
//!
//! An etcd that was restored from a backup often keeps its cluster id; only its revision is lower. Every
//! answer of a linearizable call carries both. Its revision may be lower than that of an answer which came
//! in meanwhile, but not than one that was known when the call began.

use std::sync::OnceLock;

use etcd_client::ResponseHeader;
use parking_lot::Mutex;

use crate::{MetaError, Revision, Seen};

#[derive(Debug)]
pub(super) struct Identity {
    seen: Mutex<Option<Seen>>,
    /// Once etcd was found to be another, nothing is believed any more.
    restored: OnceLock<MetaError>,
}

/// What was known when a call began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor(Option<Seen>);

impl Identity {
    pub(super) fn new(remembered: Option<Seen>) -> Self {
        Self { seen: Mutex::new(remembered), restored: OnceLock::new() }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or(Seen { store: 0, revision: Revision::NONE })
    }

    pub(super) fn floor(&self) -> Result<Floor, MetaError> {
        match self.restored.get() {
            Some(error) => Err(error.clone()),
            None => Ok(Floor(*self.seen.lock())),
        }
    }

    /// Judges a linearizable answer, and gives its revision.
    pub(super) fn check(&self, floor: Floor, header: Option<&ResponseHeader>) -> Result<Revision, MetaError> {
        let found = of(header)?;
        if let Some(remembered) = floor.0
            && (found.store != remembered.store || found.revision < remembered.revision)
        {
            return Err(self.restored(remembered, found));
        }
        self.raise(found)?;
        Ok(found.revision)
    }

    /// Judges what a watch delivers: a member that lags behind may tell it an older revision.
    pub(super) fn check_watch(&self, header: Option<&ResponseHeader>) -> Result<Revision, MetaError> {
        let found = of(header)?;
        self.raise(found)?;
        Ok(found.revision)
    }

    fn raise(&self, found: Seen) -> Result<(), MetaError> {
        let mut seen = self.seen.lock();
        match &mut *seen {
            Some(seen) if seen.store != found.store => return Err(self.restored(*seen, found)),
            Some(seen) => seen.revision = seen.revision.max(found.revision),
            None => *seen = Some(found),
        }
        Ok(())
    }

    fn restored(&self, remembered: Seen, found: Seen) -> MetaError {
        let error = MetaError::Restored { remembered, found };
        if self.restored.set(error.clone()).is_ok() {
            tracing::error!(%remembered, %found, "etcd was replaced or restored from an older copy");
        }
        error
    }
}

fn of(header: Option<&ResponseHeader>) -> Result<Seen, MetaError> {
    let header = header.ok_or_else(|| MetaError::Failed("etcd answered without a header".to_owned()))?;
    Ok(Seen { store: header.cluster_id(), revision: Revision(header.revision().max(0).unsigned_abs()) })
}
