//! Keeps the lane to one peer open.
//!
//! A lane that ends is opened again at once. When that fails, or two lanes in a row end as soon as they
//! are opened, the peer is gone, and is tried again after pauses that grow. News of another address or
//! a later start end a pause.

use std::sync::Arc;
use std::time::Duration;

use tidelog_model::NodeId;
use tidelog_replica::Instance;
use tidelog_wire::WireError;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::link::Link;
use super::turns::Turns;
use super::{MeshOptions, PeerAddress, Shared};
use crate::convert::BadMessage;
use crate::remote::{LinkError, Remote, RemoteOptions};
use crate::replication::{LeaderReceiver, LeaderSender, ToLeader};

/// An open lane, and the connection that it is on.
struct Lane {
    _remote: Remote,
    send: LeaderSender,
    recv: LeaderReceiver,
}

/// Why a lane is no longer used.
enum End {
    Lost(WireError),
    /// The peer is at another address, or is another start.
    Moved,
}

/// A peer that is connected to from now on, until it is removed.
pub(super) fn start(shared: &Arc<Shared>, node: NodeId, address: PeerAddress) -> Arc<Link> {
    let over = shared.tasks.token().child_token();
    let (notices, counters) = (Arc::clone(&shared.notices), Arc::clone(&shared.counters));
    let link = Arc::new(Link::new(node, address, over.clone(), notices, counters));
    let (shared_by_task, link_of_task) = (Arc::clone(shared), Arc::clone(&link));
    shared.tasks.spawn("mesh-peer", async move {
        let _ = over.run_until_cancelled(keep_open(&shared_by_task, &link_of_task)).await;
    });
    link
}

/// Opens a lane whenever there is none. Never ends.
async fn keep_open(shared: &Arc<Shared>, link: &Arc<Link>) {
    let mut address = link.address.subscribe();
    // Attempts in a row that failed, and lanes in a row that ended as soon as they were opened.
    let (mut failed, mut short) = (0_u32, 0_u32);
    loop {
        let wanted = address.borrow_and_update().clone();
        let opened = tokio::select! {
            biased;
            () = moved(&mut address) => {
                (failed, short) = (0, 0);
                continue;
            }
            opened = open(shared, &wanted) => opened,
        };
        match opened {
            Ok(lane) => {
                failed = 0;
                let began = Instant::now();
                let end = serve(lane, shared, link, &mut address, wanted).await;
                link.closed();
                let lived = matches!(end, End::Moved) || began.elapsed() >= shared.options.retry_max;
                short = if lived { 0 } else { short + 1 };
                if short <= 1 {
                    continue;
                }
                if link.gone() {
                    warn!(node = %link.node, "a store's replication lane ends as soon as it is opened");
                }
            }
            Err(error) => {
                failed += 1;
                shared.counters.lane_failed();
                if link.gone() {
                    warn!(node = %link.node, %error, "a store cannot be reached");
                } else {
                    debug!(node = %link.node, %error, "a store can still not be reached");
                }
            }
        }
        if timeout(pause(&shared.options, failed.max(short)), moved(&mut address)).await.is_ok() {
            (failed, short) = (0, 0);
        }
    }
}

fn pause(options: &MeshOptions, failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    options.retry_min.saturating_mul(doubled).min(options.retry_max)
}

/// Resolves when another address is wanted.
async fn moved(address: &mut watch::Receiver<PeerAddress>) {
    if address.changed().await.is_err() {
        // The sender lives as long as the link, and so as long as this.
        std::future::pending::<()>().await;
    }
}

