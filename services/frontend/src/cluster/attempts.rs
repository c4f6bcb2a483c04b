//! Trying again when a partition's leader has moved, until the caller's time is up.

use std::time::Duration;

use tidelog_link::Remote;
use tidelog_meta::Image;
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_peer::StoreError;
use tokio::time::{Instant, timeout, timeout_at};

use super::Core;
use super::peers::Peer;
use super::route::{self, NoRoute, Route};

/// Pauses between attempts while the image stays as it is: a store may know less, or more, than it.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_millis(200);

/// The pauses of one caller.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Backoff {
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_LONGEST);
        pause
    }
}

/// The store that was asked does not serve this, or cannot be reached, and has done nothing: another
/// may, or the same one soon.
pub(super) fn is_elsewhere(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::BrokerNotAvailable
            | ErrorCode::ShuttingDown
    )
}

/// The same, of a partition that exists: a store that has not heard of it yet will, or another leads it.
pub(super) fn is_not_led_here(code: ErrorCode) -> bool {
    is_elsewhere(code) || code == ErrorCode::UnknownTopicOrPartition
}

/// An attempt that came to nothing.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StoreError,
    /// Whom it went to.
    pub(super) route: Option<Route>,
}

impl Failed {
    /// Nobody who leads has answered; who asked changes nothing, and may ask again.
    pub(super) fn is_for_want_of_a_leader(&self) -> bool {
        let code = self.error.code;
        match &self.route {
            Some(_) => is_not_led_here(code) || code == ErrorCode::RequestTimedOut,
            None => is_elsewhere(code),
        }
    }
}

/// The attempts at one call of a partition's leader.
#[derive(Debug)]
pub(super) struct Attempts<'a> {
    core: &'a Core,
    partition: TopicPartition,
    /// What is being tried, for the error.
    what: &'static str,
    within: Duration,
    deadline: Instant,
    backoff: Backoff,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        core: &'a Core,
        partition: TopicPartition,
        what: &'static str,
        within: Duration,
    ) -> Self {
        let deadline = Instant::now() + within;
        Self { core, partition, what, within, deadline, backoff: Backoff::default() }
    }

    /// Asks who leads now, once.
    pub(super) async fn ask<T, F>(&self, call: impl FnOnce(Remote) -> F) -> Result<T, Failed>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (route, peer) =
            self.core.leader(self.partition).map_err(|error| Failed { error, route: None })?;
        let answer = peer.call(call(peer.remote.clone()));
        let error = match timeout_at(self.deadline, answer).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => StoreError::new(ErrorCode::RequestTimedOut, format!("{} did not answer", peer.store)),
        };
        Err(Failed { error, route: Some(route) })
    }

    /// Waits until another attempt may do better. Errors when none will, or the time is up.
    pub(super) async fn again(&mut self, failed: Failed) -> Result<(), StoreError> {
        if !failed.is_for_want_of_a_leader() {
            return Err(failed.error);
        }
        if Instant::now() < self.deadline {
            let pause = Instant::now() + self.backoff.next();
            let other = self.core.rerouted(self.partition, failed.route.as_ref());
            let _ = timeout_at(pause.min(self.deadline), other).await;
        }
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let name = self.core.name(self.partition);
        let StoreError { code, message } = failed.error;
        let message = format!("{} of {name}: not done within {:?}; last: {message}", self.what, self.within);
        Err(StoreError::new(code, message))
    }
}

impl Core {
    /// Asks a partition's leader, whoever that is meanwhile, something that may be asked repeatedly.
    pub(super) async fn ask_leader<T, F>(
        &self,
        partition: TopicPartition,
        what: &'static str,
        call: impl Fn(Remote) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut attempts = Attempts::new(self, partition, what, self.options.call_timeout);
        loop {
            match attempts.ask(&call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => attempts.again(failed).await?,
            }
        }
    }

    /// Who leads a partition now.
    pub(super) fn leader(&self, partition: TopicPartition) -> Result<(Route, Peer), StoreError> {
        let image = self.mirror.image();
        match route::route(&image, partition) {
            Ok(route) => {
                let peer = self.peers.of(&route.store);
                Ok((route, peer))
            }
            Err(none) => Err(none.of(&image, partition)),
        }
    }

    pub(super) fn route(&self, partition: TopicPartition) -> Result<Route, NoRoute> {
        route::route(&self.mirror.image(), partition)
    }

    pub(super) fn name(&self, partition: TopicPartition) -> String {
        route::name(&self.mirror.image(), partition)
    }

    /// Resolves when the way to a partition is another than this.
    pub(super) async fn rerouted(&self, partition: TopicPartition, known: Option<&Route>) {
        self.once(|image| (route::route(image, partition).ok().as_ref() != known).then_some(())).await;
    }

    /// Resolves when a partition is not led by this start of this store any more.
    pub(super) async fn replaced(&self, partition: TopicPartition, known: &Route) {
        let other = |image: &Image| {
            route::route(image, partition).ok().is_none_or(|route| route.store != known.store)
        };
        self.once(|image| other(image).then_some(())).await;
    }

    /// Waits until something is found in the image.
    pub(super) async fn once<T>(&self, mut look: impl FnMut(&Image) -> Option<T>) -> T {
        let mut versions = self.mirror.versions();
        loop {
            versions.mark_unchanged();
            let found = look(&self.mirror.image());
            if let Some(found) = found {
                return found;
            }
            if versions.changed().await.is_err() {
                // The mirror is gone, and with it the process.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until the image changes, or for so long.
    pub(super) async fn changed(&self, within: Duration) {
        let mut versions = self.mirror.versions();
        let _ = timeout(within, versions.changed()).await;
    }
}
