//! What a follower says to its leader.

use super::{Following, Replica};
use crate::action::{Action, Actions};
use crate::message::{Ack, Pushed, Refusal, RefusalReason};

impl Replica {
    /// Tells the leader what is synced here. Nothing is told while a cut is not synced.
    pub(super) fn acknowledge(&self, following: Following, answers_lead: bool, out: &mut Actions) {
        if self.cutting.is_some() {
            return;
        }
        let ack = Ack {
            from: self.me,
            epoch: self.epoch,
            attempt: following.attempt,
            answers_lead,
            log_end: self.log.end,
            durable: self.log.durable,
            echo: following.echo,
        };
        out.push(Action::SendAck { to: following.leader.node(), ack });
    }

    pub(super) fn refuse(&self, pushed: &Pushed, reason: RefusalReason, out: &mut Actions) {
        let refusal = Refusal { from: self.me, refused: pushed.epoch, attempt: pushed.attempt, reason };
        out.push(Action::SendRefusal { to: pushed.leader.node(), refusal });
    }
}
