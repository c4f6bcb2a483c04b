//! Makes things go wrong as planned, and right again.

use tidelog_meta::Replica;
use tidelog_model::{NodeId, Offset};
use tidelog_replica::{Event as Input, Role};

use super::node::NodeEvent;
use super::{Event, World};
use crate::agenda::{MS, Micros};
use crate::metadata::{Key, Stored, Value};
use crate::net::Site;
use crate::plan::Kind;

/// What is wrong at present with the way to the metadata store.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent troubles")]
pub(super) struct Troubles {
    pub lost_answers: bool,
    pub late_requests: bool,
    pub outage: bool,
    /// A leader that is cut off from all but its clients.
    pub ousted: Option<usize>,
    /// All faults are over.
    healed: bool,
}

impl World {
    pub(super) fn begin_fault(&mut self, number: usize) {
        let fault = self.setup.plan[number];
        if self.troubles.healed {
            return;
        }
        self.note(|| format!("FAULT {number} {:?} for {} ms", fault.kind, fault.lasts / MS));
        self.agenda.after(fault.lasts, Event::Relief(number));
        match fault.kind {
            Kind::Crash { node } | Kind::DiskError { node } => self.kill(node),
            Kind::PowerLoss => (0..self.nodes.len()).for_each(|node| self.kill(node)),
            Kind::Wipe { node } | Kind::OlderDisk { node } => {
                let older = matches!(fault.kind, Kind::OlderDisk { .. });
                self.lose_disk(node, older);
            }
            Kind::Pause { node } => self.nodes[node].paused = true,
            Kind::OneWay { from, to } => self.cut(from, to),
            Kind::Cut { one, other } => {
                self.cut(one, other);
                self.cut(other, one);
            }
            Kind::Isolate { node } => {
                for other in self.sites_but(node) {
                    self.cut(Site::Node(node), other);
                    self.cut(other, Site::Node(node));
                }
            }
            Kind::Storm { weather } => self.net.weather = weather,
            Kind::SlowDisk { node, slowness } => self.nodes[node].disk.slowness = slowness,
            Kind::FullDisk { node } => self.nodes[node].disk.full = true,
            Kind::LocalLost { node, partition } => self.step_replica(node, partition, Input::LocalLost),
            Kind::LostAnswers => self.troubles.lost_answers = true,
            Kind::LateRequests => self.troubles.late_requests = true,
            Kind::MetadataOutage => self.troubles.outage = true,
            Kind::BrokenWatch { node } if self.nodes[node].process.is_some() => self.break_watch(node),
            Kind::BrokenWatch { .. } => {}
            Kind::LateWatch { node } => self.nodes[node].late_watch = true,
            Kind::Usurp => self.usurp(),
            Kind::Move { partition } => self.prefer_another(partition),
            Kind::Drain { node, decommission } => self.drain(node, decommission),
            Kind::Replication { partition, replicas } => self.change_replication(partition, replicas),
            Kind::Oust { partition } => self.oust(partition),
            Kind::Resign { node } => self.step_all(node, &Input::Resign),
            Kind::Reassign { partition } => self.reassign(partition),
            Kind::Rumour { node, about } => {
                self.later(node, MS, NodeEvent::Neighbour { node: about, here: false });
            }
        }
    }

