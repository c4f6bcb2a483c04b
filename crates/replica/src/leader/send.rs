//! What the leader sends, and when it repeats itself.

use tidelog_model::{NodeId, Offset};

use super::{Cx, Leader, Verdict};
use crate::StepDownReason;
use crate::message::Attempt;

impl Leader {
    /// Time passed.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.advance(cx);
        for peer in &mut self.peers {
            if peer.node != cx.me.node() {
                peer.tick(cx, self.epoch);
            }
        }
        self.tick_isr(cx);
        if self.own_disk_is_late(cx) {
            return Verdict::StepDown(StepDownReason::SlowDisk);
        }
        self.resign_when_done(cx)
    }

    /// Whether the leader's own disk keeps everyone waiting who could lead instead.
    fn own_disk_is_late(&self, cx: &Cx<'_>) -> bool {
        let late = cx.log.durable < cx.log.end && self.own_lag.behind(cx.now) > cx.config.own_lag_max;
        let ahead = |durable: Offset| durable > cx.log.durable;
        let someone_else = self
            .peers
            .iter()
            .any(|peer| peer.committed.is_some() && peer.counted_durable(false).is_some_and(ahead));
        late && someone_else
    }

    pub(crate) fn on_follower_here(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        if node == cx.me.node() {
            return;
        }
        if let Some(at) = self.find(node) {
            self.peers[at].gone = false;
            self.peers[at].lead(cx, self.epoch);
        }
    }

    pub(crate) fn on_follower_gone(&mut self, cx: &mut Cx<'_>, node: NodeId) {
        if let Some(at) = self.find(node) {
            self.peers[at].unreachable(cx);
            self.consider_isr(cx);
        }
    }

    pub(crate) fn on_not_sent(&mut self, to: NodeId, attempt: Attempt, from: Offset) {
        if let Some(at) = self.find(to) {
            self.peers[at].not_sent(attempt, from);
        }
    }

    pub(crate) fn on_send_ready(&mut self, cx: &mut Cx<'_>, to: NodeId) {
        if let Some(at) = self.find(to) {
            self.peers[at].send_ready(cx);
        }
    }
}
