//! How a death is noticed, and how soon others lead.

use std::time::Duration;

use tidelog_model::{LeaderEpoch, NodeId, PartitionId, TopicPartition};
use tidelog_peer::PartitionState;

use crate::harness::{Call, Cluster, Mode};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[tokio::test(start_paused = true)]
async fn a_store_whose_connection_closes_and_whose_port_is_shut_is_replaced_at_once() {
    let (cluster, seat, _) = Cluster::led(3, 30, 3).await;
    cluster.stores.kill(2);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= MS(100), "{took:?}");
    // The dead one has left the ISRs in the same transactions.
    let records = cluster.records().await;
    let elected: Vec<_> = records.values().filter(|record| record.epoch != LeaderEpoch(1)).collect();
    assert_eq!(elected.len(), 10);
    assert!(elected.iter().all(|record| record.isr.iter().all(|replica| replica.node != NodeId(2))));
    assert!(seat.states().await.iter().all(|state| *state != PartitionState::Offline));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_closes_without_a_death_changes_nothing() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    let before = cluster.records().await;
    for _ in 0..20 {
        cluster.stores.close(2);
        cluster.let_pass(MS(30)).await;
    }
    assert_eq!(cluster.records().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_falls_silent_is_replaced_after_five_misses() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    cluster.let_pass(MS(500)).await;
    cluster.stores.mode(2, Mode::Silent);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took >= MS(900), "{took:?}");
    assert!(took <= MS(1400), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_misses_four_heartbeats_keeps_what_it_leads() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    let before = cluster.records().await;
    for _ in 0..5 {
        cluster.let_pass(MS(400)).await;
        cluster.stores.mode(2, Mode::Silent);
        cluster.let_pass(MS(750)).await;
        cluster.stores.mode(2, Mode::Up);
    }
    assert_eq!(cluster.records().await, before);
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_lease_ends_is_replaced_though_it_answers() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    cluster.end_lease(2).await;
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= MS(100), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_restarts_is_given_its_partitions_under_new_epochs() {
    let (mut cluster, _seat, _) = Cluster::led(2, 4, 1).await;
    cluster.stores.kill(2);
    cluster.let_pass(MS(1000)).await;
    assert!(cluster.records().await.values().all(|record| record.epoch == LeaderEpoch(1)));
    cluster.end_lease(2).await;
    cluster.start(2).await;
    let led_anew = async || {
        let records = cluster.records().await;
        let mut of_two = records.values().filter(|record| record.replicas == [NodeId(2)]);
        of_two.all(|record| record.leader.unwrap().boot == 2 && record.epoch == LeaderEpoch(2))
    };
    cluster.until("led by the second start", led_anew).await;
}

#[tokio::test(start_paused = true)]
async fn the_in_sync_replica_with_the_longest_log_takes_over() {
    let (cluster, _seat, topic) = Cluster::led(3, 1, 3).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let replicas = cluster.records().await[&id].replicas.clone();
    let [first, second, third] = replicas[..] else { panic!("{replicas:?}") };
    cluster.stores.log(second.0, id, 1, 10);
    cluster.stores.log(third.0, id, 1, 11);
    cluster.stores.kill(first.0);
    cluster.until_node_leads_nothing(first.0).await;
    assert_eq!(cluster.records().await[&id].leader.unwrap().node, third);
}

#[tokio::test(start_paused = true)]
async fn an_election_does_not_wait_for_ever_for_a_replica_that_does_not_answer() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    cluster.stores.mode(3, Mode::Silent);
    cluster.stores.kill(2);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= MS(500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_an_in_sync_replica_a_partition_waits() {
    let (cluster, seat, _) = Cluster::led(4, 12, 3).await;
    for node in [2, 3, 4] {
        cluster.stores.kill(node);
        cluster.let_pass(MS(300)).await;
    }
    let states = seat.states().await;
    let records = cluster.records().await;
    for (partition, record) in seat.partitions().await.iter().zip(records.values()) {
        let node_one = record.isr.iter().any(|replica| replica.node == NodeId(1));
        assert_eq!(partition.state == PartitionState::Offline, !node_one, "{record:?}");
        assert!(record.isr.len() >= 2, "below the floor: {record:?}");
    }
    assert!(states.contains(&PartitionState::Offline));
}

#[tokio::test(start_paused = true)]
async fn two_thousand_partitions_of_one_store_have_leaders_within_a_second_and_a_few_transactions() {
    let cluster = Cluster::new(4).await;
    let seat = cluster.seat(1);
    cluster.create(&seat, "wide", 8000, 3).await.unwrap();
    let led = cluster.leaders().await[&2];
    assert!(led >= 1990, "{led}");
    let txns = cluster.meta.txns();
    cluster.stores.kill(2);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= MS(1000), "{took:?}");
    let txns = cluster.meta.txns() - txns;
    assert!(txns <= led.div_ceil(127) + 1, "{txns}");
}

#[tokio::test(start_paused = true)]
async fn a_flapping_store_causes_few_elections_and_is_led_to_ever_more_slowly() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    let epochs =
        async || cluster.records().await.values().map(|record| record.epoch.0 as usize - 1).sum::<usize>();
    for _ in 0..40 {
        cluster.stores.mode(2, Mode::Silent);
        cluster.let_pass(MS(1500)).await;
        cluster.stores.mode(2, Mode::Up);
        cluster.let_pass(MS(1500)).await;
        cluster.catch_up().await;
    }
    // Two minutes, forty deaths: it lost its ten partitions and got them back a few times at most.
    let elections = epochs().await;
    assert!(elections <= 10 * 6, "{elections}");
    let back = async || {
        cluster.catch_up().await;
        cluster.leaders().await.get(&2) == Some(&10)
    };
    cluster.until("it leads again what it is preferred for", back).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_gives_a_partition_up_is_taken_at_its_word() {
    let (cluster, _seat, topic) = Cluster::led(3, 3, 3).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    let record = cluster.records().await[&id].clone();
    let leader = record.leader.unwrap().node;
    cluster.stores.resign(leader.0, id, record.epoch);
    let resigned = async || cluster.records().await[&id].leader.unwrap().node != leader;
    let took = cluster.until("another leads", resigned).await;
    assert!(took <= MS(500), "{took:?}");
    assert_eq!(cluster.records().await[&id].epoch, record.epoch.next());
    assert_eq!(cluster.records().await.values().filter(|record| record.epoch != LeaderEpoch(1)).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_gives_its_only_partition_up_for_ever_is_not_elected_all_the_time() {
    let (cluster, _seat, topic) = Cluster::led(1, 1, 1).await;
    let id = TopicPartition::new(topic, PartitionId(0));
    for epoch in 1..100 {
        cluster.stores.resign(1, id, LeaderEpoch(epoch));
    }
    cluster.let_pass(Duration::from_mins(1)).await;
    let epoch = cluster.records().await[&id].epoch.0;
    assert!((10..=32).contains(&epoch), "{epoch}");
}

#[tokio::test(start_paused = true)]
async fn a_store_with_a_slow_disk_hands_its_leaderships_over() {
    let (cluster, _seat, _) = Cluster::led(3, 30, 3).await;
    cluster.stores.fit(2, false);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= MS(1000), "{took:?}");
    assert!(cluster.stores.calls().contains(&Call::HandOver { node: 2, partitions: 10 }));
    assert!(cluster.records().await.values().all(|record| record.isr.len() == 3));
}
