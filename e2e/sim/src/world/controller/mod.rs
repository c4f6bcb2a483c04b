//! The shell of the controller, in every process and active in one, or for a while in two: who holds the
//! election's key has a term (`tidelog_controller::term`), which decides. What is here brings it the news and
//! carries its decisions to stores and the metadata store, by messages that are lost, late and doubled.

mod errands;
mod feed;
mod operator;
mod pings;
mod stores;

use std::collections::BTreeMap;
use std::time::Duration;

use tidelog_controller::Options;
use tidelog_controller::term::Term;
use tidelog_model::NodeId;

use self::errands::Underway;
use self::feed::Positions;
use self::pings::Asked;
use super::World;
use super::node::{Call, NodeEvent};
use crate::agenda::{Micros, SECOND};
use crate::checks::Ledger;
use crate::message::CallId;
use crate::metadata::{Compare, Key, Put, Request, Revision, Value};

/// How long one that was cut off from the stores leaves the election to others.
const PAUSE_ISOLATED: Micros = 5 * SECOND;

#[derive(Debug, Default)]
pub(super) struct Controller {
    seat: Option<Seat>,
    /// It does not stand for election before this.
    pauses_until: Micros,
}

/// A process that believes to be the controller.
#[derive(Debug)]
struct Seat {
    /// At which the process put the election's key.
    revision: Revision,
    began: Micros,
    term: Term,
    /// How far the watches have told; `None` until everything was listed, and after a gap.
    feed: Option<Positions>,
    feed_due: bool,
    lists: bool,
    /// Listed once: from then on it decides.
    begun: bool,
    beat_at: Micros,
    asked: BTreeMap<NodeId, Asked>,
    errands: BTreeMap<CallId, Underway>,
}

impl Seat {
    fn new(revision: Revision, now: Micros, options: Options) -> Self {
        Self {
            revision,
            began: now,
            term: Term::new(options),
            feed: None,
            feed_due: false,
            lists: false,
            begun: false,
            beat_at: 0,
            asked: BTreeMap::new(),
            errands: BTreeMap::new(),
        }
    }
}

impl World {
    /// The seat of a process that runs, if it believes to have one; and the time since it has it.
    fn seat(&mut self, node: usize) -> Option<(&mut Seat, Duration)> {
        let now = self.local(node);
        let seat = self.nodes[node].process.as_mut()?.controller.seat.as_mut()?;
        let since = Duration::from_micros(now.saturating_sub(seat.began));
        Some((seat, since))
    }

    /// The same, once it has seen the cluster.
    fn active(&mut self, node: usize) -> Option<(&mut Seat, Duration)> {
        self.seat(node).filter(|(seat, _)| seat.begun)
    }

    /// The key went to this process.
    pub(super) fn won_campaign(&mut self, node: usize, revision: Revision) {
        if self.seat(node).is_some_and(|(seat, _)| seat.revision == revision) {
            return;
        }
        self.note(|| format!("n{node} is the controller (seat {revision})"));
        let (now, options) = (self.local(node), self.setup.controller);
        self.process(node).controller.seat = Some(Seat::new(revision, now, options));
        self.list_cluster(node);
    }

    /// What the watch says of the seat.
    pub(super) fn image_changed(&mut self, node: usize) {
        let process = self.process(node);
        let Some(me) = process.instance else { return };
        let held = process.controller.seat.as_ref().map(|seat| seat.revision);
        match process.image.keys.get(&Key::Controller) {
            Some((Value::Controller { node: who, boot }, revision))
                if *who == me.node() && *boot == me.boot =>
            {
                let revision = *revision;
                self.won_campaign(node, revision);
            }
            _ if held.is_some_and(|held| held <= process.image.revision) => process.controller.seat = None,
            _ => {}
        }
    }

    pub(super) fn run_controller(&mut self, node: usize) {
        self.campaign(node);
        let (now, heartbeat) = (self.local(node), self.setup.controller.heartbeat);
        let Some((seat, _)) = self.seat(node) else { return };
        if now >= seat.beat_at + heartbeat.as_micros() as Micros {
            seat.beat_at = now;
            self.heartbeat(node);
        }
    }

    fn campaign(&mut self, node: usize) {
        let now = self.local(node);
        let process = self.process(node);
        let vacant = process.listed && !process.image.keys.contains_key(&Key::Controller);
        let campaigns = process.is_calling(|call| matches!(call, Call::Campaign));
        let stands = process.controller.seat.is_none() && now >= process.controller.pauses_until;
        let (Some(lease), Some(me)) = (process.lease.id, process.instance) else { return };
        if vacant && stands && !campaigns && process.lease.announced {
            let value = Some(Value::Controller { node: me.node(), boot: me.boot });
            let puts = vec![Put { key: Key::Controller, value, lease: Some(lease) }];
            let compares = vec![Compare::Unchanged(Key::Controller, 0)];
            self.ask(node, Call::Campaign, Request::Txn { compares, puts });
        }
    }

    fn heartbeat(&mut self, node: usize) {
        let Some((seat, now)) = self.seat(node) else { return };
        if seat.term.wants_listing(now) {
            seat.feed = None;
        }
        if seat.feed.is_none() {
            self.list_cluster(node);
        }
        self.ping_all(node);
        let Some((seat, now)) = self.active(node) else { return };
        seat.term.tick(now);
        if seat.term.should_step_down(now) {
            self.step_down(node);
        } else {
            self.pass(node);
        }
    }

    /// Gives the election up.
    fn step_down(&mut self, node: usize) {
        let now = self.local(node);
        let controller = &mut self.process(node).controller;
        let Some(seat) = controller.seat.take() else { return };
        controller.pauses_until = now + PAUSE_ISOLATED;
        self.note(|| format!("n{node} is cut off from the stores and gives the election up"));
        let compares = vec![Compare::Unchanged(Key::Controller, seat.revision)];
        let puts = vec![Put { key: Key::Controller, value: None, lease: None }];
        self.ask(node, Call::Order, Request::Txn { compares, puts });
    }

    /// Plans, and begins what was decided.
    fn pass(&mut self, node: usize) {
        let Some((seat, now)) = self.active(node) else { return };
        let errands = seat.term.pass(now);
        let broken = seat.term.rules_broken();
        let verdict = Ledger::on_plan(node, broken);
        self.judge(verdict);
        self.begin(node, errands);
    }

    /// A pass is due, if the term still wants one.
    pub(super) fn pass_due(&mut self, node: usize) {
        let Some((seat, now)) = self.active(node) else { return };
        if seat.term.pass_at().is_some_and(|at| at <= now) {
            self.pass(node);
        }
    }

    /// The term knows something new: it may want to plan before its next heartbeat.
    fn news(&mut self, node: usize) {
        let Some((seat, now)) = self.active(node) else { return };
        if let Some(at) = seat.term.pass_at() {
            let wait = at.saturating_sub(now).as_micros() as Micros;
            self.later(node, wait + 1, NodeEvent::Pass);
        }
    }
}
