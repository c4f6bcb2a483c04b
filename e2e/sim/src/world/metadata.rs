//! The way to the metadata store and back: where requests are late, answers get lost, and a question that
//! got no answer may have been heard all the same, now or later.

use tidelog_replica::{EpochStart, Event as Input, IsrOutcome, Origin};

use super::World;
use super::node::{Call, NodeEvent};
use crate::message::{CallId, Message};
use crate::metadata::{Request, Response, Stored, Value};
use crate::net::Site;

impl World {
    pub(super) fn ask(&mut self, node: usize, call: Call, request: Request) {
        let id = self.new_call();
        self.process(node).calls.insert(id, call);
        let patience = self.setup.patience;
        self.later(node, patience, NodeEvent::Timeout(id));
        let message = Message::Ask { call: id, request };
        if self.troubles.late_requests
            && self.rng.chance(300)
            && !self.net.is_cut(Site::Node(node), Site::Meta)
        {
            let late = self.rng.between(patience / 2, 6 * patience);
            self.agenda.after(late, super::Event::Arrive { from: Site::Node(node), to: Site::Meta, message });
            return;
        }
        self.send(Site::Node(node), Site::Meta, message);
    }

    pub(super) fn serve_metadata(&mut self, from: Site, call: CallId, request: &Request) {
        if self.troubles.outage {
            return;
        }
        let before = self.metadata.revision();
        let response = self.metadata.handle(request, self.agenda.now());
        if self.metadata.revision() != before {
            self.note(|| format!("meta @{}: {request:?}", self.metadata.revision()));
            self.metadata_changed();
        }
        if self.troubles.lost_answers && self.rng.chance(500) {
            return;
        }
        self.send(Site::Meta, from, Message::Answer { call, response });
    }

    pub(super) fn metadata_answer(&mut self, node: usize, call: CallId, response: Response) {
        let Some(call) = self.process(node).calls.remove(&call) else { return };
        if let Call::Commit { seat, changes } = call {
            return self.committed(node, seat, changes, Some(&response));
        }
        match (&call, response) {
            (Call::ReadIdentity, Response::Got(stored)) => self.identify(node, stored),
            (Call::Claim { boot }, Response::Committed(revision)) => self.registered(node, *boot, revision),
            (Call::Claim { .. }, _) => self.read_identity(node),
            (Call::List, Response::Listed { revision, entries }) => self.listed(node, revision, entries),
            (Call::Grant | Call::Announce { .. } | Call::KeepAlive { .. }, response) => {
                self.lease_answer(node, &call, &response);
            }
            (Call::Campaign, Response::Committed(revision)) => self.won_campaign(node, revision),
            (Call::ListCluster { seat }, Response::Listed { revision, entries }) => {
                self.cluster_listed(node, *seat, Some((revision, entries)));
            }
            (Call::ProposeIsr { partition, ticket }, response) => {
                let outcome = match response {
                    Response::Committed(revision) => IsrOutcome::Committed { revision },
                    _ => IsrOutcome::Conflict,
                };
                self.step_replica(node, *partition, Input::IsrChange { ticket: *ticket, outcome });
            }
            (
                Call::ReadBack { partition },
                Response::Got(Some(Stored { value: Value::Partition(record), revision, .. })),
            ) => self.observe(node, *partition, record, revision, Origin::Read),
            (Call::ReadTiered { partition }, Response::Got(stored)) => {
                self.answer_tiered(node, *partition, stored);
            }
            (Call::ReadPointer { partition }, Response::Got(stored)) => {
                self.pointer_read(node, *partition, stored.as_ref());
            }
            (Call::CommitPointer { partition }, _) => self.stop_offloading(node, *partition),
            _ => {}
        }
    }

    fn read_identity(&mut self, node: usize) {
        let key = crate::metadata::Key::Node(self.nodes[node].id);
        self.ask(node, Call::ReadIdentity, Request::Get(key));
    }

    pub(super) fn answer_tiered(&mut self, node: usize, partition: usize, stored: Option<Stored>) {
        let (end, history): (_, Vec<EpochStart>) = match stored.map(|stored| stored.value) {
            Some(Value::Pointer(pointer)) => {
                (pointer.tiered_end, self.bucket.root(pointer.root).epochs.clone())
            }
            _ => (tidelog_model::Offset::ZERO, Vec::new()),
        };
        self.step_replica(node, partition, Input::Tiered { end, history });
    }

    pub(super) fn call_timed_out(&mut self, node: usize, id: CallId) {
        let Some(call) = self.process(node).calls.remove(&id) else { return };
        match call {
            Call::ReadIdentity | Call::Claim { .. } => self.read_identity(node),
            Call::List => self.break_watch(node),
            Call::ListCluster { seat } => self.cluster_listed(node, seat, None),
            Call::Commit { seat, changes } => self.committed(node, seat, changes, None),
            Call::ProposeIsr { partition, ticket } => {
                self.note(|| format!("n{node} p{partition} {ticket:?}: outcome unknown"));
                let outcome = IsrOutcome::Unknown;
                self.step_replica(node, partition, Input::IsrChange { ticket, outcome });
            }
            Call::CommitPointer { partition } | Call::ReadPointer { partition } => {
                self.stop_offloading(node, partition);
            }
            // Asked again by whoever needs it.
            Call::Grant
            | Call::Announce { .. }
            | Call::KeepAlive { .. }
            | Call::Campaign
            | Call::Order
            | Call::ReadBack { .. }
            | Call::ReadTiered { .. } => {}
        }
    }
}