    pub(super) fn end_fault(&mut self, number: usize) {
        let fault = self.setup.plan[number];
        if self.troubles.healed {
            return;
        }
        match fault.kind {
            Kind::Crash { node }
            | Kind::DiskError { node }
            | Kind::Wipe { node }
            | Kind::OlderDisk { node } => self.start(node),
            Kind::PowerLoss => (0..self.nodes.len()).for_each(|node| self.start(node)),
            Kind::Pause { node } => self.resume(node),
            Kind::OneWay { from, to } => self.mend(from, to),
            Kind::Cut { one, other } => {
                self.mend(one, other);
                self.mend(other, one);
            }
            Kind::Isolate { node } => {
                for other in self.sites_but(node) {
                    self.mend(Site::Node(node), other);
                    self.mend(other, Site::Node(node));
                }
            }
            Kind::Storm { .. } => self.net.weather = self.setup.weather,
            Kind::SlowDisk { node, .. } => self.nodes[node].disk.slowness = 1,
            Kind::FullDisk { node } => self.nodes[node].disk.full = false,
            // A process that could not write does not go on for long.
            Kind::LocalLost { node, .. } => {
                self.kill(node);
                self.agenda.after(100 * MS, Event::Start { node });
            }
            Kind::LostAnswers => self.troubles.lost_answers = false,
            Kind::LateRequests => self.troubles.late_requests = false,
            Kind::MetadataOutage => self.troubles.outage = false,
            Kind::LateWatch { node } => self.nodes[node].late_watch = false,
            Kind::Rumour { node, about } => {
                self.later(node, MS, NodeEvent::Neighbour { node: about, here: true });
            }
            Kind::Oust { .. } => {
                if let Some(node) = self.troubles.ousted.take() {
                    self.rejoin(node);
                }
            }
            Kind::Drain { node, .. } => self.undrain(node),
            Kind::BrokenWatch { .. }
            | Kind::Replication { .. }
            | Kind::Usurp
            | Kind::Move { .. }
            | Kind::Resign { .. }
            | Kind::Reassign { .. } => {}
        }
    }

    fn sites_but(&self, node: usize) -> Vec<Site> {
        let clients = (0..self.clients.len()).map(Site::Client);
        self.stores_but(node).into_iter().chain(clients).collect()
    }

    fn cut(&mut self, from: Site, to: Site) {
        self.net.cut(from, to);
        // Whoever asks for answers notices some time, but not always.
        if let (Site::Node(from), Site::Node(to)) = (from, to)
            && self.rng.chance(500)
        {
            let after = self.rng.between(100 * MS, 800 * MS);
            self.later(to, after, NodeEvent::Neighbour { node: from, here: false });
            self.later(from, after, NodeEvent::Neighbour { node: to, here: false });
        }
    }

    fn mend(&mut self, from: Site, to: Site) {
        self.net.heal(from, to);
        if let (Site::Node(from), Site::Node(to)) = (from, to) {
            let after: Micros = self.rng.between(MS, 100 * MS);
            self.later(to, after, NodeEvent::Neighbour { node: from, here: true });
            self.later(from, after, NodeEvent::Neighbour { node: to, here: true });
        }
    }

