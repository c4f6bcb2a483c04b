//! One replica under test, and the words to talk to it.

use std::time::Duration;

use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, Offset};
use tidelog_replica::{
    Ack, Action, Actions, AppendRefused, Attempt, Config, EpochStart, Event, History, Instance, Instant,
    Lead, Marks, Observed, Origin, Place, Pushed, Record, Recovered, Replica, ReplicaId, Span,
};

pub(crate) fn directory(n: u8) -> DirectoryId {
    DirectoryId::from_bytes([n; 16])
}

/// A start of the replica on node `n`'s first disk.
pub(crate) fn instance(n: u8, boot: u64) -> Instance {
    Instance { replica: ReplicaId { node: NodeId(u32::from(n)), directory: directory(n) }, boot }
}

pub(crate) fn replica(n: u8) -> ReplicaId {
    instance(n, 1).replica
}

/// A record that places replicas on nodes 1, 2 and 3.
pub(crate) fn record(epoch: u32, leader: u8, isr: &[u8]) -> Record {
    Record {
        epoch: LeaderEpoch(epoch),
        leader: Some(instance(leader, 1)),
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        isr: isr.iter().map(|n| replica(*n)).collect(),
        unclean_epoch: None,
    }
}

pub(crate) fn starts(entries: &[(u32, u64)]) -> Vec<EpochStart> {
    entries.iter().map(|(e, s)| EpochStart { epoch: LeaderEpoch(*e), start: Offset(*s) }).collect()
}

/// What recovery found: a log up to `end`, written by these epochs.
pub(crate) fn recovered(end: u64, epochs: &[(u32, u64)]) -> Recovered {
    Recovered { log_end: Offset(end), history: History::from_entries(starts(epochs)), ..Recovered::default() }
}

pub(crate) fn span(epoch: u32, base: u64, next: u64) -> Span {
    Span { epoch: LeaderEpoch(epoch), base: Offset(base), next: Offset(next), crc: base as u32 }
}

/// A replica on node 1, its clock, and what it said last.
pub(crate) struct Bench {
    pub(crate) replica: Replica,
    pub(crate) now: Instant,
    pub(crate) said: Actions,
    revision: u64,
}

impl Bench {
    pub(crate) fn new(recovered: Recovered) -> Self {
        Self::with(Config::default(), recovered)
    }

    pub(crate) fn with(config: Config, recovered: Recovered) -> Self {
        let replica = Replica::new(instance(1, 1), config, recovered);
        Self { replica, now: Instant(1_000_000), said: Actions::new(), revision: 0 }
    }

    /// A leader of epoch 1 with an empty log, with this ISR and a floor of 2.
    pub(crate) fn leading(isr: &[u8]) -> Self {
        let mut bench = Self::new(Recovered::default());
        bench.read(record(1, 1, isr));
        bench
    }

    /// A replica that has read a record in which node 2 leads.
    pub(crate) fn ready(epoch: u32, recovered: Recovered) -> Self {
        let mut bench = Self::new(recovered);
        bench.read(record(epoch, 2, &[1, 2, 3]));
        bench
    }

    pub(crate) fn step(&mut self, event: Event) -> &Actions {
        self.said.clear();
        self.replica.step(self.now, event, &mut self.said);
        &self.said
    }

    pub(crate) fn observe(&mut self, record: Record, revision: u64, origin: Origin) -> &Actions {
        self.revision = revision;
        self.step(Event::Observed(Observed { record, revision, floor: 2, origin }))
    }

    /// A read shows this record, changed since the last time.
    pub(crate) fn read(&mut self, record: Record) -> &Actions {
        self.observe(record, self.revision + 1, Origin::Read)
    }

    /// A read shows that nothing changed.
    pub(crate) fn read_unchanged(&mut self) -> &Actions {
        let record = self.replica.record().clone();
        self.observe(record, self.revision, Origin::Read)
    }

    pub(crate) fn append(&mut self, count: u64) -> Result<Place, AppendRefused> {
        self.said.clear();
        self.replica.append(self.now, count, &mut self.said)
    }

    pub(crate) fn synced(&mut self, up_to: u64) -> &Actions {
        let generation = self.replica.generation();
        self.step(Event::LocalDurable { generation, up_to: Offset(up_to) })
    }

