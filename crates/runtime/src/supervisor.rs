//! The one place where tasks begin. Each has a name, is cancelled and joined, and cannot die unseen.
//!
//! The hazard: a task that panics takes its channel with it, and everyone who talks to it waits for
//! ever or sees a closed channel. So a panic is fatal to the process: [`Supervisor::fatal`] resolves,
//! and `main` stops with an error.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A task ended in a way that the process must not outlive.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{task}: {reason}")]
pub struct Fatal {
    pub task: String,
    pub reason: String,
}

/// Tasks that were still running at the deadline; each is named once, with how many there are of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("still running after {}: {}", fmt_seconds(*.after), .tasks.join(", "))]
pub struct Unfinished {
    pub after: Duration,
    pub tasks: Vec<String>,
}

fn fmt_seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Spawns, cancels and joins tasks. Cheap to clone; every clone is the same supervisor.
#[derive(Clone)]
pub struct Supervisor {
    scope: Arc<Scope>,
    verdict: Arc<Verdict>,
}

/// What one supervisor (or a child of one) looks after.
struct Scope {
    cancel: CancellationToken,
    tracker: TaskTracker,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Cow<'static, str>>>,
}

/// The first fatal end in the process; later ones are consequences.
#[derive(Default)]
struct Verdict {
    reached: CancellationToken,
    first: Mutex<Option<Fatal>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("running", &self.scope.tracker.len())
            .field("cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    pub fn new() -> Self {
        Self { scope: Scope::new(CancellationToken::new()), verdict: Arc::default() }
    }

    /// A supervisor for a part: cancelled with this one or on its own, joined on its own. A fatal end
    /// in it is fatal here too.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { scope: Scope::new(self.scope.cancel.child_token()), verdict: Arc::clone(&self.verdict) }
    }

    /// Runs a task until it ends by itself; it is expected to watch [`Supervisor::token`]. A panic in
    /// it is fatal.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn_fallible(name, task.map(Ok::<(), std::convert::Infallible>));
    }

    /// Like [`Supervisor::spawn`], for a task whose error is fatal as well.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_fallible<F, E>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display,
    {
        let name = name.into();
        let entry = Entry::new(Arc::clone(&self.scope), name.clone());
        let verdict = Arc::clone(&self.verdict);
        self.scope.tracker.spawn(async move {
            let _entry = entry;
            match AssertUnwindSafe(task).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => verdict.reach(&name, error.to_string()),
                Err(panic) => verdict.reach(&name, format!("panicked: {}", panic_text(&*panic))),
            }
        });
    }

    /// Runs a task that is dropped where it stands when the supervisor is cancelled, for work that
    /// needs no drain.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_until_cancelled<F>(&self, name: impl Into<Cow<'static, str>>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token();
        self.spawn(name, async move {
            let _ = token.run_until_cancelled(task).await;
        });
    }

    /// What tasks watch to learn that they should end.
    pub fn token(&self) -> CancellationToken {
        self.scope.cancel.clone()
    }

    /// Asks every task, and every child's tasks, to end.
    pub fn cancel(&self) {
        self.scope.cancel.cancel();
    }

    pub fn is_cancelled(&self) -> bool {
        self.scope.cancel.is_cancelled()
    }

    /// Resolves when the supervisor was asked to end.
    pub async fn cancelled(&self) {
        self.scope.cancel.cancelled().await;
    }

    /// Reports that the process must end. Threads outside the runtime use this too.
    pub fn fail(&self, task: &str, reason: impl fmt::Display) {
        self.verdict.reach(task, reason.to_string());
    }

    /// Resolves when a task of this process, in whatever scope, ended fatally: the first one's reason.
    pub async fn fatal(&self) -> Fatal {
        self.verdict.reached.cancelled().await;
        self.verdict.first.lock().clone().expect("the verdict is stored before it is announced")
    }

    /// The first fatal end, if there was one.
    pub fn verdict(&self) -> Option<Fatal> {
        self.verdict.first.lock().clone()
    }

    /// How many tasks run in this scope.
    pub fn running(&self) -> usize {
        self.scope.tracker.len()
    }

    /// Waits until every task of this scope has ended, at most `within`. Does not cancel them.
    pub async fn join(&self, within: Duration) -> Result<(), Unfinished> {
        self.scope.tracker.close();
        let ended = tokio::time::timeout(within, self.scope.tracker.wait()).await;
        // A scope stays usable: a join is no end of it.
        self.scope.tracker.reopen();
        ended.map_err(|_| Unfinished { after: within, tasks: self.scope.names() })
    }

    /// Cancels and joins.
    pub async fn shut_down(&self, within: Duration) -> Result<(), Unfinished> {
        self.cancel();
        self.join(within).await
    }
}

