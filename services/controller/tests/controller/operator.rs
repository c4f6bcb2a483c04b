//! What an operator can ask, and what is refused.

use std::collections::BTreeSet;
use std::time::Duration;

use tidelog_controller::Refusal;
use tidelog_model::{ErrorCode, NodeId, PartitionId, TopicId, TopicPartition};
use tidelog_peer::{NodeState, PARTITIONS_PER_COMMAND_MAX, PartitionState, Reassignment};

use crate::harness::{Call, Cluster, Mode, Seat, of, topic};

fn to(partition: TopicPartition, replicas: &[NodeId]) -> Reassignment {
    Reassignment { partition, replicas: replicas.to_vec() }
}

pub(crate) async fn settled(cluster: &Cluster, seat: &Seat) -> Duration {
    let healthy = async || {
        cluster.catch_up().await;
        let partitions = seat.partitions().await;
        partitions
            .iter()
            .all(|p| p.state == PartitionState::Healthy && p.leader == p.replicas.first().copied())
    };
    cluster.until("all is as it should be", healthy).await
}

#[tokio::test(start_paused = true)]
async fn a_drained_store_leads_nothing_and_keeps_its_replicas() {
    let (cluster, seat, _) = Cluster::led(3, 30, 3).await;
    seat.operator.drain(NodeId(2)).await.unwrap();
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert!(cluster.stores.calls().contains(&Call::HandOver { node: 2, partitions: 10 }));
    assert!(
        cluster.records().await.values().all(|record| record.replicas.len() == 3 && record.isr.len() == 3)
    );
    let nodes = seat.operator.nodes().await.unwrap();
    assert!(nodes[1].draining && !nodes[1].decommissioned);
    assert_eq!((nodes[1].leads, nodes[1].replicas), (0, 30));
    assert_eq!(
        seat.operator.create_topic(topic("more", 3, 3)).await,
        Err(Refusal::TooFewStores { wanted: 3, stores: 2 })
    );

    seat.operator.undrain(NodeId(2)).await.unwrap();
    settled(&cluster, &seat).await;
    assert_eq!(cluster.leaders().await[&2], 10);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_wants_to_stop_is_relieved_without_being_asked_for() {
    let (mut cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    let mut live = cluster.started[&2].live.clone();
    live.draining = true;
    cluster.register(live).await;
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= Duration::from_millis(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_outlives_its_controller() {
    let (cluster, first, _) = Cluster::led(3, 30, 3).await;
    let second = cluster.seat(3);
    first.operator.drain(NodeId(2)).await.unwrap();
    first.supervisor.shut_down(Duration::from_secs(5)).await.unwrap();
    second.is_controller().await;
    cluster.until_node_leads_nothing(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_with_the_last_replica_is_not_drained() {
    let (cluster, seat, topic) = Cluster::led(3, 3, 1).await;
    let partition = *cluster.records().await.iter().find(|(_, r)| r.leader.unwrap().node.0 == 2).unwrap().0;
    let refusal = seat.operator.drain(NodeId(2)).await.unwrap_err();
    assert_eq!(refusal, Refusal::LastReplica { node: NodeId(2), partition, others: 0 });
    assert_eq!(refusal.code(), ErrorCode::InvalidRequest);
    assert_eq!(seat.operator.drain(NodeId(9)).await, Err(Refusal::UnknownNode(NodeId(9))));
    assert!(!seat.operator.nodes().await.unwrap()[1].draining);

    seat.operator.set_replication_factor(topic, 2).await.unwrap();
    settled(&cluster, &seat).await;
    seat.operator.drain(NodeId(2)).await.unwrap();
    cluster.until_node_leads_nothing(2).await;
    // The other one of the two cannot go as well.
    let refusals = [seat.operator.drain(NodeId(1)).await, seat.operator.drain(NodeId(3)).await];
    assert!(
        refusals.iter().any(|refusal| matches!(refusal, Err(Refusal::LastReplica { .. }))),
        "{refusals:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_decommissioned_store_is_empty_in_the_end_and_every_partition_whole() {
    let (cluster, seat, _) = Cluster::led(4, 200, 3).await;
    seat.operator.decommission(NodeId(2)).await.unwrap();
    let at_once = cluster.options.reassign_at_once;
    let empty = async || {
        let records = cluster.records().await;
        assert!(records.values().filter(|record| record.is_moving()).count() <= at_once);
        assert!(records.values().all(|record| record.isr.len() >= 3));
        cluster.catch_up().await;
        seat.operator.nodes().await.unwrap()[1].replicas == 0
    };
    cluster.until("the store is empty", empty).await;
    let status = seat.operator.status().await.unwrap();
    assert_eq!((status.moving, status.under_replicated, status.offline), (0, 0, 0));
    assert!(cluster.records().await.values().all(|record| record.replicas.len() == 3));
    // A drain asks for less than there is.
    seat.operator.drain(NodeId(2)).await.unwrap();
    assert!(seat.operator.nodes().await.unwrap()[1].decommissioned);
}

#[tokio::test(start_paused = true)]
async fn a_dead_store_is_decommissioned_if_the_others_have_its_data() {
    let (cluster, seat, _) = Cluster::led(4, 20, 3).await;
    cluster.stores.kill(2);
    cluster.end_lease(2).await;
    cluster.until_node_leads_nothing(2).await;
    seat.operator.decommission(NodeId(2)).await.unwrap();
    let empty = async || {
        cluster.catch_up().await;
        seat.operator.nodes().await.unwrap()[1].replicas == 0
    };
    cluster.until("the store is empty", empty).await;
    assert_eq!(seat.operator.nodes().await.unwrap()[1].state, NodeState::Down);
}

#[tokio::test(start_paused = true)]
async fn a_store_is_not_decommissioned_when_the_others_are_too_few_or_lack_its_data() {
    let (cluster, seat, _) = Cluster::led(3, 3, 3).await;
    let refusal = seat.operator.decommission(NodeId(2)).await.unwrap_err();
    assert_eq!(refusal, Refusal::TooFewStores { wanted: 3, stores: 2 });
    cluster.create(&seat, "single", 3, 1).await.unwrap();
    let (cluster, seat, _) = Cluster::led(3, 3, 1).await;
    cluster.stores.kill(2);
    cluster.let_pass(Duration::from_millis(300)).await;
    let refusal = seat.operator.decommission(NodeId(2)).await.unwrap_err();
    assert!(matches!(refusal, Refusal::LastReplica { node: NodeId(2), others: 0, .. }), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_reassignment_adds_first_and_removes_last() {
    let (cluster, seat, topic) = Cluster::led(6, 1, 3).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let before = cluster.records().await[&id].clone();
    let target: Vec<_> = (1..=6).map(NodeId).filter(|node| !before.replicas.contains(node)).collect();
    seat.operator.reassign(vec![to(id, &target)]).await.unwrap();
    cluster.let_pass(Duration::from_secs(5)).await;
    let during = cluster.records().await[&id].clone();
    assert_eq!((&during.adding, &during.removing), (&target, &before.replicas));
    assert_eq!((&during.isr, during.leader, during.epoch), (&before.isr, before.leader, before.epoch));
    let done = async || {
        cluster.catch_up().await;
        cluster.records().await[&id].replicas == target
    };
    cluster.until("it has moved", done).await;
    let after = cluster.records().await[&id].clone();
    assert_eq!(
        after.isr.iter().map(|replica| replica.node).collect::<BTreeSet<_>>(),
        target.iter().copied().collect()
    );
    assert_eq!(after.leader.unwrap().node, target[0]);
    assert!(!after.is_moving());
}

#[tokio::test(start_paused = true)]
async fn reassignments_that_make_no_sense_are_refused() {
    let (cluster, seat, topic) = Cluster::led(4, 2, 3).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let before = cluster.records().await;
    let refused = async |moves| seat.operator.reassign(moves).await.unwrap_err();
    let to = async |id, nodes: &[u32]| {
        let nodes: Vec<_> = nodes.iter().copied().map(NodeId).collect();
        refused(vec![to(id, &nodes)]).await
    };
    let stranger = TopicPartition::new(topic, PartitionId(7));
    assert_eq!(to(stranger, &[1, 2, 3]).await, Refusal::UnknownPartition(stranger));
    assert_eq!(to(id, &[1, 1, 2]).await, Refusal::NamedTwice { partition: id, node: NodeId(1) });
    assert_eq!(to(id, &[1, 2]).await, Refusal::WrongCount { partition: id, wanted: 3, named: 2 });
    let held = &before[&id].replicas;
    let twice = Reassignment { partition: id, replicas: held.clone() };
    assert_eq!(refused(vec![twice.clone(), twice.clone()]).await, Refusal::MovedTwice(id));
    let (named, most) = (PARTITIONS_PER_COMMAND_MAX + 1, PARTITIONS_PER_COMMAND_MAX);
    assert_eq!(refused(vec![twice; named]).await, Refusal::TooMany { named, most });
    assert_eq!(to(id, &[held[0].0, held[1].0, 9]).await, Refusal::UnknownNode(NodeId(9)));
    let absent = (1..=4).map(NodeId).find(|node| !held.contains(node)).unwrap();
    cluster.stores.kill(absent.0);
    cluster.let_pass(Duration::from_millis(300)).await;
    assert_eq!(to(id, &[held[0].0, held[1].0, absent.0]).await, Refusal::NodeDown(absent));
    assert_eq!(cluster.records().await[&id].replicas, before[&id].replicas);
}

#[tokio::test(start_paused = true)]
async fn a_replication_factor_is_raised_and_lowered_while_the_topic_takes_writes() {
    let (cluster, seat, topic) = Cluster::led(3, 8, 1).await;
    seat.operator.set_replication_factor(topic, 3).await.unwrap();
    let record = cluster.meta_topic(topic).await;
    let raised = async || {
        let records = cluster.records().await;
        assert!(records.values().all(|partition| partition.isr.len() >= partition.isr_floor(&record)));
        cluster.catch_up().await;
        records.values().all(|partition| partition.isr.len() == 3 && !partition.is_moving())
    };
    cluster.until("three replicas each", raised).await;
    seat.operator.set_replication_factor(topic, 2).await.unwrap();
    cluster
        .until("two replicas each", async || cluster.records().await.values().all(|p| p.isr.len() == 2))
        .await;

    let refused = |replicas| seat.operator.set_replication_factor(topic, replicas);
    assert_eq!(refused(4).await, Err(Refusal::TooFewStores { wanted: 4, stores: 3 }));
    assert_eq!(refused(0).await, Err(Refusal::NoReplicas));
    assert_eq!(refused(33).await, Err(Refusal::TooManyReplicas { asked: 33, most: 32 }));
    let stranger = TopicId::from_bytes([9; 16]);
    assert_eq!(seat.operator.set_replication_factor(stranger, 1).await, Err(Refusal::UnknownTopic));
}

#[tokio::test(start_paused = true)]
async fn a_topic_is_created_whole_or_not_at_all() {
    let (cluster, seat, topic) = Cluster::led(3, 700, 3).await;
    let records = cluster.records().await;
    assert_eq!(records.len(), 700);
    assert!(records.values().all(|record| record.isr.len() == 3 && record.leader.is_some()));
    let leaders: Vec<_> = cluster.leaders().await.into_values().collect();
    assert!(leaders.iter().all(|led| (233..=234).contains(led)), "{leaders:?}");
    assert_eq!(seat.all(of(topic)).await.len(), 700);

    let again = cluster.create(&seat, "web", 1, 1).await.unwrap_err();
    assert_eq!(again, Refusal::TopicExists("web".parse().unwrap()));
    assert_eq!(cluster.create(&seat, "big", 1, 4).await, Err(Refusal::TooFewStores { wanted: 4, stores: 3 }));
    assert_eq!(
        cluster.create(&seat, "none", 0, 1).await,
        Err(Refusal::Partitions { asked: 0, most: 100_000 })
    );
    assert_eq!(cluster.create(&seat, "none", 1, 0).await, Err(Refusal::NoReplicas));
    assert_eq!(cluster.records().await.len(), 700);
}

#[tokio::test(start_paused = true)]
async fn a_topic_grows_online_and_never_shrinks() {
    let (cluster, seat, topic) = Cluster::led(3, 6, 3).await;
    let before = cluster.records().await;
    seat.operator.add_partitions(topic, 300).await.unwrap();
    let after = cluster.records().await;
    assert_eq!(after.len(), 300);
    assert!(before.iter().all(|(id, record)| after[id] == *record));
    assert!(after.values().all(|record| record.leader.is_some() && record.isr.len() == 3));
    assert_eq!(seat.all(of(topic)).await.len(), 300);
    let refused = seat.operator.add_partitions(topic, 300).await.unwrap_err();
    assert_eq!(refused, Refusal::NotMore { current: 300, asked: 300 });
    let refused = seat.operator.add_partitions(topic, 100_001).await.unwrap_err();
    assert_eq!(refused, Refusal::Partitions { asked: 100_001, most: 100_000 });
}

#[tokio::test(start_paused = true)]
async fn leaderships_go_back_when_told_and_bit_by_bit_otherwise() {
    let (mut cluster, seat, _) = Cluster::led(3, 30, 3).await;
    cluster.stores.kill(2);
    cluster.end_lease(2).await;
    cluster.until_node_leads_nothing(2).await;
    cluster.start(2).await;
    cluster.catch_up().await;
    assert!(!cluster.leaders().await.contains_key(&2), "it is on probation");
    let up = async || seat.operator.status().await.unwrap().nodes_not_up == 0;
    cluster.until("its probation ends", up).await;
    seat.operator.rebalance().await.unwrap();
    settled(&cluster, &seat).await;
    assert_eq!(cluster.leaders().await[&2], 10);
    assert_eq!(seat.operator.rebalance().await, Ok(0));
}

#[tokio::test(start_paused = true)]
async fn an_unclean_leader_is_made_only_when_told_and_only_when_nobody_else_is_left() {
    let (cluster, seat, topic) = Cluster::led(3, 1, 3).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let replicas = cluster.records().await[&id].replicas.clone();
    let [first, second, third] = replicas[..] else { panic!("{replicas:?}") };
    assert_eq!(seat.operator.elect_unclean(vec![id]).await, Err(Refusal::HasLeader(id)));

    // The third falls behind and leaves the ISR; then the others die.
    cluster.eject(id, third).await;
    cluster.stores.log(third.0, id, 1, 5);
    cluster.stores.hold_reports(true);
    cluster.stores.kill(first.0);
    cluster.let_pass(Duration::from_millis(50)).await;
    let refused = seat.operator.elect_unclean(vec![id]).await.unwrap_err();
    assert!(matches!(refused, Refusal::Busy(_) | Refusal::InSyncAlive { .. }), "{refused}");
    cluster.stores.kill(second.0);
    cluster.stores.hold_reports(false);
    cluster.let_pass(Duration::from_secs(30)).await;
    let record = cluster.records().await[&id].clone();
    assert_eq!(record.leader.unwrap().node, first, "nothing happens by itself");

    let elected = seat.operator.elect_unclean(vec![id]).await.unwrap();
    assert_eq!((elected[0].node, elected[0].epoch), (third, record.epoch.next()));
    let record = cluster.records().await[&id].clone();
    assert_eq!(record.unclean_epoch, Some(record.epoch));
    assert_eq!(record.isr.iter().map(|replica| replica.node).collect::<Vec<_>>(), [third]);
    assert_eq!(record.replicas, replicas);
    assert_eq!(seat.states().await, [PartitionState::BelowFloor]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_made_leader_when_nobody_answers() {
    let (cluster, seat, topic) = Cluster::led(3, 1, 1).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let node = cluster.records().await[&id].replicas[0];
    cluster.stores.kill(node.0);
    cluster.let_pass(Duration::from_millis(300)).await;
    assert_eq!(seat.operator.elect_unclean(vec![id]).await, Err(Refusal::NobodyAnswers(id)));
    cluster.stores.mode(node.0, Mode::Up);
    let led = async || seat.states().await == [PartitionState::Healthy];
    cluster.until("it is led again", led).await;
}
