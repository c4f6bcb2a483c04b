//! Who is in sync: one change of the record at a time, never below the floor, and no conclusion from an
//! outcome that is not known.

use tidelog_model::{DirectoryId, NodeId};

use super::peer::Peer;
use super::{Cx, Leader};
use crate::action::Action;
use crate::event::{IsrOutcome, Ticket};
use crate::identity::ReplicaId;
use crate::time::Instant;

/// A change that was asked for and not answered.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    ticket: Ticket,
    isr: Vec<ReplicaId>,
    at: Instant,
}

/// Why a member should leave, the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Late,
    Gone,
    /// The record places no replica there any more.
    Misplaced,
    /// The node has another disk, or the disk lost what it had acknowledged.
    DiskLost,
}

impl Leader {
    /// Takes the record as it is now: nothing is in doubt any more, for every proposal compared an
    /// older revision.
    pub(super) fn adopt_record(&mut self, cx: &mut Cx<'_>) {
        for peer in &mut self.peers {
            peer.placed = false;
            peer.committed = None;
            peer.in_doubt = None;
        }
        for at in 0..cx.record.replicas.len() {
            let node = cx.record.replicas[at];
            if node != cx.me.node() {
                let peer = self.peer(cx, node);
                self.peers[peer].placed = true;
            }
        }
        for at in 0..cx.record.isr.len() {
            let member = cx.record.isr[at];
            if !cx.is_me(member) {
                let peer = self.peer(cx, member.node);
                self.peers[peer].committed = Some(member.directory);
            }
        }
        self.peers.retain(|peer| {
            let stays = peer.placed || peer.counts();
            if !stays {
                self.spent = self.spent.max(peer.attempt);
            }
            stays
        });
    }

    /// The follower on that node, made and asked to follow when it is new.
    fn peer(&mut self, cx: &mut Cx<'_>, node: NodeId) -> usize {
        if let Some(at) = self.find(node) {
            return at;
        }
        let mut peer = Peer::new(cx, node, self.spent);
        if node == cx.me.node() {
            // Another disk of this very node: it cannot answer while this one is in use.
            peer.unreachable(cx);
        } else {
            peer.lead(cx, self.epoch);
        }
        self.peers.push(peer);
        self.peers.len() - 1
    }

    /// How many replicas the committed ISR has, the leader included.
    pub(super) fn committed_count(&self) -> usize {
        1 + self.peers.iter().filter(|peer| peer.committed.is_some()).count()
    }

    /// Whether a proposed change may have been made or may yet be made.
    fn is_in_doubt(&self) -> bool {
        self.unsettled || self.peers.iter().any(|peer| peer.in_doubt.is_some())
    }

    /// Proposes the ISR that should be, when it is another than the record's, or when the record has to
    /// be written for an earlier proposal to be settled: only a new revision proves that one dead.
    pub(super) fn consider_isr(&mut self, cx: &mut Cx<'_>) {
        if self.proposal.is_some() || self.reading.is_some() {
            return;
        }
        let joins = self.peers.iter().filter(|peer| self.joins(cx, peer)).count();
        let leaves = self.peers.iter().any(|peer| fault(cx, peer).is_some());
        if joins == 0 && !leaves && !self.is_in_doubt() {
            return;
        }
        let isr = self.desired(cx);
        let same =
            isr.len() == cx.record.isr.len() && isr.iter().all(|member| cx.record.isr.contains(member));
        if same && !self.is_in_doubt() {
            return;
        }
        self.propose(cx, isr);
    }

    fn propose(&mut self, cx: &mut Cx<'_>, isr: Vec<ReplicaId>) {
        for member in &isr {
            if let Some(at) = self.find(member.node)
                && self.peers[at].committed != Some(member.directory)
            {
                self.peers[at].in_doubt = Some(member.directory);
            }
        }
        cx.tickets.0 += 1;
        let ticket = *cx.tickets;
        cx.out.push(Action::ProposeIsr { ticket, revision: *cx.revision, isr: isr.clone() });
        self.proposal = Some(Proposal { ticket, isr, at: cx.now });
    }

