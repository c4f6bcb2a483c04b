//! The leader's half: places appends, pushes them, counts who has what, decides who is in sync.
//!
//! An append and an acknowledgement look at each follower once and allocate nothing (the caller's
//! buffer of actions aside).

mod isr;
mod peer;
mod read;
mod send;
mod watermark;

use tidelog_model::{LeaderEpoch, NodeId, Offset};

use crate::action::{Action, Actions};
use crate::alarm::Alarm;
use crate::config::Config;
use crate::event::Ticket;
use crate::identity::{Instance, ReplicaId};
use crate::log::Log;
use crate::message::{Ack, Attempt, Refusal, RefusalReason};
use crate::record::Record;
use crate::span::Place;
use crate::time::Instant;
use crate::{AppendRefused, StepDownReason};

use isr::Proposal;
use peer::{Lag, Peer, Phase};

/// What the machine is at the moment of one event, lent to the leader.
pub(crate) struct Cx<'a> {
    pub(crate) now: Instant,
    pub(crate) me: Instance,
    pub(crate) config: &'a Config,
    pub(crate) log: &'a mut Log,
    pub(crate) record: &'a mut Record,
    pub(crate) revision: &'a mut u64,
    pub(crate) floor: usize,
    pub(crate) tickets: &'a mut Ticket,
    pub(crate) out: &'a mut Actions,
}

impl Cx<'_> {
    /// The smallest ISR that anything is acknowledged under.
    fn floor(&self) -> usize {
        if self.config.faults.shrink_below_floor { 1 } else { self.floor.max(1) }
    }

    /// Whether an ISR entry is this replica, on this very disk.
    fn is_me(&self, member: ReplicaId) -> bool {
        let any_disk = self.config.faults.keep_isr_member_with_new_disk;
        member == self.me.replica || (any_disk && member.node == self.me.node())
    }
}

/// Whether the leader leads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    LeadOn,
    StepDown(StepDownReason),
    /// A newer epoch exists.
    Superseded(LeaderEpoch),
    Stop(Alarm),
}

/// A leadership, from promotion to step-down.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    pub(crate) epoch: LeaderEpoch,
    /// The log's end at promotion. Nothing above it can have been told by an earlier leader.
    pub(crate) start: Offset,
    /// The high watermark stands still until here.
    acks_from: Instant,
    peers: Vec<Peer>,
    /// The newest attempt to lead any replica that was removed: one that is added again may know it, and
    /// ignores older ones.
    spent: Attempt,
    own_lag: Lag,
    proposal: Option<Proposal>,
    /// Since when the record is being read back.
    reading: Option<Instant>,
    /// A proposal ended without a word on whether it was made, and the record has not moved since.
    unsettled: bool,
    /// Until when a leader that resigns waits for its appends to be committed.
    resigning: Option<Instant>,
}

impl Leader {
    /// Takes leadership: the epoch begins at the log's end, and everyone is told.
    pub(crate) fn begin(cx: &mut Cx<'_>) -> Self {
        let epoch = cx.record.epoch;
        let start = cx.log.end;
        cx.log.history.cut(start);
        cx.log.begin_epoch(epoch, cx.out);
        cx.out.push(Action::BecameLeader { epoch, start });
        // The first epoch has no predecessor whose promises could outlive it.
        let waits = epoch > LeaderEpoch(1) && !cx.config.faults.skip_promotion_wait;
        let acks_from = if waits { cx.now.after(cx.config.promotion_wait) } else { cx.now };
        let mut leader = Self {
            epoch,
            start,
            acks_from,
            peers: Vec::new(),
            spent: Attempt::default(),
            own_lag: Lag::new(cx.now, start),
            proposal: None,
            reading: None,
            unsettled: false,
            resigning: None,
        };
        leader.adopt_record(cx);
        leader.advance(cx);
        leader
    }

    /// The record changed under the same epoch, or is the first one.
    pub(crate) fn on_record(&mut self, cx: &mut Cx<'_>) -> Verdict {
        let in_sync = cx.record.isr.iter().any(|member| cx.is_me(*member));
        if !in_sync {
            return Verdict::Stop(Alarm::LeaderNotInSync { epoch: self.epoch });
        }
        // Whatever was proposed against an older revision has been made by now, or never will be.
        self.proposal = None;
        self.reading = None;
        self.unsettled = false;
        self.adopt_record(cx);
        self.advance(cx);
        self.consider_isr(cx);
        self.resign_when_done(cx)
    }

