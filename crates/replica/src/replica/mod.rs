//! The machine: one partition on one data directory, in one life of its process.

mod answer;
mod follow;
mod promote;
mod take;

use thiserror::Error;
use tidelog_model::{LeaderEpoch, Offset};

use crate::action::{Action, Actions, StepDownReason};
use crate::alarm::Alarm;
use crate::config::Config;
use crate::event::{Event, Ticket};
use crate::history::History;
use crate::identity::Instance;
use crate::leader::{Cx, Leader, Verdict};
use crate::log::{Log, Recovered};
use crate::message::{Attempt, Pushed, Refusal, RefusalReason};
use crate::record::Record;
use crate::span::{Generation, Marks, Place, Span};
use crate::time::Instant;

/// Replication of one partition at one store: leader, follower, or neither yet.
#[derive(Clone, Debug)]
pub struct Replica {
    me: Instance,
    config: Config,
    log: Log,
    record: Record,
    /// The record's revision; 0 before it was seen.
    revision: u64,
    floor: usize,
    /// The record was read after this process registered its boot.
    ready: bool,
    /// The newest epoch heard of, from the record or from its leader. Older ones are refused.
    epoch: LeaderEpoch,
    /// The newest epoch that this process led, or declined to lead. None is led twice.
    led: Option<LeaderEpoch>,
    /// The newest epoch whose leader's log this one was a prefix of: until then, and not beyond, the
    /// high watermark known here speaks.
    synced_epoch: LeaderEpoch,
    /// The record names this replica as leader, and the bucket has more than its log: the record is read
    /// again before that is believed.
    doubted: bool,
    /// A cut that is not synced yet: nothing is acknowledged before it is.
    cutting: Option<Generation>,
    state: State,
    tickets: Ticket,
}

#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Nobody to follow yet.
    Waiting,
    /// Follows `leader`; while a cut is under way, silently.
    Following(Following),
    /// Named leader in an unclean election: what the bucket has comes first.
    Preparing {
        reset: bool,
    },
    Leading(Box<Leader>),
    /// Takes part in nothing until the process is started again.
    Stopped,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Following {
    pub(crate) leader: Instance,
    pub(crate) attempt: Attempt,
    /// When the newest message that was taken was sent, by the leader's clock.
    pub(crate) echo: Instant,
}

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Waiting,
    Following { epoch: LeaderEpoch, leader: Instance },
    Leading { epoch: LeaderEpoch },
    Stopped,
}

/// What the controller asks for when it looks for a leader, and watches leaders for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The epoch of the last record.
    pub last_epoch: Option<LeaderEpoch>,
    pub log_end: Offset,
    pub durable: Offset,
    /// The epoch that this replica leads. A leader by the record that does not lead by itself has
    /// resigned, and will not lead under that epoch again.
    pub leading: Option<LeaderEpoch>,
    pub known_epoch: LeaderEpoch,
}

/// The answer to "what is the latest offset", to be given linearizably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latest {
    At(Offset),
    /// Not sure at this moment: heartbeats are among the actions; ask again when they are answered.
    Unconfirmed,
    NotLeader,
}

/// Why an append was not placed. Nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendRefused {
    #[error("this replica does not lead the partition")]
    NotLeader,
    #[error("{in_sync} replicas are in sync, {floor} must be")]
    NotEnoughReplicas { in_sync: usize, floor: usize },
    #[error("too much is appended and not yet acknowledged by the followers")]
    TooManyUncommitted,
    #[error("the partition has used up its offsets")]
    OffsetsExhausted,
}

impl AppendRefused {
    /// The same append may succeed later, here or at another leader.
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::OffsetsExhausted)
    }

    pub fn has_no_side_effects(self) -> bool {
        true
    }
}

impl Replica {
    /// A replica as its process starts: it takes part in nothing before it has read the record.
    pub fn new(me: Instance, config: Config, recovered: Recovered) -> Self {
        let synced_epoch = recovered.history.newest().unwrap_or_default();
        Self {
            me,
            config,
            log: Log::new(recovered),
            record: Record::default(),
            revision: 0,
            floor: 1,
            ready: false,
            epoch: LeaderEpoch::default(),
            led: None,
            synced_epoch,
            doubted: false,
            cutting: None,
            state: State::Waiting,
            tickets: Ticket::default(),
        }
    }

