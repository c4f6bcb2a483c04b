//! What must hold after every step.

use tidelog_model::Offset;
use tidelog_replica::{Origin, Replica, Role};

use super::disk::Disk;
use super::host::Host;
use super::{Committed, FLOOR, World, host_of};

impl World {
    /// A replica says that everything below is committed: it must be what was ever said to be, and
    /// when a leader says it first, it must be synced on enough disks.
    pub(crate) fn advanced(&mut self, at: usize, high_watermark: Offset) {
        let first = high_watermark > self.committed_end;
        let spans: Vec<_> = self.hosts[at].batches.range(..high_watermark).map(|(_, span)| *span).collect();
        for span in spans {
            let committed = Committed { epoch: span.epoch, next: span.next, crc: span.crc };
            let known = *self.committed.entry(span.base).or_insert(committed);
            if known != committed {
                self.fail(format!("{} committed {span:?} where {known:?} was", self.hosts[at].me.node()));
            }
        }
        if first {
            self.committed_end = high_watermark;
            let holds = |disk: &Disk| disk.replay(true).end >= high_watermark;
            let ever = |host: &&Host| holds(&host.disk) || host.earlier_disks.iter().any(holds);
            let holding = self.hosts.iter().filter(ever).count();
            if holding < FLOOR {
                self.fail(format!("committed to {high_watermark} with {holding} disks holding it"));
            }
        }
        if high_watermark < self.hosts[at].high_watermark_seen {
            self.fail(format!("the high watermark of {:?} went back", self.hosts[at].me));
        }
        self.hosts[at].high_watermark_seen = high_watermark;
    }

    /// Every batch that is held below what the holder knows to be committed is the committed one, and
    /// the leader by the record has everything.
    pub(crate) fn look(&mut self) {
        let end = self.committed_end;
        for at in 0..self.hosts.len() {
            let Some(replica) = &self.hosts[at].replica else { continue };
            let known = replica.high_watermark();
            let leads = self.record.leader == Some(self.hosts[at].me)
                && replica.role() == Role::Leading { epoch: self.record.epoch };
            let log_end = replica.log_end();
            let wrong =
                self.hosts[at].batches.range(..if leads { end } else { known }).find(|(base, span)| {
                    self.committed
                        .get(base)
                        .is_some_and(|c| (c.epoch, c.next, c.crc) != (span.epoch, span.next, span.crc))
                });
            if let Some((_, span)) = wrong {
                let what = format!("{:?} holds {span:?}, which is not what was committed", self.hosts[at].me);
                self.fail(what);
            }
            if leads && log_end < end {
                let what = format!("{:?} leads up to {log_end}, {end} was committed", self.hosts[at].me);
                self.fail(what);
            }
        }
    }

    /// All faults end; within a bounded time everything is committed everywhere and appends work.
    pub(crate) fn heal(&mut self) {
        for at in 0..self.hosts.len() {
            if self.hosts[at].replica.is_none() {
                self.start(at);
            }
        }
        if !self.hosts.iter().any(|host| self.record.isr.contains(&host.me.replica)) {
            // Every in-sync disk was taken away: unavailable, as it must be.
            return;
        }
        self.elect(0);
        for round in 0..200 {
            for at in 0..self.hosts.len() {
                let event = self.observed(Origin::Watch);
                self.give(at, event);
            }
            self.settle();
            if round == 120 {
                let leader = self.record.leader.map(|leader| host_of(leader.node()));
                self.append(leader.unwrap_or_default(), 1);
            }
            self.pass(100_000);
            if self.violation.is_some() {
                return;
            }
        }
        let ends: Vec<Offset> =
            self.hosts.iter().filter_map(|host| host.replica.as_ref().map(Replica::high_watermark)).collect();
        let all_in = self.record.isr.len() == self.hosts.len();
        let whole =
            self.hosts.iter().all(|host| host.replica.as_ref().is_some_and(|r| r.log_end() == ends[0]));
        if !whole || ends.iter().any(|end| *end != ends[0]) || ends[0] == Offset::ZERO || !all_in {
            self.fail(format!("no convergence: high watermarks {ends:?}, {:?}", self.record));
        }
    }

    /// Everything that is on its way arrives, in order.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            for at in 0..self.hosts.len() {
                self.sync(at, usize::MAX >> 1);
            }
            while !self.proposals.is_empty() {
                self.settle_proposal(0);
            }
            if self.mail.is_empty() || self.violation.is_some() {
                return;
            }
            let mail = self.mail.remove(0);
            self.give(host_of(mail.to), mail.event);
            self.look();
        }
    }
}
