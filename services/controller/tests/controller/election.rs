//! One controller at a time, and what becomes of one that does not know that it is none.

use std::sync::Arc;
use std::time::Duration;

use tidelog_controller::Refusal;
use tidelog_model::NodeId;

use crate::harness::{Cluster, Mode};

#[tokio::test(start_paused = true)]
async fn whoever_is_not_controller_says_who_is() {
    let (cluster, _first, _) = Cluster::led(3, 3, 3).await;
    let second = cluster.seat(2);
    let refusal = second.operator.status().await.unwrap_err();
    assert_eq!(refusal, Refusal::NotController { controller: Some(NodeId(1)) });
    assert!(refusal.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn the_next_controller_goes_on_when_the_first_one_dies_with_its_store() {
    let (cluster, first, _) = Cluster::led(3, 30, 3).await;
    let second = cluster.seat(2);
    // The process of the first is gone: its lease ends, and it does nothing any more.
    first.supervisor.cancel();
    cluster.stores.kill(1);
    cluster.end_lease(1).await;
    second.is_controller().await;
    cluster.until_node_leads_nothing(1).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_controllers_own_store_is_killed_nobody_waits_for_its_lease() {
    let cluster = Cluster::new(3).await;
    let first = cluster.seat_with(1, cluster.meta.another(), Arc::clone(&cluster.stores));
    cluster.create(&first, "web", 30, 3).await.unwrap();
    let second = cluster.seat(2);
    let third = cluster.seat(3);
    cluster.let_pass(Duration::from_secs(1)).await;

    // Killed, with its lease and its place in the election left behind.
    first.meta.cut();
    cluster.stores.kill(1);
    let took = cluster.until_node_leads_nothing(1).await;
    assert!(took <= Duration::from_millis(500), "{took:?}");
    drop((second, third));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_is_only_silent_is_left_to_its_lease() {
    let cluster = Cluster::new(3).await;
    let first = cluster.seat_with(1, Arc::clone(&cluster.meta), cluster.stores.another());
    first.is_controller().await;
    let second = cluster.seat(2);
    cluster.stores.mode(1, Mode::Silent);
    cluster.stores.close(1);
    cluster.let_pass(Duration::from_mins(1)).await;
    let refusal = second.operator.status().await.unwrap_err();
    assert_eq!(refusal, Refusal::NotController { controller: Some(NodeId(1)) });
    first.is_controller().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_restarts_takes_its_own_old_place_away() {
    let mut cluster = Cluster::new(2).await;
    let first = cluster.seat_with(1, cluster.meta.another(), Arc::clone(&cluster.stores));
    first.is_controller().await;
    first.meta.cut();
    cluster.start(1).await;
    let again = cluster.seat(1);
    let began = tokio::time::Instant::now();
    again.is_controller().await;
    assert!(began.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_stops_gives_the_election_up() {
    let (cluster, first, _) = Cluster::led(3, 3, 3).await;
    let second = cluster.seat(2);
    first.supervisor.shut_down(Duration::from_secs(5)).await.unwrap();
    second.is_controller().await;
    assert_eq!(first.operator.status().await.unwrap_err(), Refusal::Stopping);
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_was_deposed_in_the_middle_of_a_plan_changes_nothing() {
    let cluster = Cluster::new(4).await;
    // The first sees the stores through eyes of its own, which can be held.
    let first = cluster.seat_with(1, cluster.meta.another(), cluster.stores.another());
    cluster.create(&first, "web", 40, 3).await.unwrap();
    first.stores.hold_reports(true);
    first.stores.kill(2);
    cluster.let_pass(Duration::from_millis(50)).await;
    assert!(!first.stores.calls().is_empty(), "it asks for reports");

    // Its lease ends without its noticing; the next one is elected and does not think that 2 is dead.
    let txns = first.meta.txns();
    cluster.end_lease(1).await;
    cluster.stores.kill(1);
    let second = cluster.seat(3);
    second.is_controller().await;
    cluster.until_node_leads_nothing(1).await;
    let before = cluster.records().await;
    first.stores.hold_reports(false);
    cluster.let_pass(Duration::from_secs(2)).await;
    assert_eq!(cluster.records().await, before);
    assert!(cluster.leaders().await.contains_key(&2));
    assert!(first.meta.txns() <= txns + 1);
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn a_controller_whose_lease_is_another_stands_again_under_the_new_one() {
    let (mut cluster, seat, _) = Cluster::led(3, 3, 3).await;
    let live = cluster.started[&1].live.clone();
    seat.lease.send_replace(None);
    cluster.end_lease(1).await;
    assert!(matches!(seat.operator.status().await, Err(Refusal::NotController { .. })));
    cluster.register(live).await;
    seat.lease.send_replace(Some(cluster.started[&1].lease));
    seat.is_controller().await;
}

#[tokio::test(start_paused = true)]
async fn a_controller_that_hears_nobody_leaves_leaders_alone_and_lets_another_try() {
    let cluster = Cluster::new(3).await;
    let first = cluster.seat_with(1, Arc::clone(&cluster.meta), cluster.stores.another());
    cluster.create(&first, "web", 30, 3).await.unwrap();
    let second = cluster.seat(2);
    let before = cluster.records().await;
    // The first hears only itself; everybody else hears everybody.
    first.stores.mode(2, Mode::Silent);
    first.stores.mode(3, Mode::Silent);
    second.is_controller().await;
    cluster.let_pass(Duration::from_secs(10)).await;
    assert_eq!(cluster.records().await, before);
    let refusal = first.operator.status().await.unwrap_err();
    assert_eq!(refusal, Refusal::NotController { controller: Some(NodeId(2)) });
}
