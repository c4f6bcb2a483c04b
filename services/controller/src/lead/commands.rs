//! Carrying out an operator's commands. What is refused is refused before anything is changed.

mod topics;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::FutureExt as _;
use tidelog_meta::{Compare, Drain, Entry, Event, MetaError, Op, Revision, Txn, TxnOutcome, keys};
use tidelog_model::{NodeId, TopicId, TopicPartition};
use tidelog_peer::Elected;

use super::Lead;
use super::jobs::{self, Done};
use crate::commit::{Committed, is_deposed, submit};
use crate::operator::{Command, Refusal, Reply};
use crate::orders;
use crate::plan::Change;
use crate::plan::election::Reports;
use crate::term::Errand;

impl Lead {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Status { reply } => drop(reply.send(Ok(self.status()))),
            Command::Nodes { reply } => drop(reply.send(Ok(self.nodes()))),
            Command::Partitions { query, reply } => {
                let known = query.topic.is_none_or(|topic| self.term.image().topic(topic).is_some());
                drop(reply.send(known.then(|| self.partitions(&query)).ok_or(Refusal::UnknownTopic)));
            }
            // Who is to leave for good is drained, and more.
            Command::Drain { node, reply } if self.term.world().is_decommissioned(node) => {
                drop(reply.send(Ok(())));
            }
            Command::Drain { node, reply } => {
                let checked = orders::drain(&self.term.world(), node);
                self.carry_out(checked.map(|()| self.drain(node, false)), reply);
            }
            Command::Decommission { node, reply } => {
                let checked = orders::decommission(&self.term.world(), node);
                self.carry_out(checked.map(|()| self.drain(node, true)), reply);
            }
            Command::Undrain { node, reply } => {
                let known = self.term.image().nodes.contains_key(&node).then_some(());
                let known = known.ok_or(Refusal::UnknownNode(node));
                self.carry_out(known.map(|()| vec![Txn::new().delete(&keys::drain(node))]), reply);
            }
            Command::Reassign { moves, reply } => {
                match orders::reassignments(&self.term.world(), self.term.busy(), &moves) {
                    Ok(changes) => self.commit_for(changes, reply, |_| ()),
                    Err(refusal) => drop(reply.send(Err(refusal))),
                }
            }
            Command::Rebalance { reply } => drop(reply.send(Ok(self.rebalance()))),
            Command::ElectUnclean { partitions, reply } => self.elect_unclean(partitions, reply),
            Command::SetReplicationFactor { topic, replicas, reply } => {
                let planned = self.replication_factor(topic, replicas);
                self.carry_out(planned, reply);
            }
            Command::AddPartitions { topic, partitions, reply } => {
                let planned = topics::more_partitions(&self.term.world(), topic, partitions);
                self.carry_out(planned, reply);
            }
            Command::CreateTopic { topic, reply } => self.create_topic(topic, reply),
        }
    }

    fn drain(&self, node: NodeId, decommission: bool) -> Vec<Txn> {
        let asked = self.context.clock.now();
        vec![Txn::new().put(&keys::drain(node), &Drain { decommission, asked })]
    }

    fn replication_factor(&self, topic: TopicId, replicas: u32) -> Result<Vec<Txn>, Refusal> {
        let record = orders::replication_factor(&self.term.world(), topic, replicas)?;
        let key = keys::topic(topic);
        Ok(vec![
            Txn::new().when_unchanged(&key, self.term.image().topics[&topic].revision).put(&key, &record),
        ])
    }

    fn rebalance(&mut self) -> u32 {
        let (preferred, errand) = self.term.rebalance(self.now());
        self.start(errand);
        u32::try_from(preferred).unwrap_or(u32::MAX)
    }

    fn elect_unclean(&mut self, partitions: Vec<TopicPartition>, reply: Reply<Vec<Elected>>) {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        let partitions: Vec<_> = partitions.into_iter().collect();
        let stores = match self.term.begin_unclean(&partitions) {
            Ok(stores) => stores,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        let context = Arc::clone(&self.context);
        let job = async move {
            let reports = jobs::ask(&context, stores).await;
            Done::Then(Box::new(move |lead| lead.on_unclean_reports(&partitions, &reports, reply)))
        };
        self.jobs.push(job.boxed());
    }

    fn on_unclean_reports(
        &mut self,
        partitions: &[TopicPartition],
        reports: &Reports,
        reply: Reply<Vec<Elected>>,
    ) {
        match self.term.unclean_reported(partitions, reports) {
            Ok(changes) => {
                for change in &changes {
                    let (partition, leader) = (change.partition, change.record.leader);
                    tracing::warn!(%partition, ?leader, "an operator accepts the loss of acknowledged records");
                }
                self.commit_for(changes, reply, |done| done.iter().filter_map(elected).collect());
            }
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Commits changes, and answers when that is done.
    fn commit_for<T: Send + 'static>(
        &mut self,
        changes: Vec<Change>,
        reply: Reply<T>,
        answer: impl FnOnce(&[(Change, Revision)]) -> T + Send + 'static,
    ) {
        let sound = match self.term.begin_changes(changes, self.now()) {
            Some(Errand::Commit(sound)) => sound,
            _ => Vec::new(),
        };
        let context = Arc::clone(&self.context);
        let job = async move {
            let committed = jobs::committed(&context, sound).await;
            Done::Then(Box::new(move |lead| {
                let result = refusal_of(&committed).map_or_else(|| Ok(answer(&committed.done)), Err);
                lead.on_committed(committed);
                drop(reply.send(result));
            }))
        };
        self.jobs.push(job.boxed());
    }

    /// Commits transactions one after the other, and answers when that is done.
    fn carry_out(&mut self, txns: Result<Vec<Txn>, Refusal>, reply: Reply<()>) {
        match txns {
            Ok(txns) => self.commit_all(txns, move |result| drop(reply.send(result))),
            Err(refusal) => drop(reply.send(Err(refusal))),
        }
    }

    /// Commits transactions one after the other until one fails, each only while this is the controller.
    fn commit_all(&mut self, txns: Vec<Txn>, answer: impl FnOnce(Result<(), Refusal>) + Send + 'static) {
        let context = Arc::clone(&self.context);
        let job = async move {
            let mut events = Vec::new();
            let mut result = Ok(());
            for txn in txns {
                let ops = txn.ops.clone();
                let txn = guarded(txn, context.leadership.compare());
                match submit(&*context.meta, txn, context.options.commit_wait).await {
                    Ok(TxnOutcome::Committed(revision)) => {
                        events.extend(ops.into_iter().map(|op| event(op, revision)));
                    }
                    Ok(TxnOutcome::Conflict(_)) if is_deposed(&*context.meta, &context.leadership).await => {
                        result = Err(Refusal::NotController { controller: None });
                    }
                    Ok(TxnOutcome::Conflict(_)) => result = Err(Refusal::Conflict),
                    Err(MetaError::OutcomeUnknown(_)) => result = Err(Refusal::OutcomeUnknown),
                    Err(error) => result = Err(Refusal::Metadata(error)),
                }
                if result.is_err() {
                    break;
                }
            }
            Done::Then(Box::new(move |lead| {
                lead.term.carried_out(&events, result.is_ok(), lead.now());
                answer(result);
            }))
        };
        self.jobs.push(job.boxed());
    }
}

/// The transaction with the election's comparison in front.
fn guarded(mut txn: Txn, election: Compare) -> Txn {
    txn.compares.insert(0, election);
    txn
}

/// What a watch will say of an operation that was committed.
fn event(op: Op, revision: Revision) -> Event {
    match op {
        Op::Put { key, value, lease } => Event::Put(Entry {
            key: key.into(),
            value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease,
        }),
        Op::Delete { key } => Event::Delete { key: key.into(), revision },
    }
}

fn refusal_of(committed: &Committed) -> Option<Refusal> {
    let is_whole = !committed.deposed
        && committed.conflicts.is_empty()
        && committed.unknown.is_empty()
        && committed.unavailable.is_empty();
    if is_whole {
        None
    } else if !committed.done.is_empty() {
        Some(Refusal::InPart)
    } else if committed.deposed {
        Some(Refusal::NotController { controller: None })
    } else if !committed.unknown.is_empty() {
        Some(Refusal::OutcomeUnknown)
    } else if let Some(error) = &committed.error {
        Some(Refusal::Metadata(error.clone()))
    } else {
        Some(Refusal::Conflict)
    }
}

fn elected((change, _): &(Change, Revision)) -> Option<Elected> {
    let node = change.record.leader?.node;
    Some(Elected { partition: change.partition, node, epoch: change.record.epoch })
}
