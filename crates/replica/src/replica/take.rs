//! Taking what the leader pushes: only the next batch, only under the epoch that is followed.

use super::{Replica, State};
use crate::action::{Action, Actions};
use crate::alarm::Alarm;
use crate::message::{Pushed, RefusalReason};
use crate::span::Span;

impl Replica {
    /// A batch, or a heartbeat.
    pub(super) fn on_pushed(&mut self, pushed: &Pushed, out: &mut Actions) {
        if !self.ready && !self.config.faults.follow_before_metadata {
            return;
        }
        if pushed.epoch < self.epoch && !self.config.faults.skip_epoch_check {
            self.refuse(pushed, RefusalReason::Superseded { epoch: self.epoch }, out);
            return;
        }
        let State::Following(following) = &mut self.state else {
            self.refuse(pushed, RefusalReason::NotFollowing, out);
            return;
        };
        if pushed.epoch > self.epoch {
            self.refuse(pushed, RefusalReason::NotFollowing, out);
            return;
        }
        if following.leader != pushed.leader && !self.config.faults.skip_epoch_check {
            let (one, other) = (following.leader, pushed.leader);
            self.stop(Alarm::TwoLeaders { epoch: pushed.epoch, one, other }, out);
            return;
        }
        if self.cutting.is_some() {
            // Sent before the leader knows where this log ends; it will ask.
            return;
        }
        following.echo = following.echo.max(pushed.sent_at);
        following.attempt = following.attempt.max(pushed.attempt);
        let following = *following;
        self.log.marks.log_start = self.log.marks.log_start.max(pushed.log_start);
        self.log.marks.tiered_end = self.log.marks.tiered_end.max(pushed.tiered_end);
        match pushed.span {
            Some(span) if span.base > self.log.end => {
                self.refuse(pushed, RefusalReason::Gap { log_end: self.log.end }, out);
                return;
            }
            Some(span) if span.base < self.log.end => self.offered_again(span, out),
            Some(span) => self.take(pushed, span, out),
            None => {}
        }
        if matches!(self.state, State::Stopped) {
            return;
        }
        self.log.commit(pushed.high_watermark, out);
        let wrote = pushed.span.is_some_and(|span| span.next == self.log.end && span.next > self.log.durable);
        if !wrote {
            self.acknowledge(following, false, out);
        }
    }

    /// The next batch. What precedes it must be the same on both sides.
    fn take(&mut self, pushed: &Pushed, span: Span, out: &mut Actions) {
        let here = self.log.last_epoch();
        let same_before = here == pushed.prev_epoch || self.log.holds_nothing();
        let in_order = here <= Some(span.epoch) && span.epoch <= pushed.epoch && span.next > span.base;
        let fits = (same_before && in_order) || self.config.faults.skip_epoch_check;
        if !fits {
            self.stop(Alarm::PrefixDiffers { span, here, there: pushed.prev_epoch }, out);
            return;
        }
        self.log.take(span, out);
        if self.config.faults.skip_fsync {
            self.log.durable = self.log.end;
        }
    }

    /// A batch at offsets that are held: the same one, said twice, or a broken promise.
    fn offered_again(&mut self, span: Span, out: &mut Actions) {
        if span.base < self.log.marks.local_start {
            return;
        }
        let same_epoch = self.log.history.epoch_at(span.base) == Some(span.epoch);
        if span.next <= self.log.end && same_epoch {
            out.push(Action::Compare { span });
        } else {
            self.stop(Alarm::OtherBytes { span }, out);
        }
    }
}
