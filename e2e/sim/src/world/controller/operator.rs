//! What operators order, by way of whoever believes to be the controller. What speaks against it, the real
//! controller says.

use tidelog_controller::orders;
use tidelog_controller::term::Term;
use tidelog_meta::Drain;
use tidelog_model::{NodeId, TimestampMs};
use tidelog_peer::Reassignment;

use super::super::World;
use super::super::node::Call;
use crate::metadata::{Compare, Key, Put, Request, Value, partition_id};

impl World {
    fn seats(&mut self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.active(*node).is_some()).collect()
    }

    /// One change of one key, if the term finds nothing against it.
    fn order(&mut self, key: Key, ordered: impl Fn(&Term) -> Option<(Option<Value>, Vec<Compare>)>) {
        for node in self.seats() {
            let Some((seat, _)) = self.active(node) else { continue };
            let Some((value, mut compares)) = ordered(&seat.term) else { continue };
            compares.push(Compare::Unchanged(Key::Controller, seat.revision));
            self.note(|| format!("n{node} is ordered {key:?}: {value:?}"));
            let puts = vec![Put { key, value, lease: None }];
            self.ask(node, Call::Order, Request::Txn { compares, puts });
        }
    }

    /// A node is to lead nothing, or to leave for good.
    pub(in super::super) fn drain(&mut self, node: usize, decommission: bool) {
        let id = self.nodes[node].id;
        self.order(Key::Drain(id), |term| {
            let check = if decommission { orders::decommission } else { orders::drain };
            check(&term.world(), id).ok()?;
            Some((Some(Value::Drain(Drain { decommission, asked: TimestampMs(0) })), Vec::new()))
        });
    }

    pub(in super::super) fn undrain(&mut self, node: usize) {
        self.order(Key::Drain(self.nodes[node].id), |_| Some((None, Vec::new())));
    }

    /// A partition is to have another number of replicas, as far as there are nodes.
    pub(in super::super) fn change_replication(&mut self, partition: usize, replicas: u32) {
        self.order(Key::Topic(partition), |term| {
            let topic = partition_id(partition).topic;
            let record = orders::replication_factor(&term.world(), topic, replicas).ok()?;
            let known = term.image().topics.get(&topic)?.revision;
            let compares = vec![Compare::Unchanged(Key::Topic(partition), known.0)];
            Some((Some(Value::Topic(record)), compares))
        });
    }

    /// A partition is to have its replicas on any nodes.
    pub(in super::super) fn reassign(&mut self, partition: usize) {
        let wanted = self.metadata.topic(partition).replication_factor as usize;
        let mut nodes: Vec<NodeId> = self.nodes.iter().map(|node| node.id).collect();
        for place in 0..nodes.len() {
            let other = place + self.rng.index(nodes.len() - place);
            nodes.swap(place, other);
        }
        nodes.truncate(wanted);
        self.order_replicas(partition, &nodes);
    }

    /// Another replica of a partition is to be the preferred leader.
    pub(in super::super) fn prefer_another(&mut self, partition: usize) {
        let record = self.metadata.partition(partition);
        let mut nodes = tidelog_controller::plan::reassignment::target_of(record);
        let leader = record.leader.map(|leader| leader.node);
        let others: Vec<usize> = (0..nodes.len()).filter(|at| Some(nodes[*at]) != leader).collect();
        if let Some(next) = self.rng.pick(&others) {
            nodes.swap(0, next);
            self.order_replicas(partition, &nodes);
        }
    }

    fn order_replicas(&mut self, partition: usize, nodes: &[NodeId]) {
        let moves = [Reassignment { partition: partition_id(partition), replicas: nodes.to_vec() }];
        for node in self.seats() {
            let Some((seat, now)) = self.active(node) else { continue };
            let changes = orders::reassignments(&seat.term.world(), seat.term.busy(), &moves);
            let Ok(changes) = changes else { continue };
            let (mut errand, mut balanced) = (seat.term.begin_changes(changes, now), None);
            if errand.is_none() {
                // It is as ordered; the leadership may not be.
                balanced = seat.term.rebalance(now).1;
            }
            self.begin(node, errand.take().into_iter().chain(balanced.take()));
        }
    }
}
