//! Metadata that answers late, not at all, or with gaps.

use std::time::Duration;

use tidelog_meta::{Meta as _, Op, Txn, keys};
use tidelog_model::LeaderEpoch;
use tidelog_peer::PartitionState;

use crate::harness::{Cluster, Fault};

async fn failover_with(faults: &[Fault]) {
    let (cluster, seat, _) = Cluster::led(3, 600, 3).await;
    cluster.meta.fail(faults);
    cluster.stores.kill(2);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= Duration::from_secs(5), "{took:?}");
    cluster.let_pass(Duration::from_secs(10)).await;
    // Nothing was done twice: each of its partitions is one epoch further.
    let records = cluster.records().await;
    let raised: Vec<_> = records.values().filter(|record| record.epoch != LeaderEpoch(1)).collect();
    assert_eq!(raised.len(), 200);
    assert!(raised.iter().all(|record| record.epoch == LeaderEpoch(2)));
    assert!(!seat.states().await.contains(&PartitionState::Offline));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_read_back() {
    failover_with(&[Fault::AnswerLost, Fault::AnswerLost]).await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_lost_is_made_again() {
    failover_with(&[Fault::RequestLost, Fault::RequestLost]).await;
}

#[tokio::test(start_paused = true)]
async fn metadata_that_is_unavailable_for_a_while_only_delays() {
    failover_with(&[Fault::Unavailable; 5]).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_listed_again_after_a_gap() {
    let (mut cluster, seat, _) = Cluster::led(3, 30, 3).await;
    cluster.meta.tear_watches();
    cluster.end_lease(2).await;
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    cluster.meta.tear_watches();
    cluster.start(2).await;
    let back = async || seat.operator.status().await.unwrap().nodes_not_up == 0;
    cluster.until("the store is seen again", back).await;
}

#[tokio::test(start_paused = true)]
async fn leaders_that_change_their_isrs_at_the_same_moment_are_met_again() {
    let (cluster, _seat, _) = Cluster::led(3, 300, 3).await;
    // The controller's image is behind on every third partition.
    cluster.stores.hold_reports(true);
    cluster.stores.kill(2);
    cluster.let_pass(Duration::from_millis(50)).await;
    cluster.meta.tear_watches();
    for (index, (id, mut record)) in cluster.records().await.into_iter().enumerate() {
        if index % 3 == 0 && record.isr.len() == 3 {
            let leader = record.leader.unwrap().node;
            record.isr.retain(|replica| replica.node == leader || replica.node != record.replicas[2]);
            let _ = cluster.meta.txn(Txn::new().put(&keys::partition(id), &record)).await.unwrap();
        }
    }
    cluster.stores.hold_reports(false);
    let took = cluster.until_node_leads_nothing(2).await;
    assert!(took <= Duration::from_secs(4), "{took:?}");
    assert!(cluster.records().await.values().all(|record| record.isr.len() >= 2));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_read_is_left_alone_and_shown() {
    let (cluster, seat, _) = Cluster::led(3, 30, 3).await;
    let (id, _) = cluster.records().await.into_iter().find(|(_, r)| r.leader.unwrap().node.0 == 2).unwrap();
    let key = keys::partition(id).to_string();
    let value = bytes::Bytes::from_static(b"{\"version\":99}");
    let op = Op::Put { key: key.clone(), value: value.clone(), lease: None };
    let _ = cluster.meta.txn(Txn::new().op(op)).await.unwrap();
    cluster.stores.kill(2);
    cluster.let_pass(Duration::from_secs(5)).await;
    assert_eq!(cluster.meta.get(&key).await.unwrap().unwrap().value, value);
    let status = seat.operator.status().await.unwrap();
    assert_eq!((status.unreadable, status.unreadable_shown[0].0.as_str()), (1, key.as_str()));
    assert_eq!((status.partitions, status.offline), (29, 0));
}