    /// The record was read and has not changed.
    pub(crate) fn on_unchanged(&mut self, cx: &mut Cx<'_>) {
        if self.reading.take().is_some() {
            self.consider_isr(cx);
        }
    }

    pub(crate) fn append(&mut self, cx: &mut Cx<'_>, count: u64) -> Result<Place, AppendRefused> {
        if self.resigning.is_some() {
            return Err(AppendRefused::NotLeader);
        }
        let (in_sync, floor) = (self.committed_count(), cx.floor());
        if in_sync < floor {
            return Err(AppendRefused::NotEnoughReplicas { in_sync, floor });
        }
        let base = cx.log.end;
        let next = base.checked_add(count.max(1)).ok_or(AppendRefused::OffsetsExhausted)?;
        if next.since(cx.log.high_watermark) > cx.config.uncommitted_records_max {
            return Err(AppendRefused::TooManyUncommitted);
        }
        cx.log.end = next;
        if cx.log.durable == base {
            self.own_lag.restart(cx.now, next);
        }
        for peer in &mut self.peers {
            peer.appended(cx, base, next);
        }
        if cx.config.faults.skip_fsync {
            cx.log.durable = next;
            self.advance(cx);
        }
        Ok(Place { epoch: self.epoch, base, next, generation: cx.log.generation })
    }

    /// The leader's own disk has synced more.
    pub(crate) fn on_local_durable(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.own_lag.progress(cx.now, cx.log.durable, cx.log.end);
        self.advance(cx);
        self.resign_when_done(cx)
    }

    pub(crate) fn on_ack(&mut self, cx: &mut Cx<'_>, ack: &Ack) -> Verdict {
        let Some(at) = self.find(ack.from.node()) else { return Verdict::LeadOn };
        if ack.epoch != self.epoch {
            return Verdict::LeadOn;
        }
        if ack.log_end > cx.log.end {
            return Verdict::Stop(Alarm::FollowerAhead {
                replica: ack.from.replica,
                log_end: ack.log_end,
                leader_end: cx.log.end,
            });
        }
        let peer = &mut self.peers[at];
        if !peer.acked(cx, ack) {
            return Verdict::LeadOn;
        }
        peer.pump(cx);
        let may_join = peer.may_join(cx, self.start);
        let lost = peer.lost;
        self.advance(cx);
        if may_join || lost {
            self.consider_isr(cx);
        }
        self.resign_when_done(cx)
    }

    pub(crate) fn on_refusal(&mut self, cx: &mut Cx<'_>, refusal: &Refusal) -> Verdict {
        if let RefusalReason::Superseded { epoch } = refusal.reason
            && epoch > self.epoch
        {
            return Verdict::Superseded(epoch);
        }
        let Some(at) = self.find(refusal.from.node()) else { return Verdict::LeadOn };
        let peer = &mut self.peers[at];
        if refusal.refused != self.epoch || refusal.attempt != peer.attempt {
            return Verdict::LeadOn;
        }
        match refusal.reason {
            RefusalReason::NotFollowing if peer.phase == Phase::Streaming => peer.lead(cx, self.epoch),
            RefusalReason::Superseded { .. } | RefusalReason::NotFollowing => {}
            RefusalReason::Gap { log_end } => peer.rewind(cx, self.epoch, log_end),
            RefusalReason::Stopped => {
                peer.gone = true;
                self.consider_isr(cx);
            }
        }
        Verdict::LeadOn
    }

    /// Resigns in good order: no more appends, and the end when all there is has been committed.
    pub(crate) fn resign(&mut self, cx: &mut Cx<'_>) -> Verdict {
        if self.resigning.is_none() {
            self.resigning = Some(cx.now.after(cx.config.resign_wait));
        }
        self.resign_when_done(cx)
    }

    fn resign_when_done(&self, cx: &Cx<'_>) -> Verdict {
        match self.resigning {
            Some(until) if cx.log.high_watermark == cx.log.end || cx.now >= until => {
                Verdict::StepDown(StepDownReason::Resigned)
            }
            _ => Verdict::LeadOn,
        }
    }

    fn find(&self, node: NodeId) -> Option<usize> {
        self.peers.iter().position(|peer| peer.node == node)
    }
}