    /// Takes one event and adds what is to be done to `out`, in order.
    pub fn step(&mut self, now: Instant, event: Event, out: &mut Actions) {
        if matches!(self.state, State::Stopped) {
            self.refuse_all(&event, out);
            return;
        }
        match event {
            Event::Observed(observed) => self.on_observed(now, observed, out),
            Event::Tiered { end, history } => self.on_tiered(now, end, &history, out),
            Event::LocalDurable { generation, up_to } => self.on_local_durable(now, generation, up_to, out),
            Event::CutDurable { generation } => self.on_cut_durable(now, generation, out),
            Event::LocalLost => self.on_local_lost(out),
            Event::Marks(marks) => self.log.marks.raise(marks),
            Event::Lead(lead) => self.on_lead(&lead, out),
            Event::Pushed(pushed) => self.on_pushed(&pushed, out),
            Event::OtherBytes { span } => self.stop(Alarm::OtherBytes { span }, out),
            Event::Fenced => self.on_fenced(out),
            Event::IsrChange { ticket, outcome } => self.as_leader(now, out, |leader, cx| {
                leader.on_isr_outcome(cx, ticket, outcome);
                Verdict::LeadOn
            }),
            Event::FollowerHere { node } => self.as_leader(now, out, |leader, cx| {
                leader.on_follower_here(cx, node);
                Verdict::LeadOn
            }),
            Event::FollowerGone { node } => self.as_leader(now, out, |leader, cx| {
                leader.on_follower_gone(cx, node);
                Verdict::LeadOn
            }),
            Event::NotSent { to, attempt, from } => self.as_leader(now, out, |leader, _| {
                leader.on_not_sent(to, attempt, from);
                Verdict::LeadOn
            }),
            Event::SendReady { to } => self.as_leader(now, out, |leader, cx| {
                leader.on_send_ready(cx, to);
                Verdict::LeadOn
            }),
            Event::Ack(ack) => self.as_leader(now, out, |leader, cx| leader.on_ack(cx, &ack)),
            Event::Refusal(refusal) => {
                self.as_leader(now, out, |leader, cx| leader.on_refusal(cx, &refusal));
            }
            Event::Resign => self.as_leader(now, out, Leader::resign),
            Event::Tick => self.as_leader(now, out, Leader::tick),
        }
    }

