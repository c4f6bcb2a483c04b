use std::time::Duration;

use tidelog_meta::{Entry, Event, Leader, Live, Partition, Revision, Topic, Value as _, keys};
use tidelog_model::{
    DirectoryId, LeaderEpoch, NodeId, PartitionId, TimestampMs, TopicConfig, TopicId, TopicPartition,
};
use tidelog_peer::Pong;

use super::{Errand, Look, Term};
use crate::Options;

fn id() -> TopicPartition {
    TopicPartition::new(TopicId::from_bytes([1; 16]), PartitionId(0))
}

fn leader(node: u32) -> Leader {
    Leader { node: NodeId(node), directory: DirectoryId::from_bytes([node as u8; 16]), boot: 1 }
}

fn put(key: String, value: bytes::Bytes, revision: u64) -> Event {
    let mod_revision = Revision(revision);
    Event::Put(Entry {
        key: key.into(),
        value,
        create_revision: mod_revision,
        mod_revision,
        version: 1,
        lease: None,
    })
}

fn live(node: u32) -> Event {
    let Leader { node, directory, boot } = leader(node);
    let (address, software, roles) = (String::new(), String::new(), Vec::new());
    let live = Live { node, directory, boot, address, rack: None, software, roles, draining: false };
    put(keys::live(node).to_string(), live.encode(), 1)
}

/// Three replicas in sync, of which one is to be left.
fn shrinking() -> Term {
    let mut term = Term::new(Options::default());
    let topic = Topic::new("t".parse().unwrap(), 1, &TopicConfig::default(), TimestampMs(0));
    let record = Partition {
        epoch: LeaderEpoch(1),
        leader: Some(leader(1)),
        replicas: vec![NodeId(1), NodeId(2), NodeId(3)],
        isr: [1, 2, 3].map(|node| leader(node).replica()).to_vec(),
        removing: vec![NodeId(2), NodeId(3)],
        ..Partition::default()
    };
    let mut events: Vec<_> = [1, 2, 3].into_iter().map(live).collect();
    events.push(put(keys::topic(id().topic).to_string(), topic.encode(), 1));
    events.push(put(keys::partition(id()).to_string(), record.encode(), 2));
    term.changed(&events, Duration::ZERO);
    term
}

fn answer(term: &mut Term, boot: u64) {
    let directory = leader(1).directory;
    let pong = Pong { directory, boot, fit: true, resigned: Vec::new() };
    term.looked(NodeId(1), Look::Answered(pong), Duration::ZERO);
}

fn commits(term: &mut Term) -> bool {
    term.pass(Duration::ZERO).iter().any(|errand| matches!(errand, Errand::Commit(_)))
}

#[test]
fn an_answer_to_a_question_from_before_a_removal_vouches_for_nothing() {
    let mut term = shrinking();
    assert!(!commits(&mut term));
    answer(&mut term, 1);
    assert!(!commits(&mut term));
    answer(&mut term, 1);
    assert!(commits(&mut term));
}

#[test]
fn another_start_does_not_vouch_for_the_leader() {
    let mut term = shrinking();
    assert!(!commits(&mut term));
    (0..3).for_each(|_| answer(&mut term, 2));
    assert!(!commits(&mut term));
}
