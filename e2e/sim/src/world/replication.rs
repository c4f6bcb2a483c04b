//! The store around the replica: carries out what the machine asks for, on the model's disk and network.

use tidelog_meta::{Partition, Replica as PartitionReplica};
use tidelog_model::{NodeId, Offset};
use tidelog_replica::{Action, Actions, Attempt, EpochStart, Event as Input, Generation, Instant, Span};

use super::World;
use super::node::{Call, NodeEvent};
use crate::agenda::{MS, Micros, SECOND};
use crate::checks::Ledger;
use crate::disk::Synced;
use crate::log::{Batch, Record};
use crate::message::{Message, Peer, Reply};
use crate::metadata::{Compare, Key, Put, Request, Value};
use crate::net::Site;

/// Longest sync of the slowest disk.
const SYNC_MAX: Micros = 4 * SECOND;
/// Most batches of one `Push` that go out in one turn, in hostile weather.
const TURN_BATCHES_MAX: usize = 8;

impl World {
    pub(super) fn step_all(&mut self, node: usize, event: &Input) {
        for partition in 0..self.setup.partitions.len() {
            self.step_replica(node, partition, event.clone());
        }
    }

    pub(super) fn step_replica(&mut self, node: usize, partition: usize, event: Input) {
        self.step_with(node, partition, event, None);
    }

    /// One step of the machine, and what it asks for. `bytes` came with the event.
    fn step_with(&mut self, node: usize, partition: usize, event: Input, bytes: Option<Batch>) {
        let now = Instant(self.local(node));
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(hosted) = process.hosted.get_mut(partition) else { return };
        let mut actions = Actions::new();
        let told = (self.trace.is_some() && !matches!(event, Input::Tick)).then(|| format!("{event:?}"));
        hosted.replica.step(now, event, &mut actions);
        if let Some(told) = told {
            self.note(|| format!("n{node} p{partition} <- {told}"));
        }
        self.carry_out(node, partition, actions, bytes);
    }

    pub(super) fn carry_out(
        &mut self,
        node: usize,
        partition: usize,
        actions: Actions,
        bytes: Option<Batch>,
    ) {
        let mut next = Vec::new();
        for action in actions {
            self.note(|| format!("n{node} p{partition} -> {action:?}"));
            next.extend(self.act(node, partition, action, bytes));
        }
        self.sync_soon(node);
        self.check_leadership(node, partition);
        for event in next {
            self.step_replica(node, partition, event);
        }
    }

