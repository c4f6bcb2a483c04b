//! From the record to leadership: what the metadata store says, and what follows from it.

use tidelog_model::{LeaderEpoch, Offset};

use super::{Replica, State};
use crate::action::{Action, Actions, StepDownReason};
use crate::alarm::Alarm;
use crate::history::{EpochStart, Fork};
use crate::identity::Instance;
use crate::leader::{Cx, Leader};
use crate::record::{Observed, Origin};
use crate::time::Instant;

impl Replica {
    /// The partition's record was seen, by a watch or a read.
    pub(super) fn on_observed(&mut self, now: Instant, observed: Observed, out: &mut Actions) {
        let Observed { record, revision, floor, origin } = observed;
        if !self.ready {
            if origin == Origin::Watch {
                return;
            }
            // The read began after everything that is on this disk had happened.
            if let Some(known) = self.log.history.newest().filter(|newest| *newest > record.epoch) {
                self.stop(Alarm::EpochWentBack { known, found: record.epoch }, out);
                return;
            }
            self.ready = true;
        }
        if revision < self.revision {
            return;
        }
        self.floor = floor;
        if revision == self.revision {
            if origin == Origin::Read {
                if std::mem::take(&mut self.doubted) && self.record.epoch == self.epoch {
                    let (log_end, tiered_end) = (self.log.end, self.log.marks.tiered_end);
                    self.decline(Alarm::BehindTheBucket { log_end, tiered_end }, out);
                }
                self.as_leader(now, out, |leader, cx| {
                    leader.on_unchanged(cx);
                    crate::leader::Verdict::LeadOn
                });
            }
            return;
        }
        if record.epoch < self.record.epoch {
            let (known, found) = (self.record.epoch, record.epoch);
            self.stop(Alarm::EpochWentBack { known, found }, out);
            return;
        }
        self.revision = revision;
        self.record = record;
        self.doubted = false;
        self.follow_record(now, out);
    }

    /// Becomes what the record says.
    fn follow_record(&mut self, now: Instant, out: &mut Actions) {
        if self.record.epoch < self.epoch {
            // A leader of a newer epoch has been here before the news of it.
            return;
        }
        if self.record.epoch > self.epoch {
            self.begin_epoch(self.record.epoch, out);
        }
        let Some(leader) = self.record.leader else {
            self.step_down(StepDownReason::Superseded, out);
            return;
        };
        if self.is_mine(leader) {
            match self.state {
                State::Leading(_) => self.as_leader(now, out, Leader::on_record),
                State::Following(following) => {
                    let (epoch, one) = (self.epoch, following.leader);
                    self.stop(Alarm::TwoLeaders { epoch, one, other: leader }, out);
                }
                _ => self.try_lead(now, out),
            }
            return;
        }
        let other = match &self.state {
            State::Leading(_) | State::Preparing { .. } => Some(self.me),
            State::Following(following) => Some(following.leader),
            _ => None,
        };
        if let Some(one) = other.filter(|other| *other != leader) {
            self.stop(Alarm::TwoLeaders { epoch: self.epoch, one, other: leader }, out);
        }
    }

    /// A newer epoch is known: whatever this replica was under the older one, it is no more.
    pub(super) fn begin_epoch(&mut self, epoch: LeaderEpoch, out: &mut Actions) {
        self.step_down(StepDownReason::Superseded, out);
        self.epoch = epoch;
        self.state = State::Waiting;
    }

    /// Leadership belongs to this very start of this very data directory.
    fn is_mine(&self, leader: Instance) -> bool {
        leader == self.me
            || (self.config.faults.resume_epoch_after_restart && leader.replica == self.me.replica)
    }

    /// Leads, if the record says so and nothing is in the way. What this replica cannot lead it
    /// declines for good, so that the controller sees it not leading.
    pub(super) fn try_lead(&mut self, now: Instant, out: &mut Actions) {
        let named = self.record.leader.is_some_and(|leader| self.is_mine(leader));
        let epoch = self.record.epoch;
        let done_with = self.led.is_some_and(|led| led >= epoch);
        if !named || epoch < self.epoch || done_with || self.cutting.is_some() || !self.is_idle() {
            return;
        }
        if self.record.unclean_epoch == Some(epoch) {
            self.state = State::Preparing { reset: false };
            out.push(Action::ReadTiered);
            return;
        }
        let any_disk = self.config.faults.keep_isr_member_with_new_disk;
        let mut members = self.record.isr.iter();
        if !members.any(|m| *m == self.me.replica || (any_disk && m.node == self.me.node())) {
            self.decline(Alarm::LeaderNotInSync { epoch }, out);
            return;
        }
        let (log_end, tiered_end) = (self.log.end, self.log.marks.tiered_end);
        if log_end < tiered_end {
            // Most likely the news of this epoch is old, and others have led and filled the bucket since.
            self.doubted = true;
            out.push(Action::ReadBack);
            return;
        }
        self.lead(now, out);
    }

    fn is_idle(&self) -> bool {
        matches!(self.state, State::Waiting)
    }

    fn decline(&mut self, alarm: Alarm, out: &mut Actions) {
        self.led = Some(self.record.epoch);
        out.push(Action::Raise(alarm));
    }

    fn lead(&mut self, now: Instant, out: &mut Actions) {
        self.synced_epoch = self.record.epoch;
        let mut cx = Cx {
            now,
            me: self.me,
            config: &self.config,
            log: &mut self.log,
            record: &mut self.record,
            revision: &mut self.revision,
            floor: self.floor,
            tickets: &mut self.tickets,
            out,
        };
        let leader = Leader::begin(&mut cx);
        self.state = State::Leading(Box::new(leader));
    }

    /// What the bucket has, for a leader from outside the ISR: published records were committed, so a
    /// log that parts from them gives way and begins again where they end.
    pub(super) fn on_tiered(&mut self, now: Instant, end: Offset, history: &[EpochStart], out: &mut Actions) {
        if !matches!(self.state, State::Preparing { reset: false }) {
            return;
        }
        self.log.marks.tiered_end = self.log.marks.tiered_end.max(end);
        let end = self.log.marks.tiered_end;
        let same_below = match self.log.history.fork(self.log.end, history) {
            Fork::At(offset) => offset.min(end),
            Fork::Disagree { here, there, .. } => here.min(there),
        };
        if same_below >= end {
            self.lead(now, out);
            return;
        }
        self.log.reset(end, history, out);
        self.cutting = Some(self.log.generation);
        self.state = State::Preparing { reset: true };
    }

    /// The bucket's end is where this leader begins now.
    pub(super) fn lead_after_reset(&mut self, now: Instant, out: &mut Actions) {
        self.state = State::Waiting;
        self.lead(now, out);
    }
}