    /// Lends the machine to the leader, if it is one, and does as the leader then says.
    fn as_leader<F>(&mut self, now: Instant, out: &mut Actions, act: F)
    where
        F: FnOnce(&mut Leader, &mut Cx<'_>) -> Verdict,
    {
        let State::Leading(leader) = &mut self.state else { return };
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
        match act(leader, &mut cx) {
            Verdict::LeadOn => {}
            Verdict::StepDown(reason) => self.step_down(reason, out),
            Verdict::Superseded(epoch) => {
                self.step_down(StepDownReason::Superseded, out);
                self.epoch = self.epoch.max(epoch);
                out.push(Action::ReadBack);
            }
            Verdict::Stop(alarm) => self.stop(alarm, out),
        }
    }

    fn on_local_durable(&mut self, now: Instant, generation: Generation, up_to: Offset, out: &mut Actions) {
        let any = self.config.faults.skip_generation_check;
        if !self.log.synced(generation, up_to, any) {
            return;
        }
        match self.state {
            State::Leading(_) => self.as_leader(now, out, Leader::on_local_durable),
            State::Following(following) => self.acknowledge(following, false, out),
            _ => {}
        }
    }

    fn on_local_lost(&mut self, out: &mut Actions) {
        self.step_down(StepDownReason::LocalLost, out);
        self.state = State::Stopped;
    }

    /// Leads no more: the lease by which others may believe this store dead may have run out. What
    /// follows keeps following: epochs, not leases, protect the data.
    fn on_fenced(&mut self, out: &mut Actions) {
        self.step_down(StepDownReason::Fenced, out);
    }

    /// Ends a leadership for good; what is not committed has an unknown outcome.
    fn step_down(&mut self, reason: StepDownReason, out: &mut Actions) {
        let epoch = match &self.state {
            State::Leading(leader) => leader.epoch,
            State::Preparing { .. } => self.epoch,
            _ => return,
        };
        self.led = self.led.max(Some(epoch));
        if matches!(self.state, State::Leading(_)) {
            out.push(Action::FailPending { epoch, from: self.log.high_watermark });
        }
        self.state = State::Waiting;
        out.push(Action::StepDown { epoch, reason });
    }

    fn stop(&mut self, alarm: Alarm, out: &mut Actions) {
        self.step_down(StepDownReason::Alarmed, out);
        self.state = State::Stopped;
        out.push(Action::Raise(alarm));
    }

    fn refuse_all(&self, event: &Event, out: &mut Actions) {
        let (to, refused, attempt) = match event {
            Event::Lead(lead) => (lead.leader.node(), lead.epoch, lead.attempt),
            Event::Pushed(pushed) => (pushed.leader.node(), pushed.epoch, pushed.attempt),
            _ => return,
        };
        let refusal = Refusal { from: self.me, refused, attempt, reason: RefusalReason::Stopped };
        out.push(Action::SendRefusal { to, refusal });
    }

    /// Places `count` records at the log's end. Journal room for them is reserved before; they are
    /// written where the answer says, whatever comes after.
    pub fn append(&mut self, now: Instant, count: u64, out: &mut Actions) -> Result<Place, AppendRefused> {
        let mut placed = Err(AppendRefused::NotLeader);
        self.as_leader(now, out, |leader, cx| {
            placed = leader.append(cx, count);
            Verdict::LeadOn
        });
        placed
    }

    /// The header under which a batch of an [`Action::Push`] travels; `None` when this replica does not
    /// lead any more.
    pub fn pushed(&self, now: Instant, attempt: Attempt, span: Span) -> Option<Pushed> {
        let State::Leading(leader) = &self.state else { return None };
        Some(Pushed {
            epoch: leader.epoch,
            leader: self.me,
            attempt,
            sent_at: now,
            high_watermark: self.log.high_watermark,
            log_start: self.log.marks.log_start,
            tiered_end: self.log.marks.tiered_end,
            prev_epoch: self.log.history.epoch_before(span.base),
            span: Some(span),
        })
    }

    /// The latest committed offset, if it can be told linearizably at this moment.
    pub fn latest(&mut self, now: Instant, out: &mut Actions) -> Latest {
        let mut latest = Latest::NotLeader;
        self.as_leader(now, out, |leader, cx| {
            latest = leader.latest(cx);
            Verdict::LeadOn
        });
        latest
    }

    pub fn role(&self) -> Role {
        match &self.state {
            State::Waiting | State::Preparing { .. } => Role::Waiting,
            State::Following(following) => Role::Following { epoch: self.epoch, leader: following.leader },
            State::Leading(leader) => Role::Leading { epoch: leader.epoch },
            State::Stopped => Role::Stopped,
        }
    }

    pub fn report(&self) -> Report {
        let leading = match self.role() {
            Role::Leading { epoch } => Some(epoch),
            _ => None,
        };
        Report {
            last_epoch: self.log.last_epoch(),
            log_end: self.log.end,
            durable: self.log.durable,
            leading,
            known_epoch: self.epoch,
        }
    }

    pub fn me(&self) -> Instance {
        self.me
    }

    /// The offset after the last record, written or on its way to the disk.
    pub fn log_end(&self) -> Offset {
        self.log.end
    }

    /// Everything below is synced here.
    pub fn durable(&self) -> Offset {
        self.log.durable
    }

    /// Everything below is committed, and may be read and acknowledged.
    pub fn high_watermark(&self) -> Offset {
        self.log.high_watermark
    }

    pub fn marks(&self) -> Marks {
        self.log.marks
    }

    pub fn history(&self) -> &History {
        &self.log.history
    }

    /// The newest record seen; its ISR is the one that this leader committed last.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The revision of [`Replica::record`]; 0 before the first one.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The generation that the journal's completions have to carry to count.
    pub fn generation(&self) -> Generation {
        self.log.generation
    }
}