/// Each attempt has a connection of its own: what is left of the last one says nothing about this one.
async fn open(shared: &Shared, wanted: &PeerAddress) -> Result<Lane, LinkError> {
    let options = &shared.options;
    let addr = &wanted.address;
    let mut to = RemoteOptions::new(addr, options.tls.clone(), options.budget.clone());
    to.client_id.clone_from(&options.client_id);
    to.connect_timeout = options.connect_timeout;
    to.settings = options.settings;
    let remote = Remote::new(to, &shared.tasks);
    let opening = timeout(options.connect_timeout, remote.replicate(shared.me));
    let (send, recv) = opening.await.map_err(|_| LinkError::TimedOut { addr: addr.clone() })??;
    if recv.follower().node() != wanted.instance.node() {
        return Err(LinkError::Bad { addr: addr.clone(), bad: BadMessage("instance") });
    }
    Ok(Lane { _remote: remote, send, recv })
}

/// Sends and receives until the lane is over.
async fn serve(
    lane: Lane,
    shared: &Arc<Shared>,
    link: &Arc<Link>,
    address: &mut watch::Receiver<PeerAddress>,
    mut wanted: PeerAddress,
) -> End {
    let Lane { _remote, mut send, recv } = lane;
    let follower = recv.follower();
    shared.counters.lane_opened();
    link.opened();
    info!(node = %link.node, ?follower, addr = wanted.address, "a replication lane is open");

    // Answers are taken by a task of their own: they need not wait while batches are encrypted.
    let (ended, mut answers_end) = oneshot::channel();
    let over = link.over.child_token();
    let _over = over.clone().drop_guard();
    let shared_by_task = Arc::clone(shared);
    shared.tasks.spawn("mesh-answers", async move {
        if let Some(error) = over.run_until_cancelled(receive(recv, &shared_by_task)).await {
            let _ = ended.send(error);
        }
    });

    let mut turns = Turns::new(shared, link);
    let mut sending = std::pin::pin!(turns.send_all(&mut send));
    let end = loop {
        tokio::select! {
            error = &mut sending => break End::Lost(error),
            error = &mut answers_end => break End::Lost(error.unwrap_or(WireError::LocallyClosed)),
            () = moved(address) => {
                let newest = address.borrow_and_update().clone();
                if !still_right(follower, &wanted, &newest) {
                    break End::Moved;
                }
                wanted = newest;
            }
        }
    };
    match &end {
        End::Lost(error) => info!(node = %link.node, %error, "a replication lane ended"),
        End::Moved => info!(node = %link.node, "a store moved; its replication lane is opened anew"),
    }
    end
}

/// Whether a lane to `follower` is one to who is wanted now. News may be older than the lane: a later
/// start of the same directory answers already.
fn still_right(follower: Instance, before: &PeerAddress, now: &PeerAddress) -> bool {
    let wanted = now.instance;
    before.address == now.address && follower.replica == wanted.replica && follower.boot >= wanted.boot
}

async fn receive(mut recv: LeaderReceiver, shared: &Shared) -> WireError {
    loop {
        let answers = match recv.recv().await {
            Ok(answers) => answers,
            Err(error) => return error,
        };
        shared.counters.received_answers(answers.len());
        let Some(replicas) = shared.replicas() else { continue };
        for answer in answers {
            match answer {
                ToLeader::Ack(partition, ack) => replicas.on_ack(partition, ack),
                ToLeader::Refusal(partition, refusal) => replicas.on_refusal(partition, refusal),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::instance;

    #[test]
    fn a_lane_is_kept_unless_a_later_start_or_another_place_is_told() {
        let address = |addr: &str, boot| {
            let address = addr.to_owned();
            PeerAddress { address, instance: Instance { boot, ..instance(2) } }
        };
        let before = address("a:1", 4);
        let follower = Instance { boot: 5, ..instance(2) };
        assert!(still_right(follower, &before, &address("a:1", 4)));
        assert!(still_right(follower, &before, &address("a:1", 5)), "the news caught up");
        assert!(!still_right(follower, &before, &address("a:1", 6)));
        assert!(!still_right(follower, &before, &address("b:1", 5)));
        let other_disk = PeerAddress {
            instance: Instance {
                replica: tidelog_replica::ReplicaId { node: follower.node(), ..instance(3).replica },
                boot: 1,
            },
            ..before.clone()
        };
        assert!(!still_right(follower, &before, &other_disk));
    }
}
