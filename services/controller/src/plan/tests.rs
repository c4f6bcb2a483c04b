//! The plan in a world that dies, comes back with other disks, and carries plans out by halves.

mod cluster;
mod refused;
mod rules;

use proptest::prelude::*;
use tidelog_meta::Partition;
use tidelog_model::{LeaderEpoch, NodeId, Offset};

use self::cluster::{Cluster, Happening};
use super::*;
use crate::health::Standing;
use crate::plan::election::{Candidate, Fitness, choose, promote};
use crate::plan::placement::Loads;
use crate::plan::reassignment::{target_of, towards};

fn happening() -> impl Strategy<Value = Happening> {
    let node = 1..=5_u32;
    prop_oneof![
        3 => (node.clone(), any::<bool>()).prop_map(|(node, by_lease)| Happening::Kill { node, by_lease }),
        3 => (node.clone(), 0..8_u8).prop_map(|(node, disk)| Happening::Start { node, fresh_disk: disk == 0 }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, fit)| Happening::Disk { node, fit }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Happening::Drain { node, on }),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Happening::Decommission { node, on }),
        1 => (0..3_u8, 1..=4_u32).prop_map(|(topic, replicas)| Happening::Replication { topic, replicas }),
        1 => (0..20_usize, node).prop_map(|(partition, node)| Happening::Resign { partition, node }),
        3 => Just(Happening::Produce),
        3 => any::<u64>().prop_map(|which| Happening::Follow { which }),
        6 => any::<u64>().prop_map(|which| Happening::Pass { which, balance: which % 2 == 0 }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::default())]

    /// Every record change is checked on the way: no leader from outside the ISR, no ISR below the floor,
    /// and no leader that lacks an acknowledged record.
    #[test]
    fn whatever_happens_no_plan_loses_a_record_and_all_comes_to_rest(
        happenings in proptest::collection::vec(happening(), 1..120),
        racks in 1..=3_usize,
    ) {
        let mut cluster = Cluster::new(5, racks);
        for (partitions, replicas) in [(6, 3), (4, 2), (3, 1)] {
            cluster.topic(partitions, replicas);
        }
        for happening in happenings {
            cluster.happen(happening);
        }
        cluster.heal();
        let passes = cluster.settle(400);
        prop_assert!(passes < 400, "still planning: {:?}", cluster.plan(true));
        cluster.assert_as_wanted();
    }

    #[test]
    fn balancing_comes_to_rest_with_even_stores(
        assignments in proptest::collection::vec(proptest::sample::subsequence(vec![1_u32, 2, 3, 4, 5, 6], 3), 1..60),
        sizes in proptest::collection::vec(0..1_000_000_u64, 60),
        sized in any::<bool>(),
    ) {
        let mut cluster = Cluster::new(6, 6);
        for (index, replicas) in assignments.iter().enumerate() {
            let id = cluster.partition_on(replicas);
            if sized {
                cluster.view.sizes.insert(id, sizes[index]);
            }
        }
        let passes = cluster.settle(500);
        prop_assert!(passes < 500);
        let loads = Loads::of(&cluster.world());
        let held: Vec<_> = (1..=6).map(|node| loads.load(NodeId(node)).replicas).collect();
        let spread = held.iter().max().unwrap() - held.iter().min().unwrap();
        prop_assert!(sized || spread <= 1, "{held:?}");
    }

    #[test]
    fn replicas_stand_in_as_many_racks_as_there_are(racks in 1..=5_usize, topics in 1..6_u32) {
        let mut cluster = Cluster::new(5, racks);
        (0..topics).for_each(|_| cluster.topic(7, 3));
        for (_, held, _) in cluster.image.current() {
            let distinct: BTreeSet<_> = held.value.replicas.iter().map(|node| node.0 as usize % racks).collect();
            prop_assert_eq!(distinct.len(), racks.min(3), "{:?}", &held.value.replicas);
        }
        let loads = Loads::of(&cluster.world());
        let preferred: Vec<_> = (1..=5).map(|node| loads.load(NodeId(node)).preferred).collect();
        prop_assert_eq!(preferred.iter().sum::<u64>(), u64::from(7 * topics));
    }
}

#[test]
fn replicas_that_share_a_rack_are_spread_when_another_rack_comes() {
    let mut cluster = Cluster::new(4, 2);
    // Nodes 1 and 3 stand in one rack.
    for _ in 0..8 {
        cluster.partition_on(&[1, 3]);
    }
    assert!(cluster.settle(200) < 200);
    let loads = Loads::of(&cluster.world());
    assert!(cluster.image.current().all(|(_, held, _)| loads.crowding(&held.value.replicas) == 0));
}

#[test]
fn a_plan_that_was_carried_out_has_nothing_to_add() {
    let mut cluster = Cluster::new(5, 3);
    cluster.topic(20, 3);
    cluster.settle(100);
    assert_eq!(cluster.plan(true), Plan::default());
    cluster.happen(Happening::Kill { node: 2, by_lease: true });
    let plan = cluster.plan(false);
    assert_eq!(plan.elect, cluster.led_by(2));
    assert!(plan.moves.is_empty() && plan.changes.is_empty());
    cluster.pass(u64::MAX, false);
    assert_eq!(cluster.plan(false), Plan::default());
}

