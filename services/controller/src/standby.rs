//! While another is controller: looking whether its process is still there.
//!
//! The election's key lives as long as the lease of the store that was elected, and a store that is
//! killed leaves its lease to run out. So that a cluster does not wait for that, whoever stands next
//! takes the key away once the incumbent is certainly no more: nobody listens at its address, or a later
//! start of the same store has registered or answers. Silence is no proof; that is the lease's business.
//! A mistake costs a change of controller, nothing else: the one deposed has no key any more that its
//! transactions could compare.

use std::convert::Infallible;
use std::time::Duration;

use tidelog_meta::election::{self, Incumbent, Leader};
use tidelog_meta::{Live, TypedMeta as _, keys};
use tidelog_peer::Ping;
use tokio::time::{Instant, MissedTickBehavior};

use crate::controller::Parts;
use crate::{ELECTION, Unreachable};

/// How long to wait after the metadata could not be asked.
const PAUSE: Duration = Duration::from_secs(2);

/// Deposes incumbents that are no more, for as long as it is polled.
pub(crate) async fn replace_dead(parts: &Parts, own: Incumbent) -> Infallible {
    loop {
        let mut observer = election::observe(&*parts.meta, ELECTION);
        let mut leader: Option<Leader> = None;
        let error = loop {
            let outcome = tokio::select! {
                next = observer.next() => next.map(|next| leader = next),
                () = is_no_more(parts, leader.as_ref(), own) => match leader.take() {
                    // Who comes next, the observer tells.
                    Some(leader) => election::depose(&*parts.meta, ELECTION, &leader).await,
                    None => Ok(()),
                },
            };
            if let Err(error) = outcome {
                break error;
            }
        };
        tracing::warn!(%error, "cannot tell whether there is a controller");
        tokio::time::sleep_until(Instant::now() + PAUSE).await;
    }
}

/// Resolves when the leader is certainly no more; never, if it is this store or cannot be told.
async fn is_no_more(parts: &Parts, leader: Option<&Leader>, own: Incumbent) {
    let known = leader.and_then(|leader| Some((leader, Incumbent::of(leader)?)));
    let Some((leader, incumbent)) = known else { return std::future::pending().await };
    if incumbent.node == own.node {
        if incumbent.boot >= own.boot {
            std::future::pending::<()>().await;
        }
        return;
    }
    let ping = Ping { controller: incumbent.node, token: leader.token.0 };
    let mut tick = tokio::time::interval(parts.options.heartbeat);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut live = None;
    let mut closure_counts = false;
    loop {
        tokio::select! {
            _ = tick.tick() => closure_counts = true,
            () = closed(parts, live.as_ref()), if closure_counts => closure_counts = false,
        }
        if live.is_none() {
            live = registered(parts, incumbent).await;
        }
        let replaced = |boot: u64| boot > incumbent.boot;
        let Some(live) = &live else { continue };
        let answer = tokio::time::timeout(parts.options.heartbeat, parts.stores.ping(live, ping));
        let is_no_more = replaced(live.boot)
            || match answer.await {
                Ok(Ok(pong)) => replaced(pong.boot),
                Ok(Err(Unreachable::Gone(_))) => true,
                Ok(Err(Unreachable::Silent(_) | Unreachable::Refused(_))) | Err(_) => false,
            };
        if is_no_more {
            tracing::info!(node = %incumbent.node, "the controller's process is no more; it is deposed");
            return;
        }
    }
}

async fn closed(parts: &Parts, live: Option<&Live>) {
    match live {
        Some(live) => parts.stores.closed(live).await,
        None => std::future::pending().await,
    }
}

/// What the incumbent's start, or a later one, has registered.
async fn registered(parts: &Parts, incumbent: Incumbent) -> Option<Live> {
    let stored = parts.meta.read(&keys::live(incumbent.node)).await.ok()??;
    (stored.value.boot >= incumbent.boot).then_some(stored.value)
}
