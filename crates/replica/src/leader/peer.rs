//! One follower as its leader sees it: how far it was sent to, how far it has synced, whether it keeps
//! up, and whether it counts.

use std::time::Duration;

use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, Offset};

use super::Cx;
use crate::action::Action;
use crate::alarm::Alarm;
use crate::config::HISTORY_SENT_MAX;
use crate::identity::ReplicaId;
use crate::message::{Ack, Attempt, Lead, Pushed};
use crate::time::Instant;

/// Whether the follower has answered the newest Lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet; the Lead is repeated.
    Leading,
    /// It has: batches are pushed as they come.
    Streaming,
}

/// When somebody was last known to have all that there was.
///
/// Being behind is normal under load; what counts is how long ago the log ended where they are now.
/// One mark at a time stands for all of the log's ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    mark: Offset,
    mark_at: Instant,
    caught_up_at: Instant,
}

impl Lag {
    pub(super) fn new(now: Instant, end: Offset) -> Self {
        Self { mark: end, mark_at: now, caught_up_at: now }
    }

    /// Everything was there until now; now the log goes on to `end`.
    pub(super) fn restart(&mut self, now: Instant, end: Offset) {
        *self = Self::new(now, end);
    }

    pub(super) fn progress(&mut self, now: Instant, durable: Offset, end: Offset) {
        if durable >= end {
            self.restart(now, end);
        } else if durable >= self.mark {
            *self = Self { mark: end, mark_at: now, caught_up_at: self.mark_at };
        }
    }

    pub(super) fn behind(&self, now: Instant) -> Duration {
        now.since(self.caught_up_at)
    }
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub(super) struct Peer {
    pub(super) node: NodeId,
    /// The disk that answers under that node now.
    pub(super) directory: Option<DirectoryId>,
    /// Whether the record places a replica there.
    pub(super) placed: bool,
    /// The disk that the record's ISR names.
    pub(super) committed: Option<DirectoryId>,
    /// A disk that a proposed ISR names and whose proposal may yet be made, or has been.
    pub(super) in_doubt: Option<DirectoryId>,
    pub(super) phase: Phase,
    pub(super) attempt: Attempt,
    /// Everything below has been handed to the store to be sent.
    sent: Offset,
    /// What the follower has synced of this leader's log; unknown until it acknowledges this epoch.
    pub(super) durable: Option<Offset>,
    /// `durable` as it was when the newest Lead was sent: an answer to that has at least so much.
    owed: Option<Offset>,
    /// When what the follower confirmed last was sent.
    pub(super) confirmed: Option<Instant>,
    /// Since when something that must be answered is unanswered.
    asked_at: Option<Instant>,
    heard_at: Instant,
    told_at: Instant,
    told_high_watermark: Offset,
    lead_wait: Duration,
    /// The store could not send everything.
    blocked: bool,
    pub(super) gone: bool,
    /// It acknowledged what it no longer has.
    pub(super) lost: bool,
    lag: Lag,
    pub(super) rejoin_from: Instant,
}

impl Peer {
    /// A follower that is led after `spent` attempts, perhaps of another time as a replica.
    pub(super) fn new(cx: &Cx<'_>, node: NodeId, spent: Attempt) -> Self {
        Self {
            node,
            directory: None,
            placed: false,
            committed: None,
            in_doubt: None,
            phase: Phase::Leading,
            attempt: spent,
            sent: Offset::ZERO,
            durable: None,
            owed: None,
            confirmed: None,
            asked_at: None,
            heard_at: cx.now,
            told_at: cx.now,
            told_high_watermark: Offset::ZERO,
            lead_wait: cx.config.lead_retry,
            blocked: false,
            gone: false,
            lost: false,
            lag: Lag::new(cx.now, cx.log.end),
            rejoin_from: Instant::ZERO,
        }
    }

    pub(super) fn replica(&self) -> Option<ReplicaId> {
        self.directory.map(|directory| ReplicaId { node: self.node, directory })
    }

    pub(super) fn is_streaming(&self) -> bool {
        self.phase == Phase::Streaming
    }

    /// Whether commitment waits for this follower: in the ISR, or in one that may have been committed.
    pub(super) fn counts(&self) -> bool {
        self.committed.is_some() || self.in_doubt.is_some()
    }

