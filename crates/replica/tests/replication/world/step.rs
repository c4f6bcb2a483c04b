//! What the store does with actions, and what the world does on its own.

use tidelog_model::{NodeId, Offset};
use tidelog_replica::{
    Action, Actions, Attempt, Event, Generation, IsrOutcome, Latest, Marks, Origin, Role, Span,
};

use super::disk::Op;
use super::{Choices, Mail, Proposal, World, host_of};

impl World {
    /// Gives an event to a replica, if its process lives, and does what it says.
    pub(crate) fn give(&mut self, at: usize, event: Event) {
        let now = self.hosts[at].clock(self.now);
        let Some(mut replica) = self.hosts[at].replica.take() else { return };
        let offered = match &event {
            Event::Pushed(pushed) => pushed.span,
            _ => None,
        };
        if self.trace.len() < 4_000 {
            self.trace.push(format!("{} <- {event:?}", self.hosts[at].me.node()));
        }
        let mut out = Actions::new();
        replica.step(now, event, &mut out);
        self.hosts[at].replica = Some(replica);
        self.carry_out(at, out, offered);
    }

    /// A client appends.
    pub(crate) fn append(&mut self, at: usize, count: u64) {
        let now = self.hosts[at].clock(self.now);
        let Some(mut replica) = self.hosts[at].replica.take() else { return };
        let mut out = Actions::new();
        let placed = replica.append(now, count, &mut out);
        self.hosts[at].replica = Some(replica);
        if let Ok(place) = placed {
            self.next_crc += 1;
            let span = Span { epoch: place.epoch, base: place.base, next: place.next, crc: self.next_crc };
            self.write(at, span, place.generation);
        }
        self.carry_out(at, out, None);
    }

    fn write(&mut self, at: usize, span: Span, generation: Generation) {
        let name = *self.names.entry((span.epoch, span.base)).or_insert(span.crc);
        if name != span.crc {
            self.fail(format!("two batches are named ({}, {})", span.epoch, span.base));
        }
        self.hosts[at].batches.insert(span.base, span);
        self.hosts[at].disk.ops.push(Op::Write { span, generation });
    }

    fn carry_out(&mut self, at: usize, out: Actions, offered: Option<Span>) {
        let from = self.hosts[at].me;
        for action in out {
            match action {
                Action::WriteEpochStart { epoch, start, .. } => {
                    self.hosts[at].disk.ops.push(Op::EpochStart { epoch, start });
                }
                Action::Write { span, generation } => {
                    assert_eq!(Some(span), offered);
                    self.write(at, span, generation);
                }
                Action::Truncate { to, generation } => {
                    self.hosts[at].batches.split_off(&to);
                    self.hosts[at].disk.ops.push(Op::Truncate { to, generation });
                }
                Action::Reset { to, generation, history } => {
                    self.hosts[at].batches.clear();
                    self.hosts[at].disk.ops.push(Op::Reset { to, generation, history });
                }
                Action::Compare { span } => {
                    if self.hosts[at].batches.get(&span.base) != Some(&span) {
                        self.give(at, Event::OtherBytes { span });
                    }
                }
                Action::SendLead { to, lead } => self.post(to, Event::Lead(lead)),
                Action::Push { to, attempt, from, up_to } => self.push(at, to, attempt, from, up_to),
                Action::SendBeat { to, beat } => self.post(to, Event::Pushed(beat)),
                Action::SendAck { to, ack } => self.post(to, Event::Ack(ack)),
                Action::SendRefusal { to, refusal } => self.post(to, Event::Refusal(refusal)),
                Action::Advance { high_watermark } => self.advanced(at, high_watermark),
                Action::Rewound { high_watermark } => {
                    self.fail(format!("{from:?} went back to {high_watermark}"));
                }
                Action::ProposeIsr { ticket, revision, isr } => {
                    self.proposals.push(Proposal { by: from, ticket, revision, isr, given_up: false });
                }
                Action::ReadBack => {
                    let event = self.observed(Origin::Read);
                    self.post(from.node(), event);
                }
                Action::ReadTiered => {
                    let (end, history) = (self.tiered_end, self.bucket_history.clone());
                    self.give(at, Event::Tiered { end, history });
                }
                Action::Raise(alarm) => self.fail(format!("{from:?}: {alarm}")),
                Action::FailPending { .. }
                | Action::BecameLeader { .. }
                | Action::BecameFollower { .. }
                | Action::StepDown { .. } => {}
            }
        }
    }

