//! Clients: producers with and without a producer id, readers at leaders and followers, and those who ask
//! for the latest offset and must never be told less than was acknowledged before they asked.

use tidelog_model::Offset;

use super::{Event, World};
use crate::agenda::{MS, Micros, SECOND};
use crate::checks::Ledger;
use crate::log::{Batch, Origin};
use crate::message::{CallId, ClientRequest, Message, Reply};
use crate::net::Site;
use crate::setup::Setup;

/// How long a client waits for an answer.
const PATIENCE: Micros = SECOND;

#[derive(Debug)]
pub(super) struct Client {
    kind: Kind,
    partition: usize,
    waits_for: Option<CallId>,
    /// What was known when the call began.
    floor: Offset,
    /// Calls that went well since the faults ended.
    pub well: u64,
}

#[derive(Debug)]
enum Kind {
    Producer { batch: Option<(u32, u32)> },
    Idempotent { producer: u32, sequence: u32, batch: Option<(u32, u32)> },
    Consumer { position: Offset },
    Prober,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientEvent {
    /// The client does its next call.
    Turn,
    Timeout(CallId),
}

pub(super) fn clients(setup: &Setup) -> Vec<Client> {
    let mut kinds = Vec::new();
    for partition in 0..setup.partitions.len() {
        let producers = (0..setup.producers as u32).map(|number| match number % 2 {
            0 => Kind::Idempotent { producer: number, sequence: 0, batch: None },
            _ => Kind::Producer { batch: None },
        });
        kinds.extend(producers.map(|kind| (partition, kind)));
        kinds.extend((0..setup.consumers).map(|_| (partition, Kind::Consumer { position: Offset::ZERO })));
        kinds.extend((0..setup.probers).map(|_| (partition, Kind::Prober)));
    }
    let client =
        |(partition, kind)| Client { kind, partition, waits_for: None, floor: Offset::ZERO, well: 0 };
    kinds.into_iter().map(client).collect()
}

impl Client {
    /// Where a consumer is.
    pub(super) fn position(&self) -> Option<(usize, Offset)> {
        match self.kind {
            Kind::Consumer { position } => Some((self.partition, position)),
            _ => None,
        }
    }

    pub(super) fn partition(&self) -> usize {
        self.partition
    }
}

impl World {
    pub(super) fn client_event(&mut self, client: usize, event: ClientEvent) {
        match event {
            ClientEvent::Turn => self.call(client),
            ClientEvent::Timeout(call) if self.clients[client].waits_for == Some(call) => {
                self.no_answer(client);
                self.rest(client);
            }
            ClientEvent::Timeout(_) => {}
        }
    }

    fn rest(&mut self, client: usize) {
        self.clients[client].waits_for = None;
        let pause = self.rng.between(MS / 5, self.setup.client_pause_max);
        self.agenda.after(pause, Event::Client { client, event: ClientEvent::Turn });
    }

    fn call(&mut self, client: usize) {
        let call = self.new_call();
        let partition = self.clients[client].partition;
        let request = self.next_request(client);
        let to = self.choose_node(client);
        let this = &mut self.clients[client];
        this.waits_for = Some(call);
        this.floor = self.ledger.latest_floor(partition);
        self.agenda.after(PATIENCE, Event::Client { client, event: ClientEvent::Timeout(call) });
        let message = Message::Client { call, partition, request };
        self.send(Site::Client(client), Site::Node(to), message);
    }

    fn next_request(&mut self, client: usize) -> ClientRequest {
        let (value, count) = (self.values + 1, self.rng.between(1, 3) as u32);
        match &mut self.clients[client].kind {
            Kind::Producer { batch } => {
                *batch = Some((value, count));
                self.values = value;
                ClientRequest::Produce { count, value, origin: None }
            }
            Kind::Idempotent { producer, sequence, batch } => {
                if batch.is_none() {
                    *batch = Some((value, count));
                    self.values = value;
                    *sequence += 1;
                }
                let origin = Some(Origin { producer: *producer, sequence: *sequence });
                let (value, count) = batch.unwrap_or((value, count));
                ClientRequest::Produce { count, value, origin }
            }
            Kind::Consumer { position } => ClientRequest::Fetch { from: *position },
            Kind::Prober => ClientRequest::Latest,
        }
    }

    /// Mostly the leader by the record; a client's picture of the cluster may be old or wrong.
    fn choose_node(&mut self, client: usize) -> usize {
        let this = &self.clients[client];
        let record = self.metadata.partition(this.partition);
        let leader = record.leader.map(|leader| leader.node.0 as usize);
        let wanders = if matches!(this.kind, Kind::Consumer { .. }) { 500 } else { 200 };
        let anyone = self.rng.index(self.nodes.len());
        if self.rng.chance(wanders) { anyone } else { leader.unwrap_or(anyone) }
    }

    pub(super) fn client_reply(&mut self, client: usize, call: CallId, reply: Reply) {
        let this = &mut self.clients[client];
        if this.waits_for != Some(call) {
            return;
        }
        let (partition, floor) = (this.partition, this.floor);
        match (&mut this.kind, reply) {
            (Kind::Producer { batch } | Kind::Idempotent { batch, .. }, Reply::Acknowledged { base }) => {
                this.well += 1;
                if let Some((value, count)) = batch.take() {
                    let verdict = self.ledger.on_told(partition, base, value, count);
                    self.judge(verdict);
                }
            }
            (Kind::Producer { batch }, Reply::Refused) => {
                if let Some((value, _)) = batch.take() {
                    self.ledger.on_refused(partition, value);
                }
            }
            (Kind::Producer { batch }, Reply::OutcomeUnknown) => *batch = None,
            (Kind::Consumer { position }, Reply::Fetched { batches }) => {
                this.well += 1;
                let from = *position;
                *position = batches.last().map_or(from, Batch::next);
                let verdict = Ledger::on_consumed(partition, from, &batches);
                self.judge(verdict);
            }
            (Kind::Prober, Reply::Latest { end }) => {
                this.well += 1;
                let verdict = self.ledger.on_latest(partition, floor, end);
                self.judge(verdict);
            }
            // An idempotent producer sends the same batch again.
            _ => {}
        }
        self.rest(client);
    }

    fn no_answer(&mut self, client: usize) {
        if let Kind::Producer { batch } = &mut self.clients[client].kind {
            // Without a producer id it is not sent again.
            *batch = None;
        }
    }
}