    /// Does one thing; what comes of it at once happens after the rest of its step.
    fn act(&mut self, node: usize, partition: usize, action: Action, bytes: Option<Batch>) -> Option<Input> {
        match action {
            Action::WriteEpochStart { epoch, start, generation } => {
                self.write(node, partition, generation, Record::EpochStart(EpochStart { epoch, start }));
            }
            Action::Write { span, generation } => self.write_pushed(node, partition, span, generation, bytes),
            Action::Truncate { to, generation } => {
                self.write(node, partition, generation, Record::Truncate(to));
                self.ledger.disk_changed(partition);
            }
            Action::Reset { to, generation, history } => {
                let covered = self.metadata.pointer(partition).map(|(pointer, _)| pointer.tiered_end);
                let verdict = Ledger::on_trim(partition, to, covered.unwrap_or_default());
                self.judge(verdict);
                self.write(node, partition, generation, Record::Reset(to, history));
            }
            Action::Compare { span } => {
                let held = self.nodes[node].disk.log(partition).at(span.base).map(Batch::span);
                return held.filter(|held| *held != span).map(|_| Input::OtherBytes { span });
            }
            Action::SendLead { to, lead } => self.send_peer(node, to, partition, Peer::Lead(lead)),
            Action::Push { to, attempt, from, up_to } => {
                return self.push(node, partition, to, attempt, (from, up_to));
            }
            Action::SendBeat { to, beat } => self.send_peer(node, to, partition, Peer::Pushed(beat, None)),
            Action::SendAck { to, ack } => self.send_peer(node, to, partition, Peer::Ack(ack)),
            Action::SendRefusal { to, refusal } => {
                self.send_peer(node, to, partition, Peer::Refusal(refusal));
            }
            Action::Advance { high_watermark } => self.advance(node, partition, high_watermark),
            Action::Rewound { high_watermark } => {
                let verdict = Ledger::on_rewound(node, partition, high_watermark);
                self.judge(verdict);
            }
            Action::FailPending { from, .. } => self.fail_pending(node, partition, from),
            Action::ProposeIsr { ticket, revision, isr } => {
                let (_, known) = &self.process(node).hosted[partition].record;
                let isr = isr
                    .iter()
                    .map(|member| PartitionReplica { node: member.node, directory: member.directory });
                let record = Partition { isr: isr.collect(), ..known.clone() };
                let compares = vec![Compare::Unchanged(Key::Partition(partition), revision)];
                let value = Some(Value::Partition(record));
                let puts = vec![Put { key: Key::Partition(partition), value, lease: None }];
                let request = Request::Txn { compares, puts };
                self.ask(node, Call::ProposeIsr { partition, ticket }, request);
            }
            Action::ReadBack => {
                // An answer to an earlier question began too early.
                let same = |call: &Call| matches!(call, Call::ReadBack { partition: p } if *p == partition);
                self.process(node).calls.retain(|_, call| !same(call));
                self.ask(node, Call::ReadBack { partition }, Request::Get(Key::Partition(partition)));
            }
            Action::ReadTiered => {
                self.ask(node, Call::ReadTiered { partition }, Request::Get(Key::Pointer(partition)));
            }
            Action::BecameLeader { epoch, .. } => {
                let hosted = &mut self.process(node).hosted[partition];
                (hosted.leads, hosted.resigned) = (Some(epoch), None);
            }
            Action::BecameFollower { .. } => self.process(node).hosted[partition].leads = None,
            Action::StepDown { epoch, .. } => {
                let hosted = &mut self.process(node).hosted[partition];
                (hosted.leads, hosted.resigned) = (None, Some(epoch));
            }
            Action::Raise(alarm) => {
                let verdict = Ledger::on_alarm(node, partition, &alarm);
                self.judge(verdict);
            }
        }
        None
    }

    fn write(&mut self, node: usize, partition: usize, generation: Generation, record: Record) {
        if let Record::Append(batch) = &record {
            let verdict = self.ledger.on_append(partition, batch);
            self.judge(verdict);
            let end = self.nodes[node].disk.log(partition).end();
            let verdict = Ledger::on_position(node, partition, batch, end);
            self.judge(verdict);
            if batch.base != end {
                return;
            }
        }
        self.nodes[node].disk.write(partition, generation, record);
    }

    fn write_pushed(
        &mut self,
        node: usize,
        partition: usize,
        span: Span,
        generation: Generation,
        bytes: Option<Batch>,
    ) {
        let verdict = Ledger::on_write(node, partition, span, bytes.as_ref());
        self.judge(verdict);
        if let Some(batch) = bytes {
            self.write(node, partition, generation, Record::Append(batch));
        }
    }

    /// The leader's own batch, where the machine placed it.
    pub(super) fn write_placed(
        &mut self,
        node: usize,
        partition: usize,
        generation: Generation,
        batch: Batch,
    ) {
        self.write(node, partition, generation, Record::Append(batch));
    }

    pub(super) fn sync_soon(&mut self, node: usize) {
        let disk = &mut self.nodes[node].disk;
        if disk.begin_sync() {
            let takes = self.rng.between(MS / 10, self.setup.sync_max) * disk.slowness;
            let takes = takes.min(SYNC_MAX);
            self.later(node, takes, NodeEvent::Synced);
        }
    }

    pub(super) fn synced(&mut self, node: usize) {
        for synced in self.nodes[node].disk.finish_sync() {
            if let Synced::Cut { partition, .. } = synced {
                self.ledger.disk_changed(partition);
            }
            // Completions take their own ways, and some of them their time: those from before a cut most.
            let late =
                if self.is_from_before_a_cut(node, synced) { 600 } else { self.setup.late_completions };
            if self.rng.chance(late) {
                let late = self.rng.between(MS / 10, self.setup.completion_delay_max);
                self.later(node, late, NodeEvent::Completed(synced));
            } else {
                self.completed(node, synced);
            }
        }
        self.sync_soon(node);
    }

    fn is_from_before_a_cut(&mut self, node: usize, synced: Synced) -> bool {
        let (Synced::UpTo { partition, generation, .. } | Synced::Cut { partition, generation }) = synced;
        self.process(node).hosted[partition].replica.generation() != generation
    }

