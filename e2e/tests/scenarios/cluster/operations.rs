//! What an operator does to a cluster under load: clients notice nothing but a moment's delay.

use tidelog::{NodeId, PartitionState};
use tidelog_e2e::{ClusterOptions, Member, until};

use super::fleet::{Fleet, SOON, node};

#[test]
fn a_drained_store_leads_nothing_and_leads_again_after_its_undrain() {
    let mut fleet = Fleet::start("drain and undrain", 6, 3, ClusterOptions::default());
    fleet.begin();
    let store = NodeId(1);
    fleet.operate(&["cluster", "drain", "1"]);
    fleet.until_all("node 1 leads nothing", |status| status.leader.is_some_and(|leader| leader != store));
    fleet.until_all("node 1 still follows", |status| status.isr.contains(&store));
    fleet.progress("load while node 1 is drained");
    fleet.operate(&["cluster", "undrain", "1"]);
    until(SOON, "node 1 leads again", || {
        fleet.operate(&["cluster", "rebalance"]);
        fleet.partitions().iter().any(|status| status.leader == Some(store)).then_some(())
    });
    fleet.judge();
}

#[test]
fn a_partition_moves_to_other_stores_while_it_is_written_and_read() {
    let options = ClusterOptions { stores: 4, ..ClusterOptions::default() };
    let mut fleet = Fleet::start("reassign", 2, 2, options);
    fleet.begin();
    let all = [1, 2, 3, 4].map(NodeId);
    let before = fleet.partitions()[0].replicas.clone();
    let after: Vec<NodeId> = all.into_iter().filter(|node| !before.contains(node)).collect();
    let list = after.iter().map(|node| node.0.to_string()).collect::<Vec<_>>().join(",");
    fleet.operate(&["cluster", "reassign", "fleet", "0", "--replicas", &list]);
    until(SOON, "the partition has moved", || {
        let status = fleet.partitions().into_iter().next()?;
        let moved = status.replicas == after && status.state == PartitionState::Healthy;
        (moved && status.leader.is_some_and(|leader| after.contains(&leader))).then_some(())
    });
    fleet.judge();
}

#[test]
fn a_topic_gets_more_replicas_fewer_replicas_and_more_partitions_while_it_is_used() {
    let mut fleet = Fleet::start("a topic is altered", 2, 2, ClusterOptions::default());
    fleet.begin();
    for replicas in [3, 2] {
        fleet.operate(&["topic", "alter", "fleet", "--replication-factor", &replicas.to_string()]);
        fleet.until_all("every partition has as many replicas", |status| {
            status.replicas.len() == replicas && status.isr.len() == replicas
        });
        fleet.progress("load with another number of replicas");
    }
    fleet.operate(&["topic", "alter", "fleet", "--partitions", "5"]);
    fleet.topic.partitions = 5;
    fleet.until_whole();
    // Clients that know of all five, beside those that go on with two.
    fleet.begin();
    fleet.judge();
}

#[test]
fn a_decommissioned_store_is_emptied_onto_a_new_one() {
    let mut fleet = Fleet::start("decommission", 3, 3, ClusterOptions::default());
    fleet.begin();
    let new = fleet.cluster.add_store();
    let old = Member::Store(1);
    let number = node(old).0.to_string();
    until(SOON, "the new store is taken for one that can have replicas", || {
        let said = fleet.cluster.cli().run(&["cluster", "drain", &number, "--decommission"]);
        (said.code == 0).then_some(())
    });
    fleet.until_all("the old store is empty", |status| {
        let (held, healthy) = (&status.replicas, status.state == PartitionState::Healthy);
        !held.contains(&node(old)) && held.contains(&node(new)) && healthy
    });
    assert!(fleet.cluster.terminate(old).success(), "{}", fleet.cluster.process(old).log());
    fleet.progress("load without the old store");
    fleet.judge();
}
