//! A cluster in a hostile world, on one thread, in virtual time. The replication in it is the real one;
//! and so are the controller's decisions;
//! around them, everything that a real store, client, disk, network and metadata store do is modelled as far as replication can tell.

mod clients;
mod controller;
mod faults;
mod lifecycle;
mod metadata;
mod node;
mod replication;
mod serving;
mod tiering;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;

use tidelog_meta::{Partition, Replica};
use tidelog_model::{DirectoryId, NodeId, Offset};
use tidelog_replica::Event as Input;

use self::clients::{Client, ClientEvent};
use self::faults::Troubles;
use self::node::{Clock, Node, NodeEvent};
use crate::agenda::{Agenda, MS, Micros, SECOND};
use crate::bucket::Bucket;
use crate::checks::{Ledger, Violation};
use crate::disk::Disk;
use crate::message::{CallId, Message};
use crate::metadata::{Key, Metadata, Value};
use crate::net::{Network, Site};
use crate::rng::Rng;
use crate::run::Outcome;
use crate::setup::Setup;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Arrive {
        from: Site,
        to: Site,
        message: Message,
    },
    Node {
        node: usize,
        life: u64,
        event: NodeEvent,
    },
    Client {
        client: usize,
        event: ClientEvent,
    },
    /// A process is started.
    Start {
        node: usize,
    },
    /// The next fault of the plan begins, or the one of this number ends.
    Fault(usize),
    Relief(usize),
    /// Leases may have ended.
    Expire,
}

#[derive(Debug)]
pub(crate) struct World {
    setup: Setup,
    agenda: Agenda<Event>,
    net: Network,
    metadata: Metadata,
    bucket: Bucket,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    troubles: Troubles,
    ledger: Ledger,
    violation: Option<Violation>,
    rng: Rng,
    calls: u64,
    directories: u64,
    /// Up to where everyone must be able to read once all is well again.
    acknowledged_ends: Vec<Offset>,
    values: u32,
    steps: u64,
    trace: Option<Trace>,
}

/// Where a run that is traced writes to; it outlives a run that panics.
pub(crate) type Trace = Rc<RefCell<String>>;

/// After the last fault, all must be well within this.
const HEALED_WITHIN: Micros = 60 * SECOND;
/// How often it is looked whether all is well again.
const LOOK_EVERY_STEPS: u64 = 200;
/// A world in which nothing else happens may not go on for ever.
const HEALING_STEPS_MAX: u64 = 400_000;

impl World {
    pub(crate) fn new(setup: Setup, trace: Option<Trace>) -> Self {
        let mut rng = Rng::new(setup.seed ^ 0x5eed);
        let mut world = Self {
            agenda: Agenda::new(),
            net: Network::new(setup.weather, rng.fork()),
            metadata: Metadata::new(setup.lease_ttl),
            bucket: Bucket::default(),
            nodes: Vec::new(),
            clients: clients::clients(&setup),
            troubles: Troubles::default(),
            ledger: Ledger::new(setup.partitions.len()),
            violation: None,
            rng,
            calls: 0,
            directories: 0,
            acknowledged_ends: Vec::new(),
            values: 0,
            steps: 0,
            trace,
            setup,
        };
        world.build();
        world
    }

