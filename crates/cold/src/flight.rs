//! One fetch, however many wait for it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::{BoxFuture, FutureExt, Shared, WeakShared};
use parking_lot::Mutex;

type Work<T> = BoxFuture<'static, T>;
type Running<K, T> = Mutex<HashMap<K, (u64, WeakShared<Work<T>>)>>;

/// Work in progress, by what it is about. The work runs while someone waits for it, driven by whoever
/// waits, and is dropped with the last of them.
pub(crate) struct Flights<K, T> {
    running: Arc<Running<K, T>>,
    next: AtomicU64,
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({})", self.running.lock().len())
    }
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self { running: Arc::default(), next: AtomicU64::new(0) }
    }
}

/// Forgets work that has ended or was given up.
struct Entry<K: Eq + Hash, T: Clone> {
    running: Arc<Running<K, T>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T: Clone> Drop for Entry<K, T> {
    fn drop(&mut self) {
        let mut running = self.running.lock();
        if running.get(&self.key).is_some_and(|(number, _)| *number == self.number) {
            running.remove(&self.key);
        }
    }
}

impl<K, T> Flights<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Joins the work about `key`, or begins it.
    pub(crate) fn join<F>(&self, key: K, begin: impl FnOnce() -> F) -> Shared<Work<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock();
        if let Some(shared) = running.get(&key).and_then(|(_, work)| work.upgrade()) {
            return shared;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { running: self.running.clone(), key: key.clone(), number };
        let work = begin();
        let work = async move {
            let _entry = entry;
            work.await
        };
        let shared = work.boxed().shared();
        if let Some(weak) = shared.downgrade() {
            running.insert(key, (number, weak));
        }
        shared
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.running.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_shared_while_it_runs_and_forgotten_after() {
        let flights: Flights<u32, u32> = Flights::default();
        let (done, wait) = tokio::sync::oneshot::channel::<u32>();
        let first = flights.join(1, || async { wait.await.unwrap() });
        let second = flights.join(1, || async { unreachable!("it runs already") });
        assert_eq!(flights.len(), 1);
        done.send(7).unwrap();
        assert_eq!((first.await, second.await), (7, 7));
        assert_eq!(flights.len(), 0);
        assert_eq!(flights.join(1, || async { 8 }).await, 8);
    }

    #[tokio::test]
    async fn the_first_to_ask_may_leave() {
        let flights: Flights<u32, u32> = Flights::default();
        let (done, wait) = tokio::sync::oneshot::channel::<u32>();
        let mut first = flights.join(1, || async { wait.await.unwrap() });
        assert!(futures::poll!(&mut first).is_pending());
        let second = flights.join(1, || async { unreachable!("it runs already") });
        drop(first);
        done.send(7).unwrap();
        assert_eq!(second.await, 7);
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped() {
        let flights: Flights<u32, u32> = Flights::default();
        drop(flights.join(1, futures::future::pending));
        assert_eq!(flights.len(), 0);
    }
}