    /// Whether the follower should be in the ISR from now on. While an entry for another disk of its
    /// node is in doubt, that has to be settled first.
    fn joins(&self, cx: &Cx<'_>, peer: &Peer) -> bool {
        let settled = peer.in_doubt.is_none() || peer.in_doubt == peer.directory;
        let kept_up = cx.now >= peer.rejoin_from || self.committed_count() < cx.floor();
        settled && kept_up && peer.may_join(cx, self.start)
    }

    /// The ISR that should be: who has caught up joins, then who is at fault leaves, the gravest first,
    /// as long as the floor is kept.
    fn desired(&mut self, cx: &Cx<'_>) -> Vec<ReplicaId> {
        let mut isr = cx.record.isr.clone();
        for peer in &self.peers {
            if let Some(joining) = peer.replica().filter(|_| self.joins(cx, peer)) {
                isr.retain(|member| member.node != joining.node);
                isr.push(joining);
            }
        }
        let mut leaving: Vec<(Fault, NodeId, DirectoryId)> = Vec::new();
        for peer in &self.peers {
            if let (Some(fault), Some(directory)) = (fault(cx, peer), peer.committed) {
                leaving.push((fault, peer.node, directory));
            }
        }
        leaving.sort_unstable_by(|one, other| other.cmp(one));
        for (fault, node, directory) in leaving {
            let member = ReplicaId { node, directory };
            if isr.len() <= cx.floor() || !isr.contains(&member) {
                continue;
            }
            isr.retain(|kept| *kept != member);
            if let Some(at) = self.find(node)
                && fault == Fault::Late
            {
                self.peers[at].ejected_as_slow(cx);
            }
        }
        isr
    }

    /// What became of a proposal. Unless it is known to be made, everyone whom it names goes on
    /// counting until the record's revision has moved: a transaction of unknown outcome can still
    /// land after a read that does not show it.
    pub(crate) fn on_isr_outcome(&mut self, cx: &mut Cx<'_>, ticket: Ticket, outcome: IsrOutcome) {
        if self.proposal.as_ref().is_none_or(|proposal| proposal.ticket != ticket) {
            return;
        }
        let Some(proposal) = self.proposal.take() else { return };
        match outcome {
            IsrOutcome::Committed { revision } => {
                cx.record.isr = proposal.isr;
                *cx.revision = revision;
                self.unsettled = false;
                self.adopt_record(cx);
                self.advance(cx);
                self.consider_isr(cx);
            }
            IsrOutcome::Unknown if cx.config.faults.isr_unknown_as_failed => {
                for peer in &mut self.peers {
                    if peer.in_doubt.take().is_some() {
                        peer.rejoin_from = cx.now.after(cx.config.rejoin_after);
                    }
                }
                self.advance(cx);
            }
            IsrOutcome::Conflict | IsrOutcome::Unknown => self.read_back(cx),
        }
    }

    fn read_back(&mut self, cx: &mut Cx<'_>) {
        self.unsettled = true;
        self.reading = Some(cx.now);
        cx.out.push(Action::ReadBack);
    }

    /// Asks again for what was not answered.
    pub(super) fn tick_isr(&mut self, cx: &mut Cx<'_>) {
        let overdue = |at: Instant| cx.now.since(at) >= cx.config.metadata_retry;
        if self.proposal.as_ref().is_some_and(|proposal| overdue(proposal.at)) {
            self.proposal = None;
            self.read_back(cx);
        } else if self.reading.is_some_and(overdue) {
            self.read_back(cx);
        }
        self.consider_isr(cx);
    }
}

/// Why a member of the ISR should leave it.
fn fault(cx: &Cx<'_>, peer: &Peer) -> Option<Fault> {
    let committed = peer.committed?;
    let other_disk = peer.directory.is_some_and(|directory| directory != committed)
        && !cx.config.faults.keep_isr_member_with_new_disk;
    if other_disk || peer.lost {
        Some(Fault::DiskLost)
    } else if !peer.placed {
        Some(Fault::Misplaced)
    } else if peer.gone {
        Some(Fault::Gone)
    } else {
        peer.is_late(cx).then_some(Fault::Late)
    }
}