#[test]
fn the_longest_log_of_the_highest_epoch_wins_among_the_in_sync() {
    let mut cluster = Cluster::new(4, 4);
    let id = cluster.partition_on(&[1, 2, 3]);
    let record = cluster.image.partition(id).unwrap().clone();
    let candidate = |node, epoch, end, fitness| Candidate {
        leader: leader_of(cluster.image.live(NodeId(node)).unwrap()),
        fitness,
        last_epoch: LeaderEpoch(epoch),
        log_end: Offset(end),
    };
    let willing = Fitness::Willing;
    let chosen = |candidates: &[Candidate]| choose(&record, candidates).map(|c| c.leader.node.0);
    assert_eq!(chosen(&[candidate(1, 1, 90, willing), candidate(2, 2, 10, willing)]), Some(2));
    assert_eq!(chosen(&[candidate(2, 2, 10, willing), candidate(3, 2, 11, willing)]), Some(3));
    assert_eq!(chosen(&[candidate(3, 2, 10, willing), candidate(2, 2, 10, willing)]), Some(2));
    assert_eq!(chosen(&[candidate(4, 9, 99, willing), candidate(1, 1, 1, willing)]), Some(1));
    assert_eq!(chosen(&[candidate(4, 9, 99, willing)]), None);
    let without_three = Partition { isr: record.isr[..2].to_vec(), ..record.clone() };
    assert_eq!(choose(&without_three, &[candidate(3, 2, 99, willing)]), None);
    let reluctant = candidate(3, 2, 99, Fitness::Reluctant);
    assert_eq!(chosen(&[reluctant, candidate(2, 2, 10, willing)]), Some(2));
    assert_eq!(chosen(&[reluctant, candidate(2, 2, 10, Fitness::Resigned)]), Some(3));
}

#[test]
fn an_election_drops_the_dead_but_keeps_as_many_as_it_takes_to_acknowledge() {
    let mut cluster = Cluster::new(3, 3);
    let id = cluster.partition_on(&[1, 2, 3]);
    let record = cluster.image.partition(id).unwrap();
    let two = leader_of(cluster.image.live(NodeId(2)).unwrap());
    let isr = |floor, alive: fn(u32) -> bool| {
        let after = promote(record, two, |replica| alive(replica.node.0), floor);
        after.isr.iter().map(|replica| replica.node.0).collect::<Vec<_>>()
    };
    assert_eq!(isr(2, |node| node != 1), [2, 3]);
    assert_eq!(isr(2, |_| false), [1, 2]);
    assert_eq!(isr(1, |_| false), [2]);
    assert_eq!(isr(9, |_| false), [1, 2, 3]);
}

#[test]
fn a_reassignment_that_is_replaced_drops_what_had_not_arrived() {
    let nodes = |nodes: &[u32]| nodes.iter().copied().map(NodeId).collect::<Vec<_>>();
    let record = Partition { replicas: nodes(&[1, 2]), ..Partition::default() };
    let moving = towards(&record, &nodes(&[3, 2]));
    assert_eq!((&moving.replicas, &moving.adding), (&nodes(&[3, 2, 1]), &nodes(&[3])));
    assert_eq!(moving.removing, nodes(&[1]));
    assert_eq!(target_of(&moving), nodes(&[3, 2]));
    let replaced = towards(&moving, &nodes(&[4, 2]));
    assert_eq!((&replaced.replicas, &replaced.adding), (&nodes(&[4, 2, 1]), &nodes(&[4])));
    let undone = towards(&moving, &nodes(&[1, 2]));
    assert_eq!(undone, record);
}

#[test]
fn leaderships_return_to_the_preferred_only_when_it_has_been_well_for_a_while() {
    let mut cluster = Cluster::new(3, 3);
    let id = cluster.partition_on(&[1, 2, 3]);
    cluster.happen(Happening::Kill { node: 1, by_lease: false });
    cluster.pass(u64::MAX, false);
    assert_eq!(cluster.image.partition(id).unwrap().leader.unwrap().node, NodeId(2));
    cluster.happen(Happening::Start { node: 1, fresh_disk: false });
    cluster.follow(u64::MAX);
    cluster.view.standings.insert(NodeId(1), Standing::Probation);
    assert!(cluster.plan(true).is_empty());
    cluster.view.standings.insert(NodeId(1), Standing::Good);
    assert_eq!(cluster.plan(true).moves[0].to, NodeId(1));
}

#[test]
fn nobody_in_sync_is_removed_before_the_leader_has_given_a_sign_of_life() {
    let mut cluster = Cluster::new(3, 3);
    let id = cluster.partition_on(&[1, 2, 3]);
    cluster.happen(Happening::Replication { topic: id.topic.0.as_bytes()[0] - 1, replicas: 1 });
    cluster.pass(u64::MAX, false);
    assert_eq!(cluster.image.partition(id).unwrap().removing.len(), 2);
    // By its lease the leader lives, and perhaps it does not.
    let by_lease = plan(&cluster.world(), &BTreeSet::new(), &Options::default(), Allowed::default());
    assert!(by_lease.is_empty());
    let done = &cluster.plan(false).changes[0].record;
    assert_eq!((done.isr.len(), done.replicas.len()), (1, 1));
}