    fn build(&mut self) {
        for index in 0..self.setup.nodes {
            let (directory, partitions) = (self.new_directory(), self.setup.partitions.len());
            let offset = self.rng.between(1, 1_000) * SECOND;
            self.nodes.push(Node {
                id: NodeId(index as u32),
                life: 0,
                process: None,
                paused: false,
                missed: std::collections::VecDeque::new(),
                disk: Disk::new(directory, partitions),
                older: None,
                clock: Clock { offset, drift_ppm: self.setup.drift_ppm[index] },
                late_watch: false,
            });
            let delay = self.rng.below(50 * MS);
            self.agenda.after(delay, Event::Start { node: index });
        }
        for (number, partition) in self.setup.partitions.iter().enumerate() {
            let replica = |node: &NodeId| {
                let directory = self.nodes[node.0 as usize].disk.directory;
                Replica { node: *node, directory }
            };
            let isr = partition.replicas.iter().map(replica).collect();
            let record = Partition { replicas: partition.replicas.clone(), isr, ..Partition::default() };
            self.metadata.force(Key::Topic(number), Some(Value::Topic(partition.topic(number))));
            self.metadata.force(Key::Partition(number), Some(Value::Partition(record)));
        }
        for client in 0..self.clients.len() {
            let delay = self.rng.below(500 * MS);
            self.agenda.after(delay, Event::Client { client, event: ClientEvent::Turn });
        }
        for (number, fault) in self.setup.plan.iter().enumerate() {
            self.agenda.at(fault.at, Event::Fault(number));
        }
        self.agenda.after(100 * MS, Event::Expire);
    }

