//! What clients ask of a store: append, read, "what is the latest offset".

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Action, Actions, Instant, Latest};

use super::World;
use super::node::{NodeEvent, Waiting};
use crate::agenda::MS;
use crate::disk::Disk;
use crate::log::{Batch, Origin};
use crate::message::{CallId, ClientRequest, Message, Reply};
use crate::net::Site;

/// Most batches of one answer.
const FETCH_BATCHES_MAX: usize = 20;
/// How often "latest" is asked for again while the ISR has not confirmed it.
const CONFIRM_TRIES_MAX: u32 = 40;

impl World {
    pub(super) fn serve_client(
        &mut self,
        node: usize,
        client: Site,
        call: CallId,
        partition: usize,
        request: ClientRequest,
    ) {
        let reply = if self.process(node).hosted.is_empty() {
            Some(Reply::Refused)
        } else {
            match request {
                ClientRequest::Produce { count, value, origin } => {
                    let batch =
                        Batch { epoch: LeaderEpoch::default(), base: Offset::ZERO, count, value, origin };
                    self.produce(node, partition, Waiting { client, call, batch })
                }
                ClientRequest::Fetch { from } => Some(self.fetch(node, partition, from)),
                ClientRequest::Latest => self.latest(node, partition, client, call, 0),
            }
        };
        if let Some(reply) = reply {
            self.send(Site::Node(node), client, Message::Reply { call, reply });
        }
    }

    /// The answer, or nothing yet: it comes when the high watermark does.
    fn produce(&mut self, node: usize, partition: usize, mut waiting: Waiting) -> Option<Reply> {
        let full = self.nodes[node].disk.full;
        let now = Instant(self.local(node));
        let leads = self.process(node).hosted[partition].replica.report().leading.is_some();
        let held = now.0 < self.process(node).hosted[partition].held_until;
        if full || !leads || held {
            return Some(Reply::Refused);
        }
        if let Some(origin) = waiting.batch.origin
            && let Some(batch) = self.appended_before(node, partition, origin)
        {
            waiting.batch = batch;
            return self.answer_duplicate(node, partition, waiting);
        }
        let mut actions = Actions::new();
        let count = u64::from(waiting.batch.count);
        let placed = self.process(node).hosted[partition].replica.append(now, count, &mut actions);
        let Ok(place) = placed else {
            self.carry_out(node, partition, actions, None);
            return Some(Reply::Refused);
        };
        let batch = Batch { epoch: place.epoch, base: place.base, ..waiting.batch };
        let (starts, rest): (Vec<_>, Vec<_>) =
            actions.into_iter().partition(|action| matches!(action, Action::WriteEpochStart { .. }));
        self.carry_out(node, partition, starts, None);
        self.note(|| format!("n{node} p{partition} appends {batch:?}"));
        self.write_placed(node, partition, place.generation, batch);
        self.process(node).hosted[partition].waiting.push_back(Waiting { batch, ..waiting });
        self.carry_out(node, partition, rest, None);
        None
    }

    /// A batch with this producer id and sequence, in either tier.
    fn appended_before(&self, node: usize, partition: usize, origin: Origin) -> Option<Batch> {
        let local = self.nodes[node].disk.log(partition);
        let (pointer, _) = self.metadata.pointer(partition).unzip();
        let tiered = pointer.map(|pointer| self.bucket.root(pointer.root));
        // Only what lies below the local log: what the bucket has above it is not this leader's yet.
        let tiered = tiered.and_then(|root| {
            let below = root.batches.iter().filter(|batch| batch.next() <= local.start());
            below.rev().find(|batch| batch.origin == Some(origin))
        });
        local.by_origin(origin).or(tiered).copied()
    }

    fn answer_duplicate(&mut self, node: usize, partition: usize, waiting: Waiting) -> Option<Reply> {
        let hosted = &mut self.process(node).hosted[partition];
        if waiting.batch.next() > hosted.high_watermark {
            hosted.waiting.push_back(waiting);
            return None;
        }
        self.judge_ack(partition, &waiting.batch);
        Some(Reply::Acknowledged { base: waiting.batch.base })
    }

    pub(super) fn acknowledge(&mut self, node: usize, partition: usize, waiting: &Waiting) {
        self.judge_ack(partition, &waiting.batch);
        self.note(|| format!("n{node} p{partition} acknowledges {:?}", waiting.batch));
        let reply = Reply::Acknowledged { base: waiting.batch.base };
        self.send(Site::Node(node), waiting.client, Message::Reply { call: waiting.call, reply });
    }

    fn judge_ack(&mut self, partition: usize, batch: &Batch) {
        let disks: Vec<&Disk> = self.nodes.iter().map(|node| &node.disk).collect();
        let verdict =
            self.ledger.on_ack(partition, batch, &self.metadata, &disks, self.metadata.floor(partition));
        self.judge(verdict);
    }

    /// Committed batches from either tier, as a store (or a frontend, for the bucket) gives them.
    fn fetch(&mut self, node: usize, partition: usize, from: Offset) -> Reply {
        let high_watermark = self.process(node).hosted[partition].high_watermark;
        let log = self.nodes[node].disk.log(partition);
        let batches: Vec<Batch> = if from >= log.start() {
            log.within(from, high_watermark).iter().take(FETCH_BATCHES_MAX).copied().collect()
        } else {
            let pointer = self.metadata.pointer(partition).map(|(pointer, _)| pointer);
            let root = pointer.map(|pointer| self.bucket.root(pointer.root));
            let wanted = root.into_iter().flat_map(|root| &root.batches);
            wanted.filter(|batch| batch.base >= from).take(FETCH_BATCHES_MAX).copied().collect()
        };
        let verdict = self.ledger.on_read(node, partition, &batches);
        self.judge(verdict);
        Reply::Fetched { batches }
    }

    pub(super) fn latest(
        &mut self,
        node: usize,
        partition: usize,
        client: Site,
        call: CallId,
        tries: u32,
    ) -> Option<Reply> {
        let now = Instant(self.local(node));
        let mut actions = Actions::new();
        let latest = self.process(node).hosted[partition].replica.latest(now, &mut actions);
        self.carry_out(node, partition, actions, None);
        match latest {
            Latest::At(end) => {
                self.note(|| format!("n{node} p{partition} says that the latest offset is {end}"));
                Some(Reply::Latest { end })
            }
            Latest::Unconfirmed if tries < CONFIRM_TRIES_MAX => {
                let again = self.rng.between(MS, 30 * MS);
                self.later(node, again, NodeEvent::Latest { partition, client, call, tries: tries + 1 });
                None
            }
            Latest::Unconfirmed | Latest::NotLeader => Some(Reply::Refused),
        }
    }
}