    fn post(&mut self, to: NodeId, event: Event) {
        if self.mail.len() < 200 {
            self.mail.push(Mail { to, event });
        }
    }

    fn push(&mut self, at: usize, to: NodeId, attempt: Attempt, from: Offset, up_to: Offset) {
        let host = &self.hosts[at];
        let now = host.clock(self.now);
        let Some(replica) = &host.replica else { return };
        let spans: Vec<Span> = host.batches.range(from..up_to).map(|(_, span)| *span).collect();
        assert_eq!(spans.first().map(|span| span.base), Some(from), "a push begins with a batch it has");
        let messages: Vec<_> = spans.iter().filter_map(|span| replica.pushed(now, attempt, *span)).collect();
        for message in messages {
            self.post(to, Event::Pushed(message));
        }
    }

    /// One thing happens.
    pub(crate) fn step(&mut self, choices: &mut impl Choices) {
        let at = choices.below(self.hosts.len());
        match choices.below(64) {
            0..=25 => self.deliver(choices),
            26..=33 => self.sync(at, 1 + choices.below(4)),
            34..=39 => self.append(at, 1 + choices.below(3) as u64),
            40..=43 => self.pass(choices.below(250_000) as u64),
            44..=47 => self.answer_proposal(choices),
            48..=50 => {
                let event = self.observed(Origin::Watch);
                self.give(at, event);
            }
            51 => self.elect(choices.below(3)),
            52 => self.crash(at, choices.below(6)),
            53..=55 if self.hosts[at].replica.is_none() => self.start(at),
            56 if self.hosts[at].replica.is_none() && choices.below(4) == 0 => self.wipe(at),
            57 if !self.mail.is_empty() => {
                let lost = choices.below(self.mail.len());
                self.mail.swap_remove(lost);
            }
            58 => self.offload(at),
            59 => self.evict(at),
            60 => {
                let node = self.hosts[choices.below(3)].me.node();
                self.give(at, Event::FollowerGone { node });
            }
            61..=62 => self.ask_latest(at),
            63 if choices.below(3) == 0 => self.fail_over(choices),
            _ => {}
        }
        self.look();
    }

    /// The leader is cut off from everyone, and the others go on without it for a moment.
    fn fail_over(&mut self, choices: &mut impl Choices) {
        let Some(earlier) = self.record.leader.map(|leader| leader.node()) else { return };
        self.elect(choices.below(3));
        let Some(leader) = self.record.leader.map(|leader| leader.node()).filter(|node| *node != earlier)
        else {
            return;
        };
        let event = self.observed(Origin::Watch);
        self.give(host_of(leader), event);
        self.give(host_of(leader), Event::FollowerGone { node: earlier });
        self.append(host_of(leader), 1);
        for _ in 0..20 {
            for at in (0..self.hosts.len()).filter(|at| *at != host_of(earlier)) {
                self.sync(at, 8);
            }
            if let Some(which) = self.proposals.iter().position(|proposal| proposal.by.node() == leader) {
                self.settle_proposal(which);
            }
            let next = self.mail.iter().position(|mail| mail.to != earlier && mail.belongs_to(leader));
            if let Some(which) = next {
                let mail = self.mail.remove(which);
                self.give(host_of(mail.to), mail.event);
            }
        }
        self.ask_latest(host_of(earlier));
    }

    /// The metadata store takes a proposal up, and its proposer hears of it.
    pub(crate) fn settle_proposal(&mut self, which: usize) {
        let made = self.apply_proposal(which);
        let Proposal { by, ticket, given_up, .. } = self.proposals.remove(which);
        let revision = self.revision;
        let outcome = if made { IsrOutcome::Committed { revision } } else { IsrOutcome::Conflict };
        if self.hosts[host_of(by.node())].me == by && !given_up {
            self.give(host_of(by.node()), Event::IsrChange { ticket, outcome });
        }
    }

