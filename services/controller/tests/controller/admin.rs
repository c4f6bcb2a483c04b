//! The operator and the topics as other processes reach them.

use std::sync::Arc;

use async_trait::async_trait;
use tidelog_controller::{ClusterTopics, Refusal};
use tidelog_model::{ErrorCode, NodeId, PartitionId, TimestampMs, TopicPartition};
use tidelog_peer::{
    ClusterAdmin, CreateTopic, PartitionQuery, PartitionState, StoreError, TopicInfo, TopicRef, Topics,
};

use crate::harness::{Cluster, of};
use crate::operator::settled;

fn create(name: &str, replication_factor: Option<u32>, config: &[(&str, &str)]) -> CreateTopic {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    CreateTopic { name: name.to_owned(), partitions: 2, replication_factor, config }
}

#[tokio::test(start_paused = true)]
async fn a_topic_gets_three_replicas_or_as_many_as_there_are_stores() {
    for (stores, replicas) in [(1, 1), (2, 2), (3, 3), (5, 3)] {
        let cluster = Cluster::new(stores).await;
        let seat = cluster.seat(1);
        seat.is_controller().await;
        let wanted = create("web", None, &[]).check().unwrap();
        let created = seat.operator.create_topic(wanted).await.unwrap();
        assert_eq!((created.partitions, created.replication_factor), (2, replicas));
        assert_eq!(cluster.meta_topic(created.id).await.replication_factor, replicas);
        assert!(cluster.records().await.values().all(|record| record.isr.len() == replicas as usize));
    }
}

#[tokio::test(start_paused = true)]
async fn a_floor_is_kept_as_it_was_asked_for_and_never_above_the_replicas() {
    let (cluster, seat, _) = Cluster::led(3, 1, 3).await;
    let new = |name, replicas, floor| create(name, replicas, &[("min.insync.replicas", floor)]);
    let one = seat.operator.create_topic(new("one", None, "1").check().unwrap()).await.unwrap();
    assert_eq!(cluster.meta_topic(one.id).await.isr_floor(), 1);
    let refused = new("two", Some(1), "2").check().unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidConfig);
    let four = new("four", None, "4").check().unwrap();
    let refused = seat.operator.create_topic(four).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidConfig);
    assert!(refused.to_string().contains("min.insync.replicas=4"), "{refused}");
    let three = seat.operator.create_topic(new("three", Some(3), "3").check().unwrap()).await.unwrap();
    let refused = seat.operator.set_replication_factor(three.id, 2).await.unwrap_err();
    assert_eq!(refused, Refusal::BelowFloor { replicas: 2, floor: 3 });
}

#[tokio::test(start_paused = true)]
async fn partitions_come_in_pages_and_those_with_problems_alone_when_asked_for() {
    let (cluster, seat, web) = Cluster::led(3, 1_100, 2).await;
    let other = cluster.create(&seat, "other", 40, 3).await.unwrap();
    let everything = seat.partitions().await;
    assert_eq!(everything.len(), 1_140);
    assert!(everything.is_sorted_by_key(tidelog_peer::PartitionStatus::id));
    assert_eq!(seat.all(PartitionQuery { limit: 7, ..of(other) }).await.len(), 40);
    let page = seat.operator.partitions(of(web)).await.unwrap();
    assert_eq!((page.items.len(), page.more), (500, true));
    // A place behind the topic is its end.
    let after = Some(TopicPartition::new(web.max(other), PartitionId(99_999)));
    let page = seat.operator.partitions(PartitionQuery { after, ..of(web.min(other)) }).await.unwrap();
    assert_eq!((page.items.len(), page.more), (0, false));

    let problems = PartitionQuery { problems_only: true, ..PartitionQuery::default() };
    assert_eq!(seat.all(problems).await, []);
    let id = TopicPartition::new(other, PartitionId(39));
    let record = cluster.records().await[&id].clone();
    let follower = *record.replicas.iter().find(|node| **node != record.leader.unwrap().node).unwrap();
    cluster.eject(id, follower).await;
    let shown = async || seat.all(problems).await.len() == 1;
    cluster.until("it is seen", shown).await;
    let problem = &seat.all(problems).await[0];
    assert_eq!((problem.id(), problem.state), (id, PartitionState::UnderReplicated));
}