    fn new_directory(&mut self) -> DirectoryId {
        self.directories += 1;
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&(self.directories as u16).to_be_bytes());
        DirectoryId::from_bytes(bytes)
    }

    /// Runs to the end: the hostile steps, the healing, the last look at everything.
    pub(crate) fn run(mut self) -> Outcome {
        while self.steps < self.setup.steps && self.violation.is_none() && self.step() {}
        if self.violation.is_none() {
            self.heal();
            self.run_until_well();
        }
        if self.violation.is_none() {
            let verdict = self.last_look();
            self.judge(verdict);
        }
        Outcome {
            violation: self.violation,
            steps: self.steps,
            virtual_time: self.agenda.now(),
            appended: self.ledger.appended(),
            acknowledged: self.ledger.acknowledged(),
            elections: self.ledger.elections(),
            trace: String::new(),
        }
    }

    fn run_until_well(&mut self) {
        let (deadline, steps_max) = (self.agenda.now() + HEALED_WITHIN, self.steps + HEALING_STEPS_MAX);
        while self.violation.is_none() && self.step() {
            if !self.steps.is_multiple_of(LOOK_EVERY_STEPS) {
                continue;
            }
            self.undrain_all();
            let missing = self.not_well();
            match missing {
                None => return,
                Some(missing) if self.agenda.now() > deadline || self.steps > steps_max => {
                    let verdict = Ledger::not_alive(missing);
                    self.judge(verdict);
                }
                Some(_) => {}
            }
        }
    }

    /// One event, and the invariants after it. False when nothing is left to happen.
    fn step(&mut self) -> bool {
        let Some(event) = self.agenda.next() else { return false };
        self.steps += 1;
        self.dispatch(event);
        if self.violation.is_none() {
            let disks: Vec<&Disk> = self.nodes.iter().map(|node| &node.disk).collect();
            let verdict = self.ledger.after_step(&self.metadata, &disks, &self.bucket);
            self.judge(verdict);
        }
        true
    }

    fn dispatch(&mut self, event: Event) {
        let node = match &event {
            Event::Arrive { to: Site::Node(node), .. } | Event::Node { node, .. } => Some(*node),
            _ => None,
        };
        if let Some(node) = node.filter(|node| self.nodes[*node].paused) {
            self.nodes[node].missed.push_back(event);
            return;
        }
        match event {
            Event::Arrive { from, to, message } => self.arrive(from, to, message),
            Event::Node { node, life, event } => {
                if self.nodes[node].life == life && self.nodes[node].process.is_some() {
                    self.node_event(node, event);
                }
            }
            Event::Client { client, event } => self.client_event(client, event),
            Event::Start { node } => self.start(node),
            Event::Fault(number) => self.begin_fault(number),
            Event::Relief(number) => self.end_fault(number),
            Event::Expire => {
                self.expire_leases();
                self.agenda.after(100 * MS, Event::Expire);
            }
        }
    }

    fn arrive(&mut self, from: Site, to: Site, message: Message) {
        if self.net.is_cut(from, to) {
            return;
        }
        match (to, message) {
            (Site::Meta, Message::Ask { call, request }) => self.serve_metadata(from, call, &request),
            (Site::Client(client), Message::Reply { call, reply }) => self.client_reply(client, call, reply),
            (Site::Node(node), message) if self.nodes[node].process.is_some() => {
                self.node_message(node, from, message);
            }
            _ => {}
        }
    }

    fn node_message(&mut self, node: usize, from: Site, message: Message) {
        match message {
            Message::Peer { partition, peer } => self.peer_message(node, partition, peer),
            Message::Answer { call, response } => self.metadata_answer(node, call, response),
            Message::Ping { round } => self.answer_ping(node, from, round),
            Message::Pong { round, pong } => self.take_pong(node, from, round, pong),
            Message::Report { call, partitions } => self.answer_report(node, from, call, &partitions),
            Message::Reports { call, reports } => self.take_reports(node, from, call, &reports),
            Message::HandOver { call, token, requests } => self.let_go(node, from, call, token, &requests),
            Message::HandedOver { call } => self.handed_over(node, from, call),
            Message::Client { call, partition, request } => {
                self.serve_client(node, from, call, partition, request);
            }
            Message::Ask { .. } | Message::Reply { .. } => {}
        }
    }

    fn node_event(&mut self, node: usize, event: NodeEvent) {
        match event {
            NodeEvent::Tick => self.tick(node),
            NodeEvent::Synced => self.synced(node),
            NodeEvent::Completed(synced) => self.completed(node, synced),
            NodeEvent::Watch => self.watch(node),
            NodeEvent::Timeout(call) => self.call_timed_out(node, call),
            NodeEvent::Tier => self.tier(node),
            NodeEvent::Uploaded { partition, commit } => self.commit_pointer(node, partition, commit),
            NodeEvent::Neighbour { node: about, here } => self.neighbour(node, about, here),
            NodeEvent::Feed => self.feed(node),
            NodeEvent::Pass => self.pass_due(node),
            NodeEvent::Refused { node: by, round } => self.ping_refused(node, by, round),
            NodeEvent::ErrandRefused { call, by } => self.errand_answered(node, call, by),
            NodeEvent::ErrandOver(call) => self.errand_over(node, call),
            NodeEvent::Quiet { controller, call, partitions } => {
                self.look_whether_quiet(node, controller, call, &partitions);
            }
            NodeEvent::Latest { partition, client, call, tries } => {
                if let Some(reply) = self.latest(node, partition, client, call, tries) {
                    self.send(Site::Node(node), client, Message::Reply { call, reply });
                }
            }
            NodeEvent::SendReady { partition, to } => {
                self.step_replica(node, partition, Input::SendReady { to });
            }
        }
    }

    fn send(&mut self, from: Site, to: Site, message: Message) {
        let arrivals = self.net.send(from, to, self.agenda.now());
        // Only what replicas and the controller say may be doubled: the others' transports count.
        let doubles = !matches!(
            message,
            Message::Ask { .. } | Message::Answer { .. } | Message::Client { .. } | Message::Reply { .. }
        );
        if let Some(at) = arrivals.second.filter(|_| doubles) {
            self.agenda.at(at, Event::Arrive { from, to, message: message.clone() });
        }
        if let Some(at) = arrivals.first {
            self.agenda.at(at, Event::Arrive { from, to, message });
        }
    }

    /// Something will happen to the node's present process.
    fn later(&mut self, node: usize, after: Micros, event: NodeEvent) {
        let life = self.nodes[node].life;
        self.agenda.after(after, Event::Node { node, life, event });
    }

    fn new_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    fn judge(&mut self, verdict: Result<(), Violation>) {
        if let Err(mut violation) = verdict
            && self.violation.is_none()
        {
            violation.at = self.agenda.now();
            self.note(|| format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    /// A line of the trace.
    fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let now = self.agenda.now();
            let _ = writeln!(trace.borrow_mut(), "{:>5}.{:06} {}", now / SECOND, now % SECOND, line());
        }
    }
}
