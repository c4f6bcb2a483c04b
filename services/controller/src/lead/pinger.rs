//! Looking after each live store: a sign of life every heartbeat, and one look at once when its
//! connection closes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidelog_meta::{Image, Live};
use tidelog_model::NodeId;
use tidelog_peer::Ping;
use tidelog_runtime::{CancellationToken, Supervisor};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Context;
use crate::Unreachable;
use crate::term::Look;

/// Looks that wait for the controller's task.
pub(super) const BEATS_MAX: usize = 1024;

/// What came of a look at a store.
#[derive(Debug)]
pub(super) struct Beat {
    pub(super) node: NodeId,
    boot: u64,
    pub(super) look: Look,
}

/// The tasks that look, one for each live store.
#[derive(Debug)]
pub(super) struct Pingers {
    context: Arc<Context>,
    supervisor: Supervisor,
    beats: mpsc::Sender<Beat>,
    running: BTreeMap<NodeId, Pinger>,
}

#[derive(Debug)]
struct Pinger {
    live: Live,
    stop: CancellationToken,
}

impl Drop for Pinger {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Pingers {
    pub(super) fn new(context: Arc<Context>, supervisor: Supervisor, beats: mpsc::Sender<Beat>) -> Self {
        Self { context, supervisor, beats, running: BTreeMap::new() }
    }

    /// Looks after the stores that are live, and no others.
    pub(super) fn follow(&mut self, image: &Image) {
        self.running.retain(|node, pinger| {
            let same = |live: &Live| (live.boot, &live.address) == (pinger.live.boot, &pinger.live.address);
            image.live(*node).is_some_and(same)
        });
        for live in image.live_nodes() {
            self.running.entry(live.node).or_insert_with(|| {
                let stop = self.supervisor.token().child_token();
                let task = look_after(Arc::clone(&self.context), live.clone(), self.beats.clone());
                let stopped = stop.clone();
                self.supervisor.spawn("controller-pinger", async move {
                    let _ = stopped.run_until_cancelled(task).await;
                });
                Pinger { live: live.clone(), stop }
            });
        }
    }

    /// Whether the look was at the process that is live now.
    pub(super) fn is_current(&self, beat: &Beat) -> bool {
        self.running.get(&beat.node).is_some_and(|pinger| pinger.live.boot == beat.boot)
    }
}

async fn look_after(context: Arc<Context>, live: Live, beats: mpsc::Sender<Beat>) {
    let mut tick = tokio::time::interval(context.options.heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut closure_counts = false;
    loop {
        tokio::select! {
            _ = tick.tick() => closure_counts = true,
            // Once between two heartbeats: a peer that accepts and closes cannot keep this busy.
            () = context.stores.closed(&live), if closure_counts => closure_counts = false,
        }
        let beat = Beat { node: live.node, boot: live.boot, look: look(&context, &live).await };
        if beats.send(beat).await.is_err() {
            return;
        }
    }
}

async fn look(context: &Context, live: &Live) -> Look {
    let ping = Ping { controller: context.node, token: context.leadership.token().0 };
    let answer = context.stores.ping(live, ping);
    match tokio::time::timeout(context.options.heartbeat, answer).await {
        Ok(Ok(pong)) => Look::Answered(pong),
        Ok(Err(Unreachable::Gone(_))) => Look::Gone,
        Ok(Err(Unreachable::Silent(_) | Unreachable::Refused(_))) | Err(_) => Look::Missed,
    }
}
