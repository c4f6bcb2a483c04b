//! Much at once, and followers that take little.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use tidelog_model::NodeId;

use super::{Cluster, Told};
use crate::tests::values::{RECORDS, ack, lead};
use crate::tests::{MIB, instance, partition};

/// The sockets' buffers on both ends, as large as the kernel lets them grow, and TLS.
const SOCKETS_BYTES: usize = 32 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_takes_nothing_costs_no_more_than_the_bounds() {
    let (batch_bytes, frames_bytes) = (256 * 1024, 8 * MIB);
    let cluster = Cluster { batch_bytes, frames_bytes, takes: false, ..Cluster::new() };
    let (leader, mut follower) = cluster.pair().await;
    let (partitions, batches) = (4_u32, 96_u64);
    let all = batches * u64::from(partitions);
    let bound = frames_bytes + 4 * MIB + SOCKETS_BYTES;
    assert!(all as usize * batch_bytes > 2 * bound);

    // However often it is pushed: what waits are partitions, not pushes.
    for end in 1..=batches {
        for n in 0..partitions {
            leader.push(n, 1, (end - 1) * RECORDS, end * RECORDS);
        }
        assert!(leader.mesh.counts().queued_partitions <= u64::from(partitions));
    }
    let mut expected = [0; 4];
    for taken in 0..all as usize {
        let given = leader.played.given_bytes.load(Ordering::Relaxed);
        assert!(given <= taken * batch_bytes + bound, "{given} bytes read, {taken} batches taken");
        follower.played.room.add_permits(1);
        let (n, base) = follower.next_batch().await;
        assert_eq!(base, expected[n as usize]);
        expected[n as usize] += RECORDS;
    }
    assert_eq!(expected, [batches * RECORDS; 4]);
    assert_eq!(leader.played.given_bytes.load(Ordering::Relaxed), all as usize * batch_bytes);
    leader.stop().await;
    follower.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_partitions_share_a_lane() {
    let (mut leader, mut follower) = Cluster::new().pair().await;
    let partitions = 10_000;
    for n in 0..partitions {
        leader.mesh.lead(NodeId(2), partition(n), lead(1));
    }
    for _ in 0..partitions {
        let Told::Lead(partition, lead) = follower.next().await else { panic!("no Lead") };
        assert_eq!(lead.leader, instance(1));
        follower.mesh.ack(NodeId(1), partition, ack(1, true, 0));
    }
    let mut streaming = HashSet::new();
    while streaming.len() < partitions as usize {
        let Told::Ack(partition, ack) = leader.next().await else { panic!("no acknowledgement") };
        assert!(ack.answers_lead && streaming.insert(partition));
    }
    for n in 0..partitions {
        leader.push(n, 1, 0, 2 * RECORDS);
    }
    let mut ends = vec![0; partitions as usize];
    for _ in 0..2 * partitions {
        let (n, base) = follower.next_batch().await;
        assert_eq!(base, ends[n as usize]);
        ends[n as usize] += RECORDS;
    }
    assert_eq!(leader.mesh.counts().queued_partitions, 0);
    leader.stop().await;
    follower.stop().await;
}
