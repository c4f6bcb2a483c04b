//! Following: finding where the logs part, cutting there, and saying so once it is synced.

use tidelog_model::Offset;

use super::{Following, Replica, State};
use crate::action::{Action, Actions};
use crate::alarm::Alarm;
use crate::history::Fork;
use crate::message::{Lead, Refusal, RefusalReason};
use crate::span::Generation;
use crate::time::Instant;

/// What has to happen to a log before it is a prefix of its leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Keep,
    Truncate(Offset),
    /// Begin again where the bucket ends.
    Reset(Offset),
}

impl Replica {
    /// A leader asks this replica to follow.
    pub(super) fn on_lead(&mut self, lead: &Lead, out: &mut Actions) {
        if !self.ready && !self.config.faults.follow_before_metadata {
            return;
        }
        if lead.epoch < self.epoch && !self.config.faults.skip_epoch_check {
            let reason = RefusalReason::Superseded { epoch: self.epoch };
            let refusal = Refusal { from: self.me, refused: lead.epoch, attempt: lead.attempt, reason };
            out.push(Action::SendRefusal { to: lead.leader.node(), refusal });
            return;
        }
        if lead.epoch > self.epoch {
            self.begin_epoch(lead.epoch, out);
        } else if let Some(alarm) = self.other_leader(lead) {
            self.stop(alarm, out);
            return;
        }
        let mut following = Following { leader: lead.leader, attempt: lead.attempt, echo: lead.sent_at };
        if let State::Following(now) = &self.state {
            if lead.attempt < now.attempt && lead.leader == now.leader {
                return;
            }
            following.echo = following.echo.max(now.echo);
        }
        self.log.marks.log_start = self.log.marks.log_start.max(lead.marks.log_start);
        self.log.marks.tiered_end = self.log.marks.tiered_end.max(lead.marks.tiered_end);
        let Some(plan) = self.plan(lead, out) else { return };
        self.carry_out(plan, lead, out);
        self.state = State::Following(following);
        if self.cutting.is_none() {
            self.in_step(following, out);
        }
        self.log.commit(lead.high_watermark, out);
    }

    /// An epoch has one leader. Who else claims to lead it?
    fn other_leader(&self, lead: &Lead) -> Option<Alarm> {
        let mine = self.led == Some(lead.epoch) || matches!(self.state, State::Leading(_));
        let by_record = self.record.leader.filter(|_| self.record.epoch == lead.epoch);
        let known = match &self.state {
            State::Following(following) => Some(following.leader),
            _ if mine => Some(self.me),
            _ => by_record,
        };
        let one = known.filter(|known| *known != lead.leader && !self.config.faults.skip_epoch_check)?;
        Some(Alarm::TwoLeaders { epoch: lead.epoch, one, other: lead.leader })
    }

    /// Where the logs part, and whether what remains here is worth keeping. `None` after an alarm.
    fn plan(&mut self, lead: &Lead, out: &mut Actions) -> Option<Plan> {
        let cut = if self.config.faults.truncate_to_hw_instead_of_epoch {
            self.log.high_watermark
        } else {
            match self.log.history.fork(self.log.end, &lead.history) {
                Fork::At(offset) => offset.min(self.log.end),
                Fork::Disagree { epoch, here, there } => {
                    self.stop(Alarm::HistoriesDisagree { epoch, here, there }, out);
                    return None;
                }
            }
        };
        let high_watermark = self.log.high_watermark;
        let unclean = lead.unclean_epoch.is_some_and(|unclean| unclean > self.synced_epoch);
        if cut < high_watermark && !unclean {
            self.stop(Alarm::CutBelowHighWatermark { epoch: lead.epoch, cut, high_watermark }, out);
            return None;
        }
        let resume = self.log.marks.resume_at();
        let nothing_left = cut <= self.log.marks.local_start;
        let far_behind = resume.since(cut) > self.config.copy_records_max;
        Some(if cut < lead.marks.local_start || far_behind || (nothing_left && cut != resume) {
            Plan::Reset(resume)
        } else if cut < self.log.end || self.log.history.newest_start().is_some_and(|start| start >= cut) {
            // Also when all that goes is an epoch without records: the journal has its beginning, and would
            // give it back at the next start, before records of an older epoch.
            Plan::Truncate(cut)
        } else {
            Plan::Keep
        })
    }

    fn carry_out(&mut self, plan: Plan, lead: &Lead, out: &mut Actions) {
        match plan {
            Plan::Keep => {
                if self.log.holds_nothing() {
                    self.log.adopt_history(&lead.history);
                }
                return;
            }
            Plan::Truncate(to) => {
                self.log.truncate(to, out);
                if self.log.holds_nothing() {
                    self.log.adopt_history(&lead.history);
                }
            }
            Plan::Reset(to) => self.log.reset(to, &lead.history, out),
        }
        self.cutting = Some(self.log.generation);
    }

    /// The log is a prefix of the leader's, durably as far as it was cut: says so.
    fn in_step(&mut self, following: Following, out: &mut Actions) {
        if self.synced_epoch != self.epoch {
            self.synced_epoch = self.epoch;
            out.push(Action::BecameFollower { epoch: self.epoch, leader: following.leader });
        }
        self.acknowledge(following, true, out);
    }

    /// A cut is synced, and with it everything that was written before.
    pub(super) fn on_cut_durable(&mut self, now: Instant, generation: Generation, out: &mut Actions) {
        if self.cutting != Some(generation) {
            return;
        }
        self.cutting = None;
        self.log.synced(generation, self.log.end, false);
        match self.state {
            State::Following(following) => self.in_step(following, out),
            State::Preparing { .. } => self.lead_after_reset(now, out),
            State::Waiting => self.try_lead(now, out),
            State::Leading(_) | State::Stopped => {}
        }
    }
}
