//! A model of the controller, in every process and active in one, or for a while in two: who holds the
//! election key decides, and every decision compares that key and the record that it changes.

use std::collections::BTreeMap;

use tidelog_model::{DirectoryId, LeaderEpoch, NodeId};
use tidelog_replica::{Instance, Record, ReplicaId};

use super::World;
use super::node::{Call, Hosted, Image, Process};
use crate::agenda::{MS, Micros};
use crate::message::{Message, Pong, Report};
use crate::metadata::{Compare, Key, Put, Request, Revision, Value};
use crate::net::Site;

/// How often it asks every store how it is.
const PING_EVERY: Micros = 200 * MS;
/// A store that has not answered for five pings is dead.
const SILENCE_MAX: Micros = 5 * PING_EVERY;

#[derive(Debug, Default)]
pub(super) struct Controller {
    /// The revision at which this process put the election key.
    seat: Option<Revision>,
    pinged_at: Micros,
    round: u64,
    heard: BTreeMap<usize, Heard>,
    elections: BTreeMap<usize, Election>,
    /// Leaderships to move although nothing is wrong with them.
    pub moves: Vec<usize>,
    /// How long reports are collected for an election.
    collect: Micros,
}

#[derive(Debug)]
struct Heard {
    at: Micros,
    round: u64,
    pong: Pong,
}

#[derive(Clone, Copy, Debug)]
struct Election {
    began: Micros,
    round: u64,
    decided: bool,
}

impl World {
    pub(super) fn answer_ping(&mut self, node: usize, from: Site, round: u64) {
        let process = self.process(node);
        let Some(me) = process.instance else { return };
        let Instance { replica, boot } = me;
        let report = |hosted: &Hosted| {
            let report = hosted.replica.report();
            Report {
                last_epoch: report.last_epoch.unwrap_or_default(),
                log_end: report.log_end,
                resigned: hosted.resigned.max(declined(hosted, me)),
            }
        };
        let partitions = process.hosted.iter().map(report).collect();
        let pong = Pong { directory: replica.directory, boot, partitions };
        self.send(Site::Node(node), from, Message::Pong { round, pong });
    }

    pub(super) fn take_pong(&mut self, node: usize, from: Site, round: u64, pong: Pong) {
        let (now, Site::Node(from)) = (self.local(node), from) else { return };
        let heard = &mut self.process(node).controller.heard;
        if heard.get(&from).is_none_or(|heard| heard.round <= round) {
            heard.insert(from, Heard { at: now, round, pong });
        }
        self.decide_all(node);
    }

    /// The key went to this process.
    pub(super) fn won_campaign(&mut self, node: usize, revision: Revision) {
        self.process(node).controller.seat = Some(revision);
        self.note(|| format!("n{node} is the controller (seat {revision})"));
    }

    /// A decision is made, lost, or of unknown outcome: what is next, the record says.
    pub(super) fn decided(&mut self, node: usize, partition: usize) {
        self.process(node).controller.elections.remove(&partition);
    }

    /// What the watch says of the seat.
    pub(super) fn image_changed(&mut self, node: usize) {
        let process = self.process(node);
        let Some(me) = process.instance else { return };
        let seat = process.image.keys.get(&Key::Controller);
        let mine = match seat {
            Some((Value::Controller { node, boot }, revision)) if *node == me.node() && *boot == me.boot => {
                Some(*revision)
            }
            _ => None,
        };
        let older = |seat: Revision| seat <= process.image.revision;
        if mine.is_some() || process.controller.seat.is_some_and(older) {
            process.controller.seat = mine;
        }
    }

    pub(super) fn run_controller(&mut self, node: usize) {
        self.campaign(node);
        let now = self.local(node);
        let controller = &mut self.process(node).controller;
        if controller.seat.is_none() {
            controller.elections.clear();
            controller.heard.clear();
            return;
        }
        if now >= controller.pinged_at + PING_EVERY {
            self.ping_all(node);
        }
        self.decide_all(node);
    }

    fn campaign(&mut self, node: usize) {
        let process = self.process(node);
        let vacant = process.listed && !process.image.keys.contains_key(&Key::Controller);
        let campaigns = process.is_calling(|call| matches!(call, Call::Campaign));
        let (Some(lease), Some(me)) = (process.lease.id, process.instance) else { return };
        if vacant && !campaigns && process.controller.seat.is_none() && process.lease.announced {
            let value = Some(Value::Controller { node: me.node(), boot: me.boot });
            let puts = vec![Put { key: Key::Controller, value, lease: Some(lease) }];
            let compares = vec![Compare::Unchanged(Key::Controller, 0)];
            self.ask(node, Call::Campaign, Request::Txn { compares, puts });
        }
    }

