//! The tasks behind a producer or a consumer: cancelled together, joined together.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// A set of tasks. Dropping it cancels them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or the set is cancelled.
    pub(crate) fn spawn(&self, span: tracing::Span, task: impl Future<Output = ()> + Send + 'static) {
        let token = self.token.clone();
        let task = async move {
            token.run_until_cancelled(task).await;
        };
        self.tracker.spawn(task.instrument(span));
    }

    /// Cancels every task and waits until each is gone.
    pub(crate) async fn stop(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.token.cancel();
    }
}
