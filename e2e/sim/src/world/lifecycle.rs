//! A process begins, keeps its lease, learns what changes, and ends.

use std::collections::{BTreeMap, VecDeque};

use tidelog_meta::Partition;
use tidelog_model::{DirectoryId, NodeId, Offset};
use tidelog_replica::{Event as Input, Instance, Marks, Observed, Origin, Recovered, Replica, ReplicaId};

use super::World;
use super::controller::Controller;
use super::node::{Call, Hosted, Image, Lease, NodeEvent, Process};
use crate::agenda::{MS, Micros};
use crate::metadata::{Compare, Key, LeaseId, Put, Request, Response, Revision, Stored, Value, record_of};
use crate::net::Site;

/// How often a process looks at its clock.
const TICK: Micros = 50 * MS;

impl World {
    /// Starts a node's process, unless it runs.
    pub(super) fn start(&mut self, node: usize) {
        if self.nodes[node].process.is_some() {
            return;
        }
        self.note(|| format!("n{node} starts"));
        self.nodes[node].life += 1;
        self.nodes[node].process = Some(Process {
            instance: None,
            registered_at: 0,
            image: Image::default(),
            lease: Lease::default(),
            calls: BTreeMap::new(),
            hosted: Vec::new(),
            controller: Controller::default(),
            token: 0,
            listed: false,
            watching: false,
            watch_due: false,
        });
        self.ask(node, Call::ReadIdentity, Request::Get(Key::Node(self.nodes[node].id)));
        let tick = self.rng.between(MS, TICK);
        self.later(node, tick, NodeEvent::Tick);
        if let Some(pause) = self.setup.tier_pause_max {
            let pause = self.rng.between(MS, pause);
            self.later(node, pause, NodeEvent::Tier);
        }
    }

    /// The process is gone; what its disk had not synced may be, too.
    pub(super) fn kill(&mut self, node: usize) {
        if self.nodes[node].process.is_none() {
            return;
        }
        self.note(|| format!("n{node} dies"));
        let this = &mut self.nodes[node];
        let served_everyone = this.process.take().is_some_and(|process| process.instance.is_some());
        this.life += 1;
        this.paused = false;
        this.missed = VecDeque::new();
        this.disk.crash(&mut self.rng);
        if served_everyone && self.rng.chance(300) {
            this.older = Some(this.disk.clone());
        }
        for partition in 0..self.setup.partitions.len() {
            self.ledger.disk_changed(partition);
        }
        self.tell_neighbours(node, false);
    }

    /// The others notice that a node's process came or went, unless the network keeps it from them.
    pub(super) fn tell_neighbours(&mut self, about: usize, here: bool) {
        for node in (0..self.nodes.len()).filter(|node| *node != about) {
            let cut = self.net.is_cut(Site::Node(about), Site::Node(node));
            if !cut && self.rng.chance(900) {
                let delay = self.rng.between(MS / 2, 60 * MS);
                self.later(node, delay, NodeEvent::Neighbour { node: about, here });
            }
        }
    }

    pub(super) fn neighbour(&mut self, node: usize, peer: usize, here: bool) {
        let about = self.nodes[peer].id;
        let event =
            if here { Input::FollowerHere { node: about } } else { Input::FollowerGone { node: about } };
        self.step_all(node, &event);
        if !here {
            self.connection_closed(node, peer);
        }
    }

    /// What the metadata store knows of this node decides which replica this disk is.
    pub(super) fn identify(&mut self, node: usize, stored: Option<Stored>) {
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let disk = &self.nodes[node].disk;
        let is_ours = match stored.map(|stored| stored.value) {
            Some(Value::Node { directory, boot }) => directory == disk.directory && boot <= disk.boot,
            // A start that was not registered leaves its number on the disk only.
            _ => true,
        };
        if !is_ours {
            // Another disk, or this one as it was before a later start: it is a new replica. What it
            // holds may be of use to it, and is no merit.
            self.note(|| format!("n{node} finds another disk"));
            let directory = self.new_directory();
            self.nodes[node].disk.directory = directory;
        }
        let disk = &mut self.nodes[node].disk;
        disk.boot += 1;
        let (boot, directory, id) = (disk.boot, disk.directory, self.nodes[node].id);
        let compares = vec![Compare::Unchanged(Key::Node(id), revision)];
        let puts =
            vec![Put { key: Key::Node(id), value: Some(Value::Node { directory, boot }), lease: None }];
        self.ask(node, Call::Claim { boot }, Request::Txn { compares, puts });
    }

