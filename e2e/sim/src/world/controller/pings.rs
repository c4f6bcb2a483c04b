//! Signs of life: a ping to every live store each heartbeat, and one at once when a store is said to be gone.

use tidelog_controller::term::Look;
use tidelog_model::NodeId;
use tidelog_peer::Pong;

use super::super::World;
use super::super::node::NodeEvent;
use crate::agenda::MS;
use crate::message::Message;
use crate::net::Site;

/// The newest ping to a store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    boot: u64,
    round: u64,
    answered: bool,
}

impl World {
    pub(super) fn ping_all(&mut self, node: usize) {
        let Some((seat, now)) = self.active(node) else { return };
        let live: Vec<(NodeId, u64)> =
            seat.term.image().live_nodes().map(|live| (live.node, live.boot)).collect();
        seat.asked.retain(|node, asked| live.contains(&(*node, asked.boot)));
        let silent = seat.asked.iter().filter(|(_, asked)| !asked.answered).map(|(node, _)| *node);
        for silent in silent.collect::<Vec<_>>() {
            seat.term.looked(silent, Look::Missed, now);
        }
        self.news(node);
        for (to, boot) in live {
            self.ping(node, to, boot);
        }
    }

    fn ping(&mut self, node: usize, to: NodeId, boot: u64) {
        let Some((seat, _)) = self.active(node) else { return };
        let asked = seat.asked.entry(to).or_insert(Asked { boot, round: 0, answered: true });
        asked.round += 1;
        asked.answered = false;
        let round = asked.round;
        self.send(Site::Node(node), Site::Node(to.0 as usize), Message::Ping { round });
        if self.is_refused(node, to.0 as usize) {
            self.later(node, MS, NodeEvent::Refused { node: to.0 as usize, round });
        }
    }

    /// Whether a connection is refused at once: nobody listens there, or somebody in between says so.
    pub(super) fn is_refused(&mut self, node: usize, to: usize) -> bool {
        let is_cut = self.net.is_cut(Site::Node(to), Site::Node(node));
        let gone = self.nodes[to].process.is_none() && !is_cut && self.rng.chance(800);
        gone || (self.troubles.ousted == Some(to) && node != to)
    }

    pub(in super::super) fn take_pong(&mut self, node: usize, from: Site, round: u64, pong: Pong) {
        let Site::Node(from) = from else { return };
        let from = NodeId(from as u32);
        let Some((seat, now)) = self.active(node) else { return };
        let Some(asked) = seat.asked.get_mut(&from).filter(|asked| asked.round == round) else { return };
        asked.answered = true;
        seat.term.looked(from, Look::Answered(pong), now);
        self.news(node);
    }

    pub(in super::super) fn ping_refused(&mut self, node: usize, by: usize, round: u64) {
        let by = NodeId(by as u32);
        let Some((seat, now)) = self.active(node) else { return };
        let Some(asked) = seat.asked.get_mut(&by).filter(|asked| asked.round == round) else { return };
        asked.answered = true;
        seat.term.looked(by, Look::Gone, now);
        self.news(node);
    }

    /// A connection closed: it is looked at once whether the other is still there.
    pub(in super::super) fn connection_closed(&mut self, node: usize, to: usize) {
        let to = NodeId(to as u32);
        let Some((seat, _)) = self.active(node) else { return };
        if let Some(boot) = seat.term.image().live(to).map(|live| live.boot) {
            self.ping(node, to, boot);
        }
    }
}
