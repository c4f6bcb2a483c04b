//! Changes that no plan makes, and that would not get past the rules.

use tidelog_meta::{Leader, Partition, Replica};
use tidelog_model::{DirectoryId, LeaderEpoch, NodeId, Offset};
use tidelog_peer::{LogReport, LogReports};

use super::cluster::{Cluster, Happening};
use crate::plan::election::{self, Reports};
use crate::plan::{Reason, Violation, check};

fn replica(node: u32) -> Replica {
    Replica { node: NodeId(node), directory: DirectoryId::from_bytes([node as u8; 16]) }
}

fn leader(node: u32) -> Leader {
    let Replica { node, directory } = replica(node);
    Leader { node, directory, boot: 1 }
}

/// Led by 1, with 1, 2 and 3 in sync, and 4 behind.
fn old() -> Partition {
    Partition {
        epoch: LeaderEpoch(5),
        leader: Some(leader(1)),
        replicas: [1, 2, 3, 4].map(NodeId).into(),
        isr: [1, 2, 3].map(replica).into(),
        ..Partition::default()
    }
}

fn judged(change: impl FnOnce(&mut Partition)) -> Result<(), Violation> {
    let mut new = old();
    change(&mut new);
    check(&old(), &new, 2, Reason::Failover)
}

#[test]
fn a_change_that_breaks_a_rule_is_refused_by_name() {
    let led_by = |new: &mut Partition, node| {
        new.epoch = LeaderEpoch(6);
        new.leader = Some(leader(node));
    };
    assert_eq!(judged(|_| ()), Ok(()));
    assert_eq!(judged(|new| led_by(new, 2)), Ok(()));
    assert_eq!(judged(|new| led_by(new, 1)), Ok(()), "the same leader, under a new epoch");
    assert_eq!(judged(|new| led_by(new, 4)), Err(Violation::LeaderOutsideIsr));
    assert_eq!(judged(|new| led_by(new, 9)), Err(Violation::NotAReplica));

    let epoch = Err(Violation::EpochAndLeader);
    assert_eq!(judged(|new| new.leader = Some(leader(2))), epoch);
    assert_eq!(judged(|new| new.leader = None), epoch);
    assert_eq!(judged(|new| new.epoch = LeaderEpoch(7)), epoch);
    assert_eq!(judged(|new| new.epoch = LeaderEpoch(4)), epoch);

    assert_eq!(judged(|new| new.isr.truncate(2)), Ok(()));
    assert_eq!(judged(|new| new.isr.truncate(1)), Err(Violation::BelowFloor { left: 1, floor: 2 }));
    assert_eq!(judged(|new| new.isr.push(replica(4))), Err(Violation::IsrGrows));
    assert_eq!(
        judged(|new| new.isr.retain(|replica| replica.node != NodeId(1))),
        Err(Violation::LeaderOutsideIsr)
    );
    let other_disk = Replica { directory: DirectoryId::from_bytes([9; 16]), ..replica(3) };
    assert_eq!(judged(|new| new.isr[2] = other_disk), Err(Violation::IsrGrows));

    assert_eq!(judged(|new| new.replicas.push(NodeId(1))), Err(Violation::Malformed));
    assert_eq!(judged(|new| new.removing.push(NodeId(9))), Err(Violation::Malformed));
    assert_eq!(judged(|new| new.replicas.retain(|node| *node != NodeId(2))), Err(Violation::NotAReplica));
}

#[test]
fn only_an_operator_may_go_outside_the_isr() {
    let unclean = election::promote_unclean(&old(), leader(4));
    assert_eq!(check(&old(), &unclean, 2, Reason::Unclean), Ok(()));
    assert_eq!(check(&old(), &unclean, 2, Reason::Failover), Err(Violation::LeaderOutsideIsr));
    assert_eq!(unclean.unclean_epoch, Some(LeaderEpoch(6)));
}

#[test]
fn an_isr_that_is_too_small_already_shrinks_no_further() {
    let small = Partition { isr: [1, 2].map(replica).into(), ..old() };
    let smaller = Partition { isr: vec![replica(1)], ..old() };
    assert_eq!(check(&small, &small, 3, Reason::Failover), Ok(()));
    let refused = check(&small, &smaller, 3, Reason::Failover);
    assert_eq!(refused, Err(Violation::BelowFloor { left: 1, floor: 2 }));
}

#[test]
fn what_an_earlier_start_reported_counts_for_nothing() {
    let mut cluster = Cluster::new(3, 3);
    let id = cluster.partition_on(&[1, 2]);
    let before = cluster.image.live(NodeId(2)).unwrap().clone();
    cluster.happen(Happening::Kill { node: 1, by_lease: true });
    cluster.happen(Happening::Start { node: 2, fresh_disk: false });
    let log = LogReport { partition: id, last_epoch: LeaderEpoch(1), log_end: Offset(7) };
    let report = |boot| LogReports { directory: before.directory, boot, logs: vec![log] };
    let mut reports = Reports::default();
    reports.add(NodeId(2), &report(before.boot));
    assert_eq!(election::elect(&cluster.world(), id, &reports), None);
    reports.add(NodeId(2), &report(before.boot + 1));
    let change = election::elect(&cluster.world(), id, &reports).unwrap();
    assert_eq!(change.record.leader.unwrap().boot, before.boot + 1);
}