impl Scope {
    fn new(cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            cancel,
            tracker: TaskTracker::new(),
            next: AtomicU64::new(0),
            running: Mutex::default(),
        })
    }

    fn names(&self) -> Vec<String> {
        let mut counts = std::collections::BTreeMap::<String, usize>::new();
        for name in self.running.lock().values() {
            *counts.entry(name.to_string()).or_default() += 1;
        }
        counts
            .into_iter()
            .map(|(name, count)| if count == 1 { name } else { format!("{name} (x{count})") })
            .collect()
    }
}

impl Verdict {
    fn reach(&self, task: &str, reason: String) {
        let fatal = Fatal { task: task.to_owned(), reason };
        tracing::error!(task = fatal.task, reason = fatal.reason, "a task failed; the process must end");
        self.first.lock().get_or_insert(fatal);
        self.reached.cancel();
    }
}

/// A running task's name, removed when the task is dropped, however it ends.
struct Entry {
    scope: Arc<Scope>,
    id: u64,
}

impl Entry {
    fn new(scope: Arc<Scope>, name: Cow<'static, str>) -> Self {
        let id = scope.next.fetch_add(1, Ordering::Relaxed);
        scope.running.lock().insert(id, name);
        Self { scope, id }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.scope.running.lock().remove(&self.id);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn cancelled_tasks_are_joined() {
        let supervisor = Supervisor::new();
        let token = supervisor.token();
        supervisor.spawn("waiter", async move { token.cancelled().await });
        assert_eq!(supervisor.running(), 1);
        assert_eq!(supervisor.shut_down(SOON).await, Ok(()));
        assert_eq!(supervisor.running(), 0);
        assert_eq!(supervisor.verdict(), None);
    }

    #[tokio::test]
    async fn a_panic_is_fatal_and_carries_its_text() {
        let supervisor = Supervisor::new();
        supervisor.child().spawn("offload", async { panic!("lost {}", "it") });
        let fatal = supervisor.fatal().await;
        assert_eq!(fatal, Fatal { task: "offload".into(), reason: "panicked: lost it".into() });
    }

    #[tokio::test]
    async fn the_first_fatal_end_is_the_one_reported() {
        let supervisor = Supervisor::new();
        supervisor.spawn_fallible("journal", async { Err("disk gone") });
        supervisor.fatal().await;
        supervisor.fail("reader", "closed channel");
        assert_eq!(supervisor.fatal().await.to_string(), "journal: disk gone");
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_that_do_not_end_are_named() {
        let supervisor = Supervisor::new();
        for _ in 0..2 {
            supervisor.spawn("stuck", std::future::pending());
        }
        supervisor.spawn_until_cancelled("droppable", std::future::pending());
        let unfinished = supervisor.shut_down(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(unfinished.to_string(), "still running after 1.0 s: stuck (x2)");
    }

    #[tokio::test]
    async fn a_child_ends_alone_but_not_after_its_parent() {
        let parent = Supervisor::new();
        let (first, second) = (parent.child(), parent.child());
        first.cancel();
        assert!(first.is_cancelled() && !parent.is_cancelled() && !second.is_cancelled());
        parent.cancel();
        assert!(second.is_cancelled());
    }
}