    /// This start is registered: nobody else will ever have its number.
    pub(super) fn registered(&mut self, node: usize, boot: u64, revision: Revision) {
        let this = &mut self.nodes[node];
        let replica = ReplicaId { node: this.id, directory: this.disk.directory };
        let instance = Instance { replica, boot };
        let Some(process) = &mut this.process else { return };
        if process.instance.is_some() {
            return;
        }
        process.instance = Some(instance);
        process.registered_at = revision;
        for partition in 0..self.setup.partitions.len() {
            let log = this.disk.log(partition);
            let start = log.start();
            let recovered = Recovered {
                marks: Marks { log_start: Offset::ZERO, local_start: start, tiered_end: start },
                log_end: log.end(),
                high_watermark: start,
                history: log.history().clone(),
            };
            process.hosted.push(Hosted {
                replica: Replica::new(instance, self.setup.config, recovered),
                record: (0, Partition::default()),
                held_until: 0,
                high_watermark: start,
                leads: None,
                resigned: None,
                waiting: VecDeque::new(),
                tiered_end: start,
                offloading: false,
            });
        }
        self.note(|| format!("n{node} is {instance:?}"));
        self.ask(node, Call::List, Request::List);
        self.ask(node, Call::Grant, Request::Grant);
        self.tell_neighbours(node, true);
    }

    pub(super) fn tick(&mut self, node: usize) {
        self.later(node, TICK, NodeEvent::Tick);
        self.keep_lease(node);
        if self.process(node).instance.is_some() {
            self.step_all(node, &Input::Tick);
            self.run_controller(node);
        }
    }

    fn keep_lease(&mut self, node: usize) {
        let now = self.local(node);
        let every = self.setup.lease_ttl / 4;
        let process = self.process(node);
        if process.instance.is_none() {
            return;
        }
        let Some(lease) = process.lease.id else {
            if !process.is_calling(|call| matches!(call, Call::Grant)) {
                self.ask(node, Call::Grant, Request::Grant);
            }
            return self.fence_if_due(node);
        };
        if now >= process.lease.asked_at + every {
            process.lease.asked_at = now;
            self.ask(node, Call::KeepAlive { asked_at: now }, Request::KeepAlive(lease));
        }
        let process = self.process(node);
        let announces = process.is_calling(|call| matches!(call, Call::Announce { .. }));
        if !process.lease.announced && !announces {
            self.announce(node, lease);
        }
        self.fence_if_due(node);
    }

    fn fence_if_due(&mut self, node: usize) {
        let now = self.local(node);
        let lease = &mut self.process(node).lease;
        if now >= lease.valid_until && !lease.fenced {
            lease.fenced = true;
            self.note(|| format!("n{node} fences itself"));
            self.step_all(node, &Input::Fenced);
        }
    }

    pub(super) fn lease_answer(&mut self, node: usize, call: &Call, response: &Response) {
        // The store's clock may run fast, and this one slow.
        let (now, lasts) = (self.local(node), self.setup.lease_ttl * 8 / 10);
        let lease = &mut self.process(node).lease;
        match (call, response) {
            (Call::Grant, Response::Granted(id)) => {
                *lease = Lease { id: Some(*id), valid_until: lease.valid_until, ..Lease::default() };
                lease.fenced = now >= lease.valid_until;
                let id = *id;
                self.announce(node, id);
            }
            (Call::KeepAlive { asked_at }, Response::Alive) => {
                lease.valid_until = lease.valid_until.max(asked_at + lasts);
                lease.fenced = now >= lease.valid_until;
            }
            (Call::Announce { lease: id }, Response::Committed(_)) if lease.id == Some(*id) => {
                lease.announced = true;
            }
            (_, Response::Lost) => {
                lease.id = None;
                lease.valid_until = now;
                self.fence_if_due(node);
            }
            _ => {}
        }
    }

    fn announce(&mut self, node: usize, lease: LeaseId) {
        let id = self.nodes[node].id;
        let process = self.process(node);
        let Some(Instance { replica, boot }) = process.instance else { return };
        // What an earlier process of this node sent may come later than this.
        let compares = vec![Compare::Unchanged(Key::Node(id), process.registered_at)];
        let live = Value::Live { directory: replica.directory, boot };
        let puts = vec![Put { key: Key::Live(id), value: Some(live), lease: Some(lease) }];
        self.ask(node, Call::Announce { lease }, Request::Txn { compares, puts });
    }

    /// Everything, as a linearizable read found it.
    pub(super) fn listed(&mut self, node: usize, revision: Revision, entries: Vec<(Key, Stored)>) {
        let process = self.process(node);
        if revision >= process.image.revision {
            let keys = entries.into_iter().map(|(key, stored)| (key, (stored.value, stored.revision)));
            process.image = Image { revision, keys: keys.collect() };
        }
        process.watching = true;
        // A list that is made again may have begun before a replica asked for a read.
        let origin = if std::mem::replace(&mut process.listed, true) { Origin::Watch } else { Origin::Read };
        for partition in 0..self.setup.partitions.len() {
            self.observe_image(node, partition, origin);
        }
        self.image_changed(node);
        self.watch_soon(node);
    }