    pub(super) fn completed(&mut self, node: usize, synced: Synced) {
        match synced {
            Synced::UpTo { partition, generation, up_to } => {
                self.step_replica(node, partition, Input::LocalDurable { generation, up_to });
            }
            Synced::Cut { partition, generation } => {
                self.step_replica(node, partition, Input::CutDurable { generation });
            }
        }
    }

    fn send_peer(&mut self, node: usize, to: NodeId, partition: usize, peer: Peer) {
        let to = to.0 as usize;
        self.send(Site::Node(node), Site::Node(to), Message::Peer { partition, peer });
        // A connection that is refused is noticed at once.
        let refused = self.nodes[to].process.is_none();
        if refused && !self.net.is_cut(Site::Node(to), Site::Node(node)) && self.rng.chance(500) {
            self.later(node, MS, NodeEvent::Neighbour { node: to, here: false });
        }
    }

    /// Sends what fits into one turn; what does not is sent later.
    fn push(
        &mut self,
        node: usize,
        partition: usize,
        to: NodeId,
        attempt: Attempt,
        (from, up_to): (Offset, Offset),
    ) -> Option<Input> {
        let now = Instant(self.local(node));
        let batches = self.nodes[node].disk.log(partition).within(from, up_to).to_vec();
        let turn = if self.rng.chance(50) { self.rng.index(TURN_BATCHES_MAX) } else { batches.len() };
        for batch in batches.iter().take(turn) {
            let pushed = self.process(node).hosted[partition].replica.pushed(now, attempt, batch.span())?;
            self.send_peer(node, to, partition, Peer::Pushed(pushed, Some(*batch)));
        }
        let unsent = batches.get(turn)?;
        let ready = self.rng.between(MS, 20 * MS);
        self.later(node, ready, NodeEvent::SendReady { partition, to });
        Some(Input::NotSent { to, attempt, from: unsent.base })
    }

    pub(super) fn peer_message(&mut self, node: usize, partition: usize, peer: Peer) {
        match peer {
            Peer::Lead(lead) => self.step_replica(node, partition, Input::Lead(lead)),
            // Room in the journal is reserved before a batch is taken.
            Peer::Pushed(_, Some(_)) if self.nodes[node].disk.full => {}
            Peer::Pushed(pushed, batch) => self.step_with(node, partition, Input::Pushed(pushed), batch),
            Peer::Ack(ack) => self.step_replica(node, partition, Input::Ack(ack)),
            Peer::Refusal(refusal) => self.step_replica(node, partition, Input::Refusal(refusal)),
        }
    }

    /// Everything below is committed: who waited for it is told.
    fn advance(&mut self, node: usize, partition: usize, high_watermark: Offset) {
        let leads = self.nodes[node].process.as_ref().is_some_and(|it| it.hosted[partition].leads.is_some());
        let verdict = self.ledger.on_high_watermark(
            (node, self.nodes[node].life),
            partition,
            high_watermark,
            self.nodes[node].disk.log(partition),
            leads,
        );
        self.judge(verdict);
        let hosted = &mut self.process(node).hosted[partition];
        hosted.high_watermark = high_watermark;
        let mut done = Vec::new();
        hosted.waiting.retain(|waiting| {
            let committed = waiting.batch.next() <= high_watermark;
            if committed {
                done.push(*waiting);
            }
            !committed
        });
        for waiting in done {
            self.acknowledge(node, partition, &waiting);
        }
    }

    fn fail_pending(&mut self, node: usize, partition: usize, from: Offset) {
        let hosted = &mut self.process(node).hosted[partition];
        let mut failed = Vec::new();
        hosted.waiting.retain(|waiting| {
            let keep = waiting.batch.next() <= from;
            if !keep {
                failed.push(*waiting);
            }
            keep
        });
        for waiting in failed {
            let reply = Reply::OutcomeUnknown;
            self.send(Site::Node(node), waiting.client, Message::Reply { call: waiting.call, reply });
        }
    }

    fn check_leadership(&mut self, node: usize, partition: usize) {
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let (Some(me), Some(hosted)) = (process.instance, process.hosted.get(partition)) else { return };
        if let Some(epoch) = hosted.replica.report().leading {
            let verdict = self.ledger.on_leading(partition, epoch, me);
            self.judge(verdict);
        }
    }
}
