//! Who is told to be here and gone, and when.

use tidelog_model::NodeId;
use tidelog_replica::Instance;

use super::{Cluster, Told};
use crate::PeerAddress;
use crate::tests::values::{RECORDS, ack, beat, lead};
use crate::tests::{instance, partition};

const HERE: Told = Told::Here(NodeId(2));
const GONE: Told = Told::Gone(NodeId(2));

#[tokio::test]
async fn a_store_that_was_killed_is_gone_until_it_is_back() {
    let cluster = Cluster::new();
    let mut leader = cluster.start(instance(1));
    // An address that no other test takes a port of: it is left and taken again.
    let follower = cluster.start_at(instance(2), "127.0.0.2:0".parse().unwrap());
    leader.sees(&[follower.address()]);
    assert_eq!(leader.next().await, HERE);
    let addr = follower.stop().await;
    assert_eq!(leader.next().await, GONE);

    // At its address again: found without news of it, and answers as the start that it is.
    let second = Instance { boot: 4, ..instance(2) };
    let mut follower = cluster.start_at(second, addr);
    assert_eq!(leader.next().await, HERE);
    leader.mesh.lead(NodeId(2), partition(1), lead(1));
    follower.next().await;
    follower.mesh.ack(NodeId(1), partition(1), ack(1, true, 1));
    let Told::Ack(_, acked) = leader.next().await else { panic!("no acknowledgement") };
    assert_eq!(acked.from, second);
    // The news comes later, and changes nothing.
    leader.sees(&[follower.address()]);
    assert_eq!(leader.mesh.counts().lanes_opened, 2);
    follower.stop().await;
    assert_eq!(leader.next().await, GONE);

    // Somewhere else, as the news say.
    let follower = cluster.start(Instance { boot: 5, ..instance(2) });
    leader.sees(&[follower.address()]);
    assert_eq!(leader.next().await, HERE);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn a_later_start_is_connected_to_although_the_lane_is_open() {
    let cluster = Cluster::new();
    let (mut leader, follower) = cluster.pair().await;
    let later = cluster.start(Instance { boot: 9, ..instance(2) });
    leader.sees(&[later.address()]);
    assert_eq!(leader.next().await, HERE);
    leader.push(1, 1, 0, RECORDS);
    let mut later = later;
    assert_eq!(later.next_batch().await, (1, 0));
    for store in [leader, follower, later] {
        store.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_nobody_knows_is_gone_and_never_from_within_the_call() {
    let mut store = Cluster::new().start(instance(1));
    for _ in 0..2 {
        {
            let _lock = store.played.lock.lock();
            store.mesh.lead(NodeId(2), partition(1), lead(1));
            store.mesh.beat(NodeId(2), partition(1), beat(1));
            store.push(1, 1, 0, RECORDS);
        }
        assert_eq!(store.next().await, GONE);
    }
    // Nobody waits for these.
    store.mesh.ack(NodeId(2), partition(1), ack(1, true, 1));
    let counts = store.mesh.counts();
    assert_eq!((counts.queued_partitions, counts.dropped_answers), (0, 1));
    store.stop().await;
}

#[tokio::test]
async fn a_node_that_leaves_the_cluster_is_gone() {
    let (mut leader, follower) = Cluster::new().pair().await;
    leader.sees(&[]);
    assert_eq!(leader.next().await, GONE);
    leader.mesh.lead(NodeId(2), partition(1), lead(1));
    assert_eq!(leader.next().await, GONE);
    leader.sees(&[follower.address()]);
    assert_eq!(leader.next().await, HERE);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn a_node_that_cannot_be_reached_is_gone_whenever_it_is_written_to() {
    let cluster = Cluster::new();
    let mut leader = cluster.start(instance(1));
    let dead = cluster.start_at(instance(2), "127.0.0.3:0".parse().unwrap());
    let address = dead.address();
    dead.stop().await;
    leader.sees(&[address]);
    assert_eq!(leader.next().await, GONE);
    leader.mesh.lead(NodeId(2), partition(1), lead(1));
    assert_eq!(leader.next().await, GONE);
    leader.stop().await;
}

#[tokio::test]
async fn who_answers_for_another_node_is_not_that_node() {
    let cluster = Cluster::new();
    let (mut leader, other) = (cluster.start(instance(1)), cluster.start(instance(3)));
    leader.sees(&[PeerAddress { instance: instance(2), ..other.address() }]);
    assert_eq!(leader.next().await, GONE);
    leader.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn shutting_down_ends_all_tasks_whatever_is_under_way() {
    let cluster = Cluster { takes: false, ..Cluster::new() };
    let (leader, follower) = cluster.pair().await;
    leader.push(1, 1, 0, 1000 * RECORDS);
    leader.push(super::ON_DISK, 1, 0, RECORDS);
    let unreachable = PeerAddress { address: "127.0.0.3:1".to_owned(), instance: instance(3) };
    leader.sees(&[follower.address(), unreachable]);
    // Each asserts that its tasks have ended.
    follower.stop().await;
    leader.stop().await;
}
