//! What a term wants done: asking stores, telling leaders, committing.

use std::collections::BTreeSet;

use tidelog_controller::Committed;
use tidelog_controller::plan::Change;
use tidelog_controller::plan::election::Reports;
use tidelog_controller::plan::leadership::Move;
use tidelog_controller::term::Errand;
use tidelog_meta::Revision as Mark;
use tidelog_model::{NodeId, TopicPartition};
use tidelog_peer::LogReports;

use super::super::World;
use super::super::node::{Call, NodeEvent};
use crate::agenda::{MS, Micros};
use crate::message::{CallId, Message};
use crate::metadata::{Compare, Key, Put, Request, Response, Revision, Value, partition_number};
use crate::net::Site;

/// An errand that waits for answers.
#[derive(Debug)]
pub(super) enum Underway {
    Ask { partitions: Vec<TopicPartition>, reports: Reports, silent: BTreeSet<NodeId> },
    HandOver { moves: Vec<Move>, silent: BTreeSet<NodeId> },
}

impl Underway {
    fn silent(&mut self) -> &mut BTreeSet<NodeId> {
        match self {
            Self::Ask { silent, .. } | Self::HandOver { silent, .. } => silent,
        }
    }
}

impl World {
    pub(super) fn begin(&mut self, node: usize, errands: impl IntoIterator<Item = Errand>) {
        let options = self.setup.controller;
        for errand in errands {
            self.note(|| format!("n{node} decides: {errand:?}"));
            match errand {
                Errand::Ask { partitions, stores } => {
                    let asked = stores.into_iter().map(|(live, wanted)| (live.node, wanted)).collect();
                    let underway = |silent| Underway::Ask { partitions, reports: Reports::default(), silent };
                    let message = |call, partitions| Message::Report { call, partitions };
                    self.run_errand(node, asked, options.report_wait.as_micros(), underway, message);
                }
                Errand::HandOver { moves, leaders } => {
                    let told = leaders.into_iter().map(|(live, wanted)| (live.node, wanted)).collect();
                    let token = self.seat(node).map_or(0, |(seat, _)| seat.revision);
                    let underway = |silent| Underway::HandOver { moves, silent };
                    let message = |call, requests| Message::HandOver { call, token, requests };
                    self.run_errand(node, told, options.hand_over_wait.as_micros(), underway, message);
                }
                Errand::Commit(changes) => self.commit(node, changes),
            }
        }
    }

    fn run_errand<T>(
        &mut self,
        node: usize,
        stores: Vec<(NodeId, T)>,
        wait: u128,
        underway: impl FnOnce(BTreeSet<NodeId>) -> Underway,
        message: impl Fn(CallId, T) -> Message,
    ) {
        let call = self.new_call();
        let silent = stores.iter().map(|(store, _)| *store).collect();
        if let Some((seat, _)) = self.seat(node) {
            seat.errands.insert(call, underway(silent));
        }
        // Nobody to ask is an answer, too.
        let wait = if stores.is_empty() { 1 } else { wait as Micros };
        self.later(node, wait, NodeEvent::ErrandOver(call));
        for (store, what) in stores {
            let to = store.0 as usize;
            if self.rng.chance(self.setup.deaf) {
                continue;
            }
            self.send(Site::Node(node), Site::Node(to), message(call, what));
            if self.is_refused(node, to) {
                self.later(node, MS, NodeEvent::ErrandRefused { call, by: store });
            }
        }
    }

    pub(in super::super) fn take_reports(
        &mut self,
        node: usize,
        from: Site,
        call: CallId,
        reports: &LogReports,
    ) {
        let Site::Node(from) = from else { return };
        let by = NodeId(from as u32);
        let Some((seat, _)) = self.active(node) else { return };
        if let Some(Underway::Ask { reports: all, .. }) = seat.errands.get_mut(&call) {
            all.add(by, reports);
        }
        self.errand_answered(node, call, by);
    }

    /// A store has answered, or cannot be reached.
    pub(in super::super) fn errand_answered(&mut self, node: usize, call: CallId, by: NodeId) {
        let Some((seat, _)) = self.active(node) else { return };
        let Some(underway) = seat.errands.get_mut(&call) else { return };
        underway.silent().remove(&by);
        if underway.silent().is_empty() {
            self.errand_over(node, call);
        }
    }

    /// Everyone has answered, or had their time to.
    pub(in super::super) fn errand_over(&mut self, node: usize, call: CallId) {
        let Some((seat, now)) = self.active(node) else { return };
        let next = match seat.errands.remove(&call) {
            Some(Underway::Ask { partitions, reports, .. }) => seat.term.reported(&partitions, &reports, now),
            Some(Underway::HandOver { moves, .. }) => seat.term.handed_over(&moves, now),
            None => return,
        };
        self.begin(node, next);
        self.news(node);
    }

    fn commit(&mut self, node: usize, changes: Vec<Change>) {
        let Some((seat, _)) = self.seat(node) else { return };
        let seat = seat.revision;
        let mut compares = vec![Compare::Unchanged(Key::Controller, seat)];
        let mut puts = Vec::new();
        for change in &changes {
            let key = Key::Partition(partition_number(change.partition));
            compares.push(Compare::Unchanged(key, change.planned_from.0));
            puts.push(Put { key, value: Some(Value::Partition(change.record.clone())), lease: None });
        }
        self.ask(node, Call::Commit { seat, changes }, Request::Txn { compares, puts });
    }

    /// What became of a commit; `None` when nobody knows.
    pub(in super::super) fn committed(
        &mut self,
        node: usize,
        committed_by: Revision,
        mut changes: Vec<Change>,
        response: Option<&Response>,
    ) {
        let Some((seat, now)) = self.active(node).filter(|(seat, _)| seat.revision == committed_by) else {
            return;
        };
        let mut committed = Committed::default();
        let partitions = changes.iter().map(|change| change.partition).collect();
        match response {
            Some(Response::Committed(at)) => {
                committed.done = changes.into_iter().map(|change| (change, Mark(*at))).collect();
            }
            // A conflict is narrowed down to what it is about.
            Some(_) if changes.len() > 1 => {
                let rest = changes.split_off(changes.len() / 2);
                self.commit(node, changes);
                self.commit(node, rest);
                return;
            }
            Some(_) => committed.conflicts = partitions,
            None => committed.unknown = partitions,
        }
        seat.term.committed(committed, now);
        self.news(node);
    }
}
