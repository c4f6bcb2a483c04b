//! Stores that come to have more than others, and what is done about it.

use std::time::Duration;

use tidelog_model::{NodeId, TopicPartition};
use tidelog_peer::PartitionBytes;

use crate::harness::Cluster;

#[tokio::test(start_paused = true)]
async fn a_new_store_gets_its_part_a_few_partitions_at_a_time() {
    let mut cluster = Cluster::new(3).await;
    cluster.options.balance = true;
    let seat = cluster.seat(1);
    cluster.create(&seat, "web", 40, 3).await.unwrap();
    cluster.start(4).await;
    let even = async || {
        assert!(seat.operator.status().await.unwrap().moving as usize <= cluster.options.balance_at_once);
        cluster.catch_up().await;
        let nodes = seat.operator.nodes().await.unwrap();
        nodes.iter().all(|node| node.replicas == 30 && node.leads == 10)
    };
    cluster.until("all have the same", even).await;
    cluster.let_pass(Duration::from_secs(15)).await;
    let before = cluster.records().await;
    cluster.let_pass(Duration::from_mins(2)).await;
    assert_eq!(cluster.records().await, before, "and then it rests");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_moved_while_a_store_is_away() {
    let mut cluster = Cluster::new(3).await;
    cluster.options.balance = true;
    let seat = cluster.seat(1);
    cluster.create(&seat, "web", 40, 3).await.unwrap();
    cluster.stores.kill(3);
    cluster.end_lease(3).await;
    cluster.start(4).await;
    cluster.let_pass(Duration::from_mins(1)).await;
    let nodes = seat.operator.nodes().await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.replicas).collect::<Vec<_>>(), [40, 40, 40, 0]);
}

#[tokio::test(start_paused = true)]
async fn large_partitions_are_kept_apart() {
    let mut cluster = Cluster::new(2).await;
    cluster.options.balance = true;
    let seat = cluster.seat(1);
    cluster.create(&seat, "web", 8, 1).await.unwrap();
    // All that is large lies on one store.
    let records = cluster.records().await;
    let large: Vec<_> =
        records.iter().filter(|(_, r)| r.replicas == [NodeId(2)]).map(|(id, _)| *id).collect();
    let size = |partition: &TopicPartition| PartitionBytes { partition: *partition, bytes: 1 << 30 };
    let sizes: Vec<_> = large.iter().map(size).collect();
    // Whoever leads a partition tells its size.
    cluster.stores.sizes(1, sizes.clone());
    cluster.stores.sizes(2, sizes);
    let apart = async || {
        cluster.catch_up().await;
        let records = cluster.records().await;
        let moved = large.iter().filter(|id| records[*id].replicas == [NodeId(1)]).count();
        moved == large.len() / 2
    };
    cluster.until("half of the large ones have moved", apart).await;
}
