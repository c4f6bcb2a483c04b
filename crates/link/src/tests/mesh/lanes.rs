//! What goes over the lanes, and in which order.

use std::collections::HashMap;

use tidelog_model::{LeaderEpoch, NodeId};
use tidelog_replica::{Attempt, Refusal, RefusalReason};

use super::{Cluster, ON_DISK, Told};
use crate::limits::{MESH_FRAME_BYTES, MESH_TURN_BYTES};
use crate::tests::values::{RECORDS, ack, beat, lead};
use crate::tests::{instance, member, partition, within};
use crate::{Remote, RemoteOptions, ToFollower, ToLeader};

#[tokio::test]
async fn leads_pushes_and_answers_go_through_in_order() {
    let (mut leader, mut follower) = Cluster::new().pair().await;
    leader.mesh.lead(NodeId(2), partition(1), lead(1));
    leader.mesh.beat(NodeId(2), partition(2), beat(1));
    assert_eq!(follower.next().await, Told::Lead(partition(1), lead(1)));
    assert_eq!(follower.next().await, Told::Pushed(partition(2), beat(1), None));
    follower.mesh.ack(NodeId(1), partition(1), ack(1, true, 0));
    assert_eq!(leader.next().await, Told::Ack(partition(1), ack(1, true, 0)));

    leader.push(1, 1, 0, 3 * RECORDS);
    for n in 0..3 {
        assert_eq!(follower.next_batch().await, (1, n * RECORDS));
    }
    leader.mesh.lead(NodeId(2), partition(1), lead(2));
    leader.push(1, 2, RECORDS, 2 * RECORDS);
    assert_eq!(follower.next().await, Told::Lead(partition(1), lead(2)));
    assert_eq!(follower.next_batch().await, (1, RECORDS));
    let reason = RefusalReason::NotFollowing;
    let refusal = Refusal { from: instance(2), refused: LeaderEpoch(5), attempt: Attempt(2), reason };
    follower.mesh.refuse(NodeId(1), partition(1), refusal);
    assert_eq!(leader.next().await, Told::Refusal(partition(1), refusal));
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn three_stores_lead_and_follow_each_other() {
    let cluster = Cluster::new();
    let mut stores: Vec<_> = (1..=3).map(|node| cluster.start(instance(node))).collect();
    let addresses: Vec<_> = stores.iter().map(super::Store::address).collect();
    for store in &mut stores {
        // Itself among them.
        store.sees(&addresses);
        let mut here = [store.next().await, store.next().await];
        here.sort_by_key(|told| if let Told::Here(node) = told { node.0 } else { u32::MAX });
        let others = (1..=3).map(NodeId).filter(|node| *node != store.me.node());
        assert!(here.into_iter().eq(others.map(Told::Here)));
    }
    for at in 0..3 {
        let to = (at + 1) % 3;
        let (from, node) = (stores[at].me, stores[to].me.node());
        stores[at].mesh.lead(node, partition(1), lead(1));
        let Told::Lead(_, led) = stores[to].next().await else { panic!("no Lead") };
        assert_eq!(led.leader, from, "the lane says who speaks");
        stores[to].mesh.ack(from.node(), partition(1), ack(1, true, 5));
        let Told::Ack(_, acked) = stores[at].next().await else { panic!("no acknowledgement") };
        assert_eq!((acked.from, acked.durable), (stores[to].me, ack(1, true, 5).durable));
        assert_eq!(stores[at].mesh.counts().open_lanes, 2);
    }
    for store in stores {
        store.stop().await;
    }
}

/// All are asked for before the lane's task runs.
#[tokio::test]
async fn partitions_that_catch_up_share_the_lane() {
    let batch_bytes = 64 * 1024;
    let batches = 4 * MESH_FRAME_BYTES / batch_bytes;
    let (leader, mut follower) = Cluster { batch_bytes, ..Cluster::new() }.pair().await;
    for n in 0..3 {
        leader.push(n, 1, 0, batches as u64 * RECORDS);
    }
    let mut received = HashMap::from([(0, 0), (1, 0), (2, 0)]);
    while received.values().any(|received| *received < batches) {
        let (n, base) = follower.next_batch().await;
        let batches_of_n = received.get_mut(&n).unwrap();
        assert_eq!(base, *batches_of_n as u64 * RECORDS, "ascending, none left out, none twice");
        *batches_of_n += 1;
        let ahead = received.values().max().unwrap() - received.values().min().unwrap();
        assert!(ahead * batch_bytes <= MESH_TURN_BYTES, "{received:?}");
    }
    assert_eq!(leader.mesh.counts().queued_partitions, 0);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn a_batch_that_is_larger_than_a_frame_goes_through() {
    let batch_bytes = 3 * MESH_FRAME_BYTES;
    let (leader, mut follower) = Cluster { batch_bytes, ..Cluster::new() }.pair().await;
    leader.push(1, 1, 0, 2 * RECORDS);
    assert_eq!(follower.next_batch().await, (1, 0));
    assert_eq!(follower.next_batch().await, (1, RECORDS));
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn a_read_that_waits_for_the_disk_holds_up_nobody_else() {
    let (leader, mut follower) = Cluster::new().pair().await;
    leader.push(ON_DISK, 1, 0, RECORDS);
    leader.push(1, 1, 0, RECORDS);
    assert_eq!(follower.next_batch().await, (1, 0));
    leader.push(2, 1, 0, RECORDS);
    assert_eq!(follower.next_batch().await, (2, 0));
    leader.played.disk.add_permits(1);
    assert_eq!(follower.next_batch().await, (ON_DISK, 0));
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn acknowledgements_that_follow_an_answer_to_a_lead_do_not_hide_it() {
    let (mut leader, mut follower) = Cluster::new().pair().await;
    leader.mesh.lead(NodeId(2), partition(1), lead(1));
    follower.next().await;
    follower.mesh.ack(NodeId(1), partition(1), ack(1, true, 1));
    for durable in 2..=90 {
        follower.mesh.ack(NodeId(1), partition(1), ack(1, false, durable));
    }
    assert_eq!(leader.next().await, Told::Ack(partition(1), ack(1, true, 90)));
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test]
async fn the_newer_of_a_leaders_lanes_gets_the_answers() {
    let cluster = Cluster::new();
    let mut follower = cluster.start(instance(2));
    let tls = cluster.tls.clone();
    let options = RemoteOptions::new(follower.address().address, tls, tidelog_wire::ByteBudget::new(1 << 20));
    let remote = Remote::new(options, &follower.supervisor);
    let mut lanes = Vec::new();
    for attempt in 1..=2 {
        let (mut send, recv) = within(remote.replicate(instance(1))).await.unwrap();
        within(send.send(vec![ToFollower::Lead(partition(1), lead(attempt))])).await.unwrap();
        assert_eq!(follower.next().await, Told::Lead(partition(1), lead(attempt)));
        lanes.push((send, recv));
    }
    follower.mesh.ack(NodeId(1), partition(1), ack(2, true, 1));
    let (_, newer) = &mut lanes[1];
    assert_eq!(within(newer.recv()).await.unwrap(), [ToLeader::Ack(partition(1), ack(2, true, 1))]);
    // The older one still brings messages.
    let (older, _) = &mut lanes[0];
    within(older.send(vec![ToFollower::Lead(partition(1), lead(3))])).await.unwrap();
    assert_eq!(follower.next().await, Told::Lead(partition(1), lead(3)));
    drop((lanes, remote));
    follower.stop().await;
}

#[tokio::test]
async fn a_mesh_of_another_cluster_is_not_let_in() {
    let (ours, theirs) = (Cluster::new(), Cluster { tls: member(), ..Cluster::new() });
    let (mut store, stranger) = (ours.start(instance(1)), theirs.start(instance(2)));
    store.sees(&[stranger.address()]);
    assert_eq!(store.next().await, Told::Gone(NodeId(2)));
    store.stop().await;
    stranger.stop().await;
}