    fn oust(&mut self, partition: usize) {
        let Some(leader) = self.metadata.partition(partition).leader else { return };
        if self.troubles.ousted.is_some() {
            return;
        }
        let node = leader.node.0 as usize;
        self.troubles.ousted = Some(node);
        for other in self.stores_but(node) {
            self.net.cut(Site::Node(node), other);
            self.net.cut(other, Site::Node(node));
        }
        // Connections that are reset are noticed soon, by whoever leads next too.
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            for after in [5, 20, 40, 80, 120, 160] {
                self.later(other, after * MS, NodeEvent::Neighbour { node, here: false });
            }
        }
    }

    fn rejoin(&mut self, node: usize) {
        for other in self.stores_but(node) {
            self.mend(Site::Node(node), other);
            self.mend(other, Site::Node(node));
        }
    }

    fn stores_but(&self, node: usize) -> Vec<Site> {
        let nodes = (0..self.nodes.len()).filter(|other| *other != node).map(Site::Node);
        nodes.chain([Site::Meta]).collect()
    }

    fn resume(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        this.paused = false;
        for event in std::mem::take(&mut this.missed) {
            self.agenda.after(0, event);
        }
    }

    /// Disks are lost one at a time: no log survives the loss of all disks that have it.
    fn lose_disk(&mut self, node: usize, older: bool) {
        let spared = (0..self.setup.partitions.len()).all(|partition| self.survives_without(node, partition));
        if !spared || (older && self.nodes[node].older.is_none()) {
            return;
        }
        let disk = if older { self.nodes[node].older.clone() } else { None };
        self.kill(node);
        self.replace_disk(node, disk);
    }

    fn survives_without(&self, node: usize, partition: usize) -> bool {
        let record = self.metadata.partition(partition);
        let others = || record.isr.iter().filter(|member| member.node.0 as usize != node);
        let there = |member: &Replica| {
            let disk = &self.nodes[member.node.0 as usize].disk;
            disk.directory == member.directory && !self.metadata.is_outdated(member.node, disk)
        };
        let concerned = record.replicas.contains(&NodeId(node as u32));
        !concerned || (self.metadata.floor(partition) >= 2 && others().count() > 0 && others().all(there))
    }

    fn usurp(&mut self) {
        if let Some(Stored { value: Value::Controller { node, .. }, .. }) =
            self.metadata.get(Key::Controller).cloned()
        {
            self.nodes[node.0 as usize].late_watch |= self.rng.chance(500);
            self.metadata.force(Key::Controller, None);
            self.metadata_changed();
        }
    }

    /// Everything that is wrong is put right, and stays so.
    pub(super) fn heal(&mut self) {
        self.note(|| "HEALED".to_owned());
        self.net.heal_all();
        self.troubles = Troubles { healed: true, ..Troubles::default() };
        for node in 0..self.nodes.len() {
            self.resume(node);
            let disk = &mut self.nodes[node].disk;
            (disk.full, disk.slowness) = (false, 1);
            self.nodes[node].late_watch = false;
            let stopped = self.nodes[node].process.as_ref().is_some_and(|process| {
                process.hosted.iter().any(|hosted| hosted.replica.role() == Role::Stopped)
            });
            if stopped {
                self.kill(node);
            }
            self.start(node);
            self.tell_everyone(node);
        }
        let partitions = 0..self.setup.partitions.len();
        self.acknowledged_ends =
            partitions.map(|partition| self.ledger.acknowledged_end(partition)).collect();
        for client in &mut self.clients {
            client.well = 0;
        }
    }

    /// No node is spared any more, whatever orders were still on their way.
    pub(super) fn undrain_all(&mut self) {
        for node in self.metadata.drained().collect::<Vec<_>>() {
            self.metadata.force(Key::Drain(node), None);
            self.metadata_changed();
        }
    }

    fn tell_everyone(&mut self, about: usize) {
        for node in (0..self.nodes.len()).filter(|node| *node != about) {
            self.later(node, 100 * MS, NodeEvent::Neighbour { node: about, here: true });
        }
    }

    /// What is not yet as it must be once all faults are healed.
    pub(super) fn not_well(&self) -> Option<String> {
        for partition in 0..self.setup.partitions.len() {
            let record = self.metadata.partition(partition);
            let in_sync = |node: &NodeId| {
                let directory = self.nodes[node.0 as usize].disk.directory;
                record.isr.contains(&Replica { node: *node, directory })
            };
            if let Some(out) = record.replicas.iter().find(|node| !in_sync(node)) {
                return Some(format!("p{partition}: n{out} is not in sync: {record:?}"));
            }
            let wanted = self.metadata.topic(partition).replication_factor as usize;
            if record.is_moving() || record.replicas.len() != wanted {
                return Some(format!("p{partition}: {wanted} replicas are wanted: {record:?}"));
            }
            let end = self.acknowledged_ends[partition];
            let behind = |position: &(usize, Offset)| position.0 == partition && position.1 < end;
            let late = self.clients.iter().filter_map(super::clients::Client::position).find(behind);
            if let Some((_, position)) = late {
                return Some(format!("p{partition}: a reader is at {position} of {end}"));
            }
        }
        let ill = self.clients.iter().position(|client| client.well < WELL);
        ill.map(|client| {
            format!("client {client} of p{}: no call goes well", self.clients[client].partition())
        })
    }

    /// The world stands as it should: the last judgement.
    pub(super) fn last_look(&self) -> Result<(), crate::checks::Violation> {
        let disks: Vec<_> = self.nodes.iter().map(|node| &node.disk).collect();
        self.ledger.last_look(&self.metadata, &disks)
    }
}

/// Calls of each client that must go well after the healing.
const WELL: u64 = 3;
