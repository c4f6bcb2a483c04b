//! Sending what is unanswered to whoever leads, in order.
//!
//! An attempt begins when nothing is in flight from the one before, or nothing more is to be heard of it.
//! Its first batch goes alone: a store that does not lead yet would otherwise refuse it and take the next.

use std::sync::Arc;
use std::time::Duration;

use tidelog_model::ErrorCode;
use tidelog_peer::StoreError;
use tokio::time::timeout;

use super::{Attempt, Link, Mode, Pipeline};
use crate::cluster::attempts::Backoff;
use crate::cluster::route::Route;

/// How long the answers of a leader that was replaced are still waited for: those to what it took before
/// are on their way, unless it hangs.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Why an attempt came to nothing.
struct Stuck {
    error: StoreError,
    route: Option<Route>,
}

/// Runs until everything is in flight to a leader that takes it, or nothing is left to send.
pub(super) async fn drive(pipeline: Arc<Pipeline>, resume: Option<Link>) {
    if let Some(link) = resume
        && pipeline.resume(link).await.is_ok()
    {
        return pipeline.look_again();
    }
    let mut backoff = Backoff::default();
    let mut told = false;
    loop {
        pipeline.settle().await;
        let Some(attempt) = pipeline.begin() else { return };
        let Err(Stuck { error, route }) = pipeline.attempt(attempt).await else {
            return pipeline.look_again();
        };
        let partition = pipeline.partition;
        if error.code == ErrorCode::UnknownTopicOrPartition && route.is_none() {
            pipeline.state.lock().queue.refuse_all(&error);
            continue;
        }
        if !std::mem::replace(&mut told, true) {
            tracing::info!(%partition, %error, "batches wait for the partition's leader");
        }
        let _ = timeout(backoff.next(), pipeline.core.rerouted(partition, route.as_ref())).await;
    }
}

impl Pipeline {
    /// Waits until nothing is in flight, or nothing more is to be heard of it.
    async fn settle(&self) {
        let Some(route) = self.state.lock().sent_to.clone() else { return };
        let gone = async {
            self.core.replaced(self.partition, &route).await;
            timeout(LAST_ANSWERS, self.quiet()).await
        };
        tokio::select! {
            biased;
            () = self.quiet() => {}
            _ = gone => {}
        }
    }

    async fn quiet(&self) {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.state.lock().queue.in_flight() == 0 {
                return;
            }
            progress.await;
        }
    }

    /// Begins anew with everything that is unanswered; `None` when there is nothing any more.
    fn begin(self: &Arc<Self>) -> Option<Arc<Attempt>> {
        let name = self.core.name(self.partition);
        let mut state = self.state.lock();
        let before = state.sent_to.take();
        state.queue.abandon(|| {
            let who =
                before.as_ref().map_or_else(|| "its leader".to_owned(), |route| route.store.to_string());
            format!("{name}: {who} was replaced before it acknowledged the batch; the outcome is unknown")
        });
        state.queue.forget_dropped();
        state.attempt += 1;
        state.trouble = None;
        if state.queue.is_empty() {
            state.mode = Mode::Idle;
            return None;
        }
        Some(Arc::new(Attempt { pipeline: Arc::downgrade(self), number: state.attempt }))
    }

    /// Goes on with an attempt that nothing is known to be wrong with.
    async fn resume(&self, link: Link) -> Result<(), StoreError> {
        let route = self.state.lock().sent_to.clone();
        let route = route.ok_or_else(|| StoreError::from(ErrorCode::LeaderNotAvailable))?;
        self.send_rest(&route, link).await
    }

    /// The image may have changed just before whoever watches it could see that batches go out.
    fn look_again(self: &Arc<Self>) {
        let route = self.core.route(self.partition);
        self.keep_up(route.as_ref().ok());
    }

    async fn attempt(&self, sink: Arc<Attempt>) -> Result<(), Stuck> {
        let (route, peer) = self.core.leader(self.partition).map_err(|error| Stuck { error, route: None })?;
        let stuck = |error| Stuck { error, route: Some(route.clone()) };
        // It is large, and rarely needed.
        let opening = Box::pin(peer.call(peer.remote.forward_lane(self.partition)));
        let lane = self.unless_replaced(&route, opening).await.flatten().map_err(stuck)?;
        self.state.lock().sent_to = Some(route.clone());
        let link = Link { lane, sink };
        if self.send_one(&route, &link).await.map_err(stuck)? {
            self.settle().await;
            if self.state.lock().queue.in_flight() > 0 {
                return Err(stuck(replaced(&route)));
            }
        }
        self.send_rest(&route, link).await.map_err(stuck)
    }

    /// Sends all that is left; from then on, whoever brings a batch sends it.
    async fn send_rest(&self, route: &Route, link: Link) -> Result<(), StoreError> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(error) = state.trouble.clone() {
                    return Err(error);
                }
                if state.queue.next_bytes().is_none() {
                    state.mode = Mode::Direct(link);
                    return Ok(());
                }
            }
            self.send_one(route, &link).await?;
        }
    }

    /// Sends the next batch when the lane has room; false when there is none.
    async fn send_one(&self, route: &Route, link: &Link) -> Result<bool, StoreError> {
        let Some(bytes) = self.state.lock().queue.next_bytes() else { return Ok(false) };
        let room = self.unless_replaced(route, link.lane.room(bytes)).await?;
        if self.hand_over(&mut self.state.lock().queue, link, room) {
            return Ok(true);
        }
        let message = format!("the connection to {} ended before the batch was sent", route.store);
        Err(StoreError::new(ErrorCode::BrokerNotAvailable, message))
    }

    /// Waits for something of a leader for as long as it is the leader.
    async fn unless_replaced<T>(
        &self,
        route: &Route,
        wait: impl Future<Output = T>,
    ) -> Result<T, StoreError> {
        tokio::select! {
            biased;
            found = wait => Ok(found),
            () = self.core.replaced(self.partition, route) => Err(replaced(route)),
        }
    }
}

fn replaced(route: &Route) -> StoreError {
    let message = format!("{} was replaced and has not answered", route.store);
    StoreError::new(ErrorCode::NotLeaderOrFollower, message)
}