    /// Any message arrives, and sometimes stays to arrive again.
    fn deliver(&mut self, choices: &mut impl Choices) {
        if self.mail.is_empty() {
            return;
        }
        let which = if choices.below(3) == 0 { choices.below(self.mail.len()) } else { 0 };
        let mail = if choices.below(12) == 0 { self.mail[which].clone() } else { self.mail.remove(which) };
        self.give(host_of(mail.to), mail.event);
    }

    pub(crate) fn sync(&mut self, at: usize, count: usize) {
        if self.hosts[at].replica.is_none() {
            return;
        }
        for event in self.hosts[at].disk.sync(count) {
            self.give(at, event);
        }
    }

    pub(crate) fn pass(&mut self, micros: u64) {
        self.now += micros;
        for at in 0..self.hosts.len() {
            self.give(at, Event::Tick);
        }
    }

    /// The metadata store takes a proposal up, or its proposer stops waiting for the answer: the
    /// proposal may still be taken up after that.
    fn answer_proposal(&mut self, choices: &mut impl Choices) {
        if self.proposals.is_empty() {
            return;
        }
        let at = choices.below(self.proposals.len());
        let Proposal { by, ticket, given_up, .. } = self.proposals[at].clone();
        let host = host_of(by.node());
        let alive = self.hosts[host].me == by;
        let outcome = match choices.below(3) {
            0 if !given_up => {
                self.proposals[at].given_up = true;
                IsrOutcome::Unknown
            }
            told => {
                let made = self.apply_proposal(at);
                self.proposals.remove(at);
                match (told, made) {
                    (1, _) => IsrOutcome::Unknown,
                    (_, true) => IsrOutcome::Committed { revision: self.revision },
                    (_, false) => IsrOutcome::Conflict,
                }
            }
        };
        if alive && !given_up {
            self.give(host, Event::IsrChange { ticket, outcome });
        }
    }

    /// The leader by the record publishes what is committed.
    fn offload(&mut self, at: usize) {
        let Some(replica) = &self.hosts[at].replica else { return };
        if self.record.leader != Some(self.hosts[at].me) || !matches!(replica.role(), Role::Leading { .. }) {
            return;
        }
        self.tiered_end = self.tiered_end.max(replica.high_watermark());
        let end = self.tiered_end;
        let history = replica.history().entries();
        self.bucket_history = history.iter().copied().filter(|entry| entry.start < end).collect();
        self.learn_tiered(at, end);
    }

    fn learn_tiered(&mut self, at: usize, tiered_end: Offset) {
        self.hosts[at].marks.tiered_end = tiered_end;
        let marks = self.hosts[at].marks;
        self.give(at, Event::Marks(marks));
    }

    /// The store drops what it knows to be in the bucket.
    fn evict(&mut self, at: usize) {
        let Some(replica) = &self.hosts[at].replica else { return };
        let end = replica.marks().tiered_end.min(replica.log_end());
        let host = &mut self.hosts[at];
        if end <= host.marks.local_start {
            return;
        }
        host.batches = host.batches.split_off(&end);
        host.marks = Marks { local_start: end, tiered_end: host.marks.tiered_end.max(end), ..host.marks };
        let marks = host.marks;
        self.give(at, Event::Marks(marks));
    }

    fn ask_latest(&mut self, at: usize) {
        let now = self.hosts[at].clock(self.now);
        let acknowledged = self.committed_end;
        let Some(mut replica) = self.hosts[at].replica.take() else { return };
        let mut out = Actions::new();
        let latest = replica.latest(now, &mut out);
        self.hosts[at].replica = Some(replica);
        self.carry_out(at, out, None);
        if let Latest::At(offset) = latest
            && offset < acknowledged
        {
            self.fail(format!("\"latest\" is {offset}, and {acknowledged} was acknowledged before"));
        }
    }
}