    /// What the ISR entries that this follower stands for have synced; `None` when one of them names
    /// another disk, or has not acknowledged this epoch.
    pub(super) fn counted_durable(&self, any_disk: bool) -> Option<Offset> {
        let named = |entry: Option<DirectoryId>| entry.is_none() || entry == self.directory || any_disk;
        self.durable.filter(|_| named(self.committed) && named(self.in_doubt))
    }

    /// Whether the follower keeps the high watermark, or a "latest", waiting for too long.
    pub(super) fn is_late(&self, cx: &Cx<'_>) -> bool {
        let unanswered = self.asked_at.is_some_and(|at| cx.now.since(at) > cx.config.lag_max);
        let owes = self.durable.is_none_or(|durable| durable < cx.log.end);
        unanswered || (owes && self.lag.behind(cx.now) > cx.config.lag_max)
    }

    /// Whether the follower holds everything committed, and can be waited for from now on.
    pub(super) fn may_join(&self, cx: &Cx<'_>, start: Offset) -> bool {
        let caught_up = self.durable.is_some_and(|durable| {
            cx.config.faults.join_below_high_watermark
                || (durable >= cx.log.high_watermark && durable >= start)
        });
        let new_here = self.directory.is_some() && self.committed != self.directory;
        let sound = self.phase == Phase::Streaming && !self.gone && !self.lost;
        self.placed && new_here && sound && caught_up && !self.is_late(cx)
    }

    /// The leader appended `base..next`: pushes it when the follower has been sent all before.
    pub(super) fn appended(&mut self, cx: &mut Cx<'_>, base: Offset, next: Offset) {
        if self.durable == Some(base) {
            self.lag.restart(cx.now, next);
        }
        if self.sent == base {
            self.pump(cx);
        }
    }

    /// Pushes what the follower was not sent yet, as far as the window allows.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        let synced = self.durable.unwrap_or(self.sent);
        let room = self.sent.since(synced) < cx.config.window_records;
        if self.phase != Phase::Streaming || self.blocked || self.sent >= cx.log.end || !room {
            return;
        }
        let (from, up_to) = (self.sent, cx.log.end);
        cx.out.push(Action::Push { to: self.node, attempt: self.attempt, from, up_to });
        self.sent = up_to;
        self.told(cx);
    }

    fn told(&mut self, cx: &Cx<'_>) {
        self.told_at = cx.now;
        self.told_high_watermark = cx.log.high_watermark;
    }

    /// Takes an acknowledgement; false when it says nothing about this follower as it is now.
    pub(super) fn acked(&mut self, cx: &mut Cx<'_>, ack: &Ack) -> bool {
        let newest = ack.attempt == self.attempt;
        let answers = ack.answers_lead && newest;
        if self.directory != Some(ack.from.replica.directory) {
            if !answers {
                return false;
            }
            self.directory = Some(ack.from.replica.directory);
            self.durable = None;
            self.owed = None;
            self.confirmed = None;
            self.lost = false;
        }
        if self.lost && !newest {
            return false;
        }
        self.heard_at = cx.now;
        self.gone = false;
        if answers {
            self.begin_streaming(cx, ack);
        }
        self.durable = self.durable.max(Some(ack.durable));
        self.confirmed = self.confirmed.max(Some(ack.echo));
        if self.asked_at.is_some_and(|at| ack.echo >= at) {
            self.asked_at = None;
        }
        self.blocked = false;
        self.lag.progress(cx.now, ack.durable, cx.log.end);
        true
    }

    fn begin_streaming(&mut self, cx: &mut Cx<'_>, ack: &Ack) {
        // The answer may come late and twice: what was acknowledged after the Lead proves nothing.
        if let (Some(acknowledged), Some(replica)) = (self.owed.take(), self.replica())
            && ack.log_end < acknowledged
        {
            cx.out.push(Action::Raise(Alarm::AcknowledgedLost { replica, acknowledged, held: ack.log_end }));
            self.lost = true;
            self.durable = None;
        }
        // Below what is here: the next Lead says where it can begin.
        if ack.log_end < cx.log.marks.local_start {
            return;
        }
        if self.phase == Phase::Leading {
            self.phase = Phase::Streaming;
            self.sent = ack.log_end;
            self.lead_wait = cx.config.lead_retry;
        }
    }

