//! Whether the cluster has a controller.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidelog_controller::ELECTION;
use tidelog_meta::{MetaError, SharedMeta, election};
use tidelog_runtime::Supervisor;

/// How long to wait after the election could not be watched.
const PAUSE: Duration = Duration::from_secs(1);

/// Cheap to clone; clones know the same.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    /// Whether somebody is elected, as of what was heard last.
    pub fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Follows the election for as long as the supervisor lets it.
pub fn follow(meta: &SharedMeta, supervisor: &Supervisor) -> Known {
    let known = Known::default();
    let (meta, told) = (Arc::clone(meta), known.clone());
    supervisor.spawn_until_cancelled("controller-watch", async move {
        loop {
            let Err(error) = watch(&meta, &told).await;
            if error == MetaError::Closed {
                return;
            }
            tracing::warn!(%error, "cannot tell whether there is a controller");
            #[expect(clippy::disallowed_methods, reason = "back-off")]
            tokio::time::sleep(PAUSE).await;
        }
    });
    known
}

async fn watch(meta: &SharedMeta, known: &Known) -> Result<Infallible, MetaError> {
    let mut observer = election::observe(&**meta, ELECTION);
    loop {
        known.0.store(observer.next().await?.is_some(), Ordering::Relaxed);
    }
}