    /// Follower `n` answers the newest Lead: it has `log_end`, synced.
    pub(crate) fn follows(&mut self, n: u8, log_end: u64) -> &Actions {
        self.follows_as(instance(n, 1), log_end)
    }

    pub(crate) fn follows_as(&mut self, from: Instance, log_end: u64) -> &Actions {
        self.now.0 += 1;
        let attempt = self.attempt_of_lead(from.node());
        let ack = self.ack_of(from, attempt, true, log_end);
        self.step(ack)
    }

    /// Makes the leader lead `node` anew, and says under which attempt it did.
    fn attempt_of_lead(&mut self, node: NodeId) -> Attempt {
        let said = self.step(Event::FollowerHere { node }).clone();
        let lead = said.iter().find_map(|action| match action {
            Action::SendLead { to, lead } if *to == node => Some(lead.attempt),
            _ => None,
        });
        lead.unwrap_or_default()
    }

    fn ack_of(&self, from: Instance, attempt: Attempt, answers_lead: bool, durable: u64) -> Event {
        Event::Ack(Ack {
            from,
            epoch: self.replica.report().known_epoch,
            attempt,
            answers_lead,
            log_end: Offset(durable),
            durable: Offset(durable),
            echo: self.now,
        })
    }

    /// Follower `n` has synced up to here, and answers what is sent right now.
    pub(crate) fn acked(&mut self, n: u8, durable: u64) -> &Actions {
        let ack = self.ack_of(instance(n, 1), Attempt(0), false, durable);
        self.step(ack)
    }

    pub(crate) fn pass(&mut self, wait: Duration) -> Actions {
        let until = self.now.after(wait);
        let mut said = Actions::new();
        while self.now < until {
            self.now = self.now.after(Duration::from_millis(50)).min(until);
            said.extend(self.step(Event::Tick).iter().cloned());
        }
        said
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) -> Actions {
        self.pass(Duration::from_millis(ms))
    }

    /// A Lead of node 2 in this epoch, whose log has this history and end.
    pub(crate) fn lead(&self, epoch: u32, history: &[(u32, u64)], log_end: u64) -> Lead {
        Lead {
            epoch: LeaderEpoch(epoch),
            leader: instance(2, 1),
            attempt: Attempt(1),
            history: starts(history),
            marks: Marks::default(),
            high_watermark: Offset::ZERO,
            log_end: Offset(log_end),
            unclean_epoch: None,
            sent_at: self.now,
        }
    }

    /// What node 2 pushes in this epoch.
    pub(crate) fn push(&self, epoch: u32, prev: Option<u32>, span: Span) -> Pushed {
        Pushed {
            epoch: LeaderEpoch(epoch),
            leader: instance(2, 1),
            attempt: Attempt(1),
            sent_at: self.now,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            tiered_end: Offset::ZERO,
            prev_epoch: prev.map(LeaderEpoch),
            span: Some(span),
        }
    }

    pub(crate) fn high_watermark(&self) -> u64 {
        self.replica.high_watermark().0
    }
}

/// The ISR that was proposed, if one was.
pub(crate) fn proposed(said: &[Action]) -> Option<(tidelog_replica::Ticket, Vec<u32>)> {
    said.iter().find_map(|action| match action {
        Action::ProposeIsr { ticket, isr, .. } => {
            let mut nodes: Vec<u32> = isr.iter().map(|member| member.node.0).collect();
            nodes.sort_unstable();
            Some((*ticket, nodes))
        }
        _ => None,
    })
}

pub(crate) fn alarmed(said: &[Action]) -> bool {
    said.iter().any(|action| matches!(action, Action::Raise(_)))
}

pub(crate) fn acks(said: &[Action]) -> Vec<Ack> {
    let ack = |action: &Action| match action {
        Action::SendAck { ack, .. } => Some(*ack),
        _ => None,
    };
    said.iter().filter_map(ack).collect()
}

/// What was refused, and why.
pub(crate) fn refusal(said: &[Action]) -> Option<tidelog_replica::RefusalReason> {
    said.iter().find_map(|action| match action {
        Action::SendRefusal { refusal, .. } => Some(refusal.reason),
        _ => None,
    })
}

pub(crate) fn stepped_down(said: &[Action]) -> Option<tidelog_replica::StepDownReason> {
    said.iter().find_map(|action| match action {
        Action::StepDown { reason, .. } => Some(*reason),
        _ => None,
    })
}