    /// Asks the follower to follow.
    pub(super) fn lead(&mut self, cx: &mut Cx<'_>, epoch: LeaderEpoch) {
        self.phase = Phase::Leading;
        self.attempt.0 += 1;
        self.owed = self.durable;
        self.blocked = false;
        self.asked_at.get_or_insert(cx.now);
        self.told(cx);
        let lead = Lead {
            epoch,
            leader: cx.me,
            attempt: self.attempt,
            history: cx.log.history.newest_entries(HISTORY_SENT_MAX).to_vec(),
            marks: cx.log.marks,
            high_watermark: cx.log.high_watermark,
            log_end: cx.log.end,
            unclean_epoch: cx.record.unclean_epoch,
            sent_at: cx.now,
        };
        cx.out.push(Action::SendLead { to: self.node, lead });
    }

    /// The follower misses something after `log_end`: sends it again from there.
    pub(super) fn rewind(&mut self, cx: &mut Cx<'_>, epoch: LeaderEpoch, log_end: Offset) {
        let held = self.durable.is_none_or(|durable| log_end >= durable);
        if self.phase != Phase::Streaming || log_end >= self.sent {
            return;
        }
        if !held || log_end < cx.log.marks.local_start {
            self.lead(cx, epoch);
            return;
        }
        self.attempt.0 += 1;
        self.sent = log_end;
        self.pump(cx);
    }

    pub(super) fn not_sent(&mut self, attempt: Attempt, from: Offset) {
        if attempt == self.attempt && self.phase == Phase::Streaming {
            self.sent = self.sent.min(from);
            self.blocked = true;
        }
    }

    pub(super) fn send_ready(&mut self, cx: &mut Cx<'_>) {
        self.blocked = false;
        self.pump(cx);
    }

    pub(super) fn beat(&mut self, cx: &mut Cx<'_>, epoch: LeaderEpoch) {
        self.asked_at.get_or_insert(cx.now);
        self.told(cx);
        let beat = Pushed {
            epoch,
            leader: cx.me,
            attempt: self.attempt,
            sent_at: cx.now,
            high_watermark: cx.log.high_watermark,
            log_start: cx.log.marks.log_start,
            tiered_end: cx.log.marks.tiered_end,
            prev_epoch: None,
            span: None,
        };
        cx.out.push(Action::SendBeat { to: self.node, beat });
    }

    /// What time alone brings about: repeated Leads, heartbeats, batches that were held back.
    pub(super) fn tick(&mut self, cx: &mut Cx<'_>, epoch: LeaderEpoch) {
        let quiet = cx.now.since(self.told_at);
        match self.phase {
            Phase::Leading if quiet >= self.lead_wait => {
                self.lead_wait = (self.lead_wait * 2).min(cx.config.lead_retry_max);
                self.lead(cx, epoch);
            }
            Phase::Leading => {}
            Phase::Streaming => {
                self.blocked = false;
                self.pump(cx);
                let owes = self.asked_at.is_some() || self.durable.is_none_or(|durable| durable < self.sent);
                let asked_at = self.asked_at.unwrap_or(Instant::ZERO);
                let silent = cx.now.since(self.heard_at.max(self.lag.mark_at).max(asked_at));
                let trailing = self.told_high_watermark < cx.log.high_watermark;
                let quiet = cx.now.since(self.told_at);
                if owes && silent >= cx.config.resend_after {
                    self.lead(cx, epoch);
                } else if quiet >= cx.config.beat_idle || (trailing && quiet >= cx.config.beat_trailing) {
                    self.beat(cx, epoch);
                }
            }
        }
    }

    /// Whether a heartbeat for the sake of a "latest" would be one too many.
    pub(super) fn was_just_asked(&self, cx: &Cx<'_>) -> bool {
        cx.now.since(self.told_at) < cx.config.beat_confirm && self.asked_at.is_some()
    }

    pub(super) fn ejected_as_slow(&mut self, cx: &Cx<'_>) {
        self.rejoin_from = cx.now.after(cx.config.rejoin_after);
    }

    pub(super) fn unreachable(&mut self, cx: &Cx<'_>) {
        self.gone = true;
        self.phase = Phase::Leading;
        self.lead_wait = cx.config.lead_retry_max;
        self.told_at = cx.now;
    }
}