    fn observe_image(&mut self, node: usize, partition: usize, origin: Origin) {
        let found = self.process(node).image.keys.get(&Key::Partition(partition)).cloned();
        if let Some((Value::Partition(record), revision)) = found {
            self.observe(node, partition, record, revision, origin);
        }
    }

    /// A record, with what is known of the topic.
    pub(super) fn observe(
        &mut self,
        node: usize,
        partition: usize,
        record: Partition,
        revision: Revision,
        origin: Origin,
    ) {
        let process = self.process(node);
        let Some((Value::Topic(topic), _)) = process.image.keys.get(&Key::Topic(partition)) else { return };
        let observed =
            Observed { record: record_of(&record), revision, floor: record.isr_floor(topic), origin };
        if let Some(hosted) = process.hosted.get_mut(partition).filter(|hosted| hosted.record.0 <= revision) {
            hosted.record = (revision, record);
        }
        self.step_replica(node, partition, Input::Observed(observed));
    }

    /// Everyone's watch has something to tell.
    pub(super) fn metadata_changed(&mut self) {
        for node in 0..self.nodes.len() {
            self.watch_soon(node);
            self.feed_soon(node);
        }
    }

    fn watch_soon(&mut self, node: usize) {
        let behind = self.metadata.revision();
        let delay = self.watch_delay(node);
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.watching && !process.watch_due && process.image.revision < behind {
            process.watch_due = true;
            self.later(node, delay, NodeEvent::Watch);
        }
    }

    /// Some of what the watch has to tell arrives, with some of what it has told before.
    pub(super) fn watch(&mut self, node: usize) {
        self.process(node).watch_due = false;
        if self.net.is_cut(Site::Meta, Site::Node(node)) || self.troubles.outage {
            return self.break_watch(node);
        }
        let known = self.process(node).image.revision;
        let from = if self.rng.chance(50) { known.saturating_sub(self.rng.below(4)) } else { known };
        let changes = self.metadata.changes_after(from);
        let count = if self.rng.chance(200) {
            self.rng.between(0, changes.len() as u64) as usize
        } else {
            changes.len()
        };
        // What one transaction changed comes together.
        let upto = changes[..count].last().map_or(from, |change| change.revision);
        let changes: Vec<_> = changes.iter().take_while(|change| change.revision <= upto).cloned().collect();
        for change in changes {
            if change.revision > known {
                self.process(node).image.apply(&change);
            }
            if let (Key::Partition(partition), Some(Value::Partition(record))) =
                (change.key, change.value.clone())
            {
                self.observe(node, partition, record, change.revision, Origin::Watch);
            }
            if let Key::Topic(partition) = change.key {
                // Another floor, perhaps.
                self.observe_image(node, partition, Origin::Watch);
            }
            if let Key::Live(who) = change.key {
                self.live_changed(node, who, change.value.is_some());
            }
            if self.nodes[node].process.is_none() {
                return;
            }
        }
        self.image_changed(node);
        self.watch_soon(node);
    }

    fn live_changed(&mut self, node: usize, who: NodeId, here: bool) {
        let who = who.0 as usize;
        if who != node && !here {
            self.neighbour(node, who, false);
        }
    }

    /// A watch that broke is made again from a list: what happened in between is seen as its result.
    pub(super) fn break_watch(&mut self, node: usize) {
        let process = self.process(node);
        process.watching = false;
        if process.instance.is_some() && !process.is_calling(|call| matches!(call, Call::List)) {
            self.ask(node, Call::List, Request::List);
        }
    }

    pub(super) fn expire_leases(&mut self) {
        let before = self.metadata.revision();
        self.metadata.expire(self.agenda.now());
        if self.metadata.revision() != before {
            self.metadata_changed();
        }
    }

    pub(super) fn local(&self, node: usize) -> Micros {
        self.nodes[node].clock.at(self.agenda.now())
    }

    /// A process that runs: events for others never come here.
    pub(super) fn process(&mut self, node: usize) -> &mut Process {
        let process = self.nodes[node].process.as_mut();
        process.expect("events reach running processes only")
    }

    /// A new empty disk in the place of the old one.
    pub(super) fn replace_disk(&mut self, node: usize, disk: Option<crate::disk::Disk>) {
        let partitions = self.setup.partitions.len();
        let directory: DirectoryId = self.new_directory();
        let disk = disk.unwrap_or_else(|| crate::disk::Disk::new(directory, partitions));
        let lost = std::mem::replace(&mut self.nodes[node].disk, disk);
        // No copy of the lost one comes back: others may have been lost by then, as it seemed lost.
        self.nodes[node].older = None;
        self.ledger.disk_lost(lost);
        for partition in 0..partitions {
            self.ledger.disk_changed(partition);
        }
    }
}