    fn ping_all(&mut self, node: usize) {
        let now = self.local(node);
        let controller = &mut self.process(node).controller;
        controller.pinged_at = now;
        controller.round += 1;
        let round = controller.round;
        for to in 0..self.nodes.len() {
            self.send(Site::Node(node), Site::Node(to), Message::Ping { round });
        }
    }

    fn decide_all(&mut self, node: usize) {
        for partition in 0..self.setup.partitions.len() {
            self.decide(node, partition);
        }
    }

    fn decide(&mut self, node: usize, partition: usize) {
        let now = self.local(node);
        let floor = self.setup.partitions[partition].floor;
        let (drops_dead, anyone) = (self.rng.chance(300), self.rng.chance(300).then(|| self.rng.draw()));
        let process = self.process(node);
        let Process { controller, image, .. } = process;
        let Some(seat) = controller.seat else { return };
        let Some((Value::Partition(record), revision)) = image.keys.get(&Key::Partition(partition)) else {
            return;
        };
        let decision = match controller.elections.get(&partition) {
            Some(election) if election.decided => return,
            Some(election) => match controller.elect(image, partition, record, *election, anyone, now) {
                Verdict::Wait => return,
                Verdict::Nobody => {
                    controller.elections.remove(&partition);
                    return;
                }
                Verdict::Leader(leader) => {
                    let mut elected =
                        Record { epoch: record.epoch.next(), leader: Some(leader), ..record.clone() };
                    if drops_dead {
                        controller.drop_dead(image, &mut elected, floor, now);
                    }
                    elected
                }
            },
            None => match controller.wants(image, partition, record, now) {
                Wish::Nothing => return,
                Wish::Election => {
                    let election = Election { began: now, round: controller.round + 1, decided: false };
                    controller.elections.insert(partition, election);
                    return self.ping_all(node);
                }
                Wish::Shed(record) => record,
            },
        };
        let compares = vec![
            Compare::Unchanged(Key::Controller, seat),
            Compare::Unchanged(Key::Partition(partition), *revision),
        ];
        let election = Election { began: now, round: 0, decided: true };
        controller.elections.insert(partition, election);
        let value = Some(Value::Partition(decision));
        let puts = vec![Put { key: Key::Partition(partition), value, lease: None }];
        self.ask(node, Call::Decide { partition }, Request::Txn { compares, puts });
    }

    /// Asks whoever believes to be the controller to move a leadership.
    pub(super) fn ask_to_move(&mut self, partition: usize) {
        for node in 0..self.nodes.len() {
            let process = self.nodes[node].process.as_mut();
            if let Some(process) = process.filter(|process| process.controller.seat.is_some()) {
                process.controller.moves.push(partition);
                self.decide(node, partition);
            }
        }
    }
}

/// The epoch that this process leads by the record and not by itself.
fn declined(hosted: &Hosted, me: Instance) -> Option<LeaderEpoch> {
    let record = hosted.replica.record();
    let named = record.leader == Some(me) && hosted.replica.report().leading != Some(record.epoch);
    named.then_some(record.epoch)
}

enum Wish {
    Nothing,
    /// Somebody else is to lead, or somebody at all.
    Election,
    /// A reassignment is complete: this record leaves the old replicas out.
    Shed(Record),
}

enum Verdict {
    /// Reports are missing.
    Wait,
    /// Nobody may lead.
    Nobody,
    Leader(Instance),
}

impl Controller {
    pub(super) fn new(collect: Micros) -> Self {
        Self { collect, ..Self::default() }
    }

    fn wants(&mut self, image: &Image, partition: usize, record: &Record, now: Micros) -> Wish {
        let Some(leader) = record.leader else { return Wish::Election };
        if let Some(at) = self.moves.iter().position(|moved| *moved == partition) {
            self.moves.swap_remove(at);
            return Wish::Election;
        }
        if !self.is_well(image, leader.replica, Some(leader.boot), now) {
            return Wish::Election;
        }
        let heard = &self.heard[&(leader.node().0 as usize)];
        if heard.pong.partitions.get(partition).and_then(|report| report.resigned) >= Some(record.epoch) {
            return Wish::Election;
        }
        Self::reassignment(record, leader)
    }