#[tokio::test(start_paused = true)]
async fn the_operator_is_reached_as_everybody_reaches_it() {
    let (cluster, seat, topic) = Cluster::led(3, 4, 2).await;
    let admin: Arc<dyn ClusterAdmin> = Arc::new(seat.operator.clone());
    let status = admin.status().await.unwrap();
    assert_eq!((status.controller, status.nodes, status.partitions), (NodeId(1), 3, 4));
    let page = admin.nodes(Some(NodeId(1)), 1).await.unwrap();
    assert_eq!((page.items[0].node, page.items.len(), page.more), (NodeId(2), 1, true));
    assert!(!admin.nodes(Some(NodeId(2)), 0).await.unwrap().more);
    admin.add_partitions(topic, 6).await.unwrap();
    assert_eq!(admin.partitions(of(topic)).await.unwrap().items.len(), 6);
    admin.set_replication_factor(topic, 3).await.unwrap();
    settled(&cluster, &seat).await;
    admin.drain(NodeId(3)).await.unwrap();
    admin.undrain(NodeId(3)).await.unwrap();
    assert_eq!(admin.drain(NodeId(9)).await.unwrap_err().code, ErrorCode::InvalidRequest);
    let too_many = admin.set_replication_factor(topic, 4).await.unwrap_err();
    assert_eq!(too_many.code, ErrorCode::InvalidReplicationFactor);

    let second = cluster.seat(2);
    let elsewhere = ClusterAdmin::drain(&second.operator, NodeId(3)).await.unwrap_err();
    assert_eq!(elsewhere.code, ErrorCode::NotController);
    assert!(elsewhere.message.ends_with("node 1 is"), "{elsewhere}");
    assert!(elsewhere.is_retryable() && elsewhere.has_no_side_effects());
}

/// A store's topics: what is asked of them is answered with a name of its own.
#[derive(Debug)]
struct StoresTopics;

fn said<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::new(ErrorCode::Internal, what))
}

#[async_trait]
impl Topics for StoresTopics {
    async fn create(&self, _: CreateTopic) -> Result<TopicInfo, StoreError> {
        said("create")
    }

    async fn alter(&self, _: TopicRef, _: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        said("alter")
    }

    async fn delete(&self, _: TopicRef) -> Result<(), StoreError> {
        said("delete")
    }

    async fn get(&self, _: TopicRef) -> Result<TopicInfo, StoreError> {
        said("get")
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        said("list")
    }
}

#[tokio::test(start_paused = true)]
async fn a_clusters_topics_are_created_by_the_controller_and_else_kept_by_stores() {
    let (cluster, seat, _) = Cluster::led(3, 1, 3).await;
    let topics = ClusterTopics::new(seat.operator.clone(), Arc::new(StoresTopics));
    let created = topics.create(create("new", None, &[("segment.bytes", "1048576")])).await.unwrap();
    assert_eq!((created.name.as_str(), created.replication_factor), ("new", 3));
    let record = cluster.meta_topic(created.id).await;
    assert_eq!((record.created, record.config()), (created.created, created.config));
    assert_ne!(record.created, TimestampMs::NONE);
    let again = topics.create(create("new", None, &[])).await.unwrap_err();
    assert_eq!(again.code, ErrorCode::TopicAlreadyExists);
    let invalid = topics.create(create("a b", None, &[])).await.unwrap_err();
    assert_eq!(invalid.code, ErrorCode::InvalidTopic);
    let unsettled = topics.create(create("c", None, &[("nope", "1")])).await.unwrap_err();
    assert_eq!(unsettled.code, ErrorCode::InvalidConfig);
    assert_eq!(topics.alter("new".into(), Vec::new()).await.unwrap_err().message, "alter");
    assert_eq!(topics.delete("new".into()).await.unwrap_err().message, "delete");
    assert_eq!(topics.get("new".into()).await.unwrap_err().message, "get");
    assert_eq!(topics.list().await.unwrap_err().message, "list");

    let elsewhere = cluster.seat(2);
    let topics = ClusterTopics::new(elsewhere.operator.clone(), Arc::new(StoresTopics));
    let refused = topics.create(create("else", None, &[])).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotController);
}