    /// More replicas than there should be: the first are to go once the others are in sync.
    fn reassignment(record: &Record, leader: Instance) -> Wish {
        let wanted = record.isr.len().min(record.replicas.len());
        let surplus = record.replicas.len().saturating_sub(REPLICAS_MAX);
        if surplus == 0 || wanted < record.replicas.len() {
            return Wish::Nothing;
        }
        let gone: Vec<NodeId> = record.replicas[..surplus].to_vec();
        if gone.contains(&leader.node()) {
            return Wish::Election;
        }
        let mut shed = record.clone();
        shed.replicas.retain(|node| !gone.contains(node));
        shed.isr.retain(|member| !gone.contains(&member.node));
        Wish::Shed(shed)
    }

    /// Whether a replica's process is there, as far as leases and pings tell.
    fn is_well(&self, image: &Image, replica: ReplicaId, boot: Option<u64>, now: Micros) -> bool {
        let live: Option<(DirectoryId, u64)> = match image.keys.get(&Key::Live(replica.node)) {
            Some((Value::Live { directory, boot }, _)) => Some((*directory, *boot)),
            _ => None,
        };
        let heard = self.heard.get(&(replica.node.0 as usize)).filter(|heard| now < heard.at + SILENCE_MAX);
        let answers = heard.is_some_and(|heard| {
            heard.pong.directory == replica.directory && boot.is_none_or(|boot| boot == heard.pong.boot)
        });
        let lives = live.is_some_and(|(directory, at)| {
            directory == replica.directory && boot.is_none_or(|boot| boot == at)
        });
        answers && lives
    }

    /// The highest (last epoch, log end) among those that answered since the election began; or, with
    /// `anyone`, as if only that one had answered.
    fn elect(
        &self,
        image: &Image,
        partition: usize,
        record: &Record,
        election: Election,
        anyone: Option<u64>,
        now: Micros,
    ) -> Verdict {
        let reports: Vec<(ReplicaId, u64, Report)> = record
            .isr
            .iter()
            .filter_map(|member| {
                let heard = self.heard.get(&(member.node.0 as usize))?;
                let fresh = heard.round >= election.round && heard.pong.directory == member.directory;
                let report = *heard.pong.partitions.get(partition)?;
                fresh.then_some((*member, heard.pong.boot, report))
            })
            .collect();
        if reports.len() < record.isr.len() && now < election.began + self.collect {
            return Verdict::Wait;
        }
        let fit = |replica: ReplicaId, boot: u64| self.is_well(image, replica, Some(boot), now);
        // Who has just given leadership up, or is about to leave, leads only if nobody else can.
        let reluctant = |replica: ReplicaId, report: &Report| {
            let leaves =
                record.replicas.len() > REPLICAS_MAX && record.replicas.first() == Some(&replica.node);
            let resigned = report.resigned.is_some_and(|epoch: LeaderEpoch| epoch == record.epoch);
            resigned || leaves
        };
        let fit: Vec<_> = reports.iter().filter(|(replica, boot, _)| fit(*replica, *boot)).collect();
        let best = match anyone {
            Some(ticket) if !fit.is_empty() => fit.get(ticket as usize % fit.len()),
            _ => fit.iter().max_by_key(|(replica, _, report)| {
                (!reluctant(*replica, report), report.last_epoch, report.log_end)
            }),
        };
        best.map_or(Verdict::Nobody, |(replica, boot, _)| {
            Verdict::Leader(Instance { replica: *replica, boot: *boot })
        })
    }

    /// Leaves members of the ISR that are dead out of it, never below the floor.
    fn drop_dead(&self, image: &Image, record: &mut Record, floor: usize, now: Micros) {
        let leader = record.leader.map(|leader| leader.replica);
        let dead: Vec<ReplicaId> = record
            .isr
            .iter()
            .copied()
            .filter(|member| Some(*member) != leader && !self.is_well(image, *member, None, now))
            .collect();
        for member in dead {
            if record.isr.len() > floor.max(1) {
                record.isr.retain(|kept| *kept != member);
            }
        }
    }
}

/// Replicas of a partition beyond these are there for a reassignment.
pub(super) const REPLICAS_MAX: usize = 3;
