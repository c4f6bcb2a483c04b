use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt as _;
use tidelog_meta::{Txn, keys};
use tidelog_model::{
    ErrorCode, NodeId, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition,
};
use tidelog_peer::{CreateTopic, PartitionStore as _, StoreError, TopicInfo, TopicRef, Topics as _};

use crate::store::{Asked, Controls};
use crate::world::{World, plain, within};

/// Writes topics as the controller does, but leaves it to the test to name leaders.
struct Controller(Arc<World>);

#[async_trait]
impl Controls for Controller {
    async fn create(&self, _: NodeId, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        let id = TopicId(uuid::Uuid::new_v4());
        self.0.put_topic(id, &request.name, request.partitions).await;
        Ok(TopicInfo {
            id,
            name: TopicName::new(&request.name).unwrap(),
            partitions: request.partitions,
            config: TopicConfig::default(),
            created: TimestampMs(7),
        })
    }

    async fn delete(&self, _: NodeId, topic: TopicRef) -> Result<(), StoreError> {
        let TopicRef::Id(id) = topic else { return Err(ErrorCode::InvalidTopic.into()) };
        self.0.commit(Txn::new().delete(&keys::topic(id))).await;
        Ok(())
    }
}

fn two_partitions(name: &str) -> CreateTopic {
    CreateTopic { name: name.to_owned(), partitions: 2, config: Vec::new() }
}

#[tokio::test]
async fn create_returns_when_every_partition_can_be_written_to() {
    let world = Arc::new(World::with(2).await);
    *world.store(1).controls.lock() = Some(Arc::new(Controller(Arc::clone(&world))));
    world.elect_controller(1).await;
    let create = world.router.create(two_partitions("orders"));
    tokio::pin!(create);
    let seen = world.until(|world| world.router.get("orders".into()).now_or_never().unwrap().is_ok());
    tokio::select! {
        created = &mut create => panic!("nobody leads yet: {created:?}"),
        () = within(seen) => {}
    }
    let id = world.router.get("orders".into()).await.unwrap().id;
    let partitions = [0, 1].map(|number| TopicPartition::new(id, PartitionId(number)));
    world.elect(partitions[1], 2).await;
    let half = world.until(|world| world.mirror.image().partition(partitions[1]).is_some());
    tokio::select! {
        created = &mut create => panic!("nobody leads the first one yet: {created:?}"),
        () = within(half) => {}
    }
    world.elect(partitions[0], 1).await;
    assert_eq!(within(create).await.unwrap().id, id);
    for partition in partitions {
        within(world.router.produce(partition, plain("x")).await.unwrap()).await.unwrap();
    }
    *world.store(1).controls.lock() = None;
}

#[tokio::test]
async fn what_was_deleted_is_not_seen_any_more() {
    let world = Arc::new(World::with(1).await);
    *world.store(1).controls.lock() = Some(Arc::new(Controller(Arc::clone(&world))));
    world.elect_controller(1).await;
    let id = world.led_topic("orders", 1, 1).await[0].topic;
    world.led_topic("invoices", 1, 1).await;
    let names =
        |topics: Vec<TopicInfo>| topics.into_iter().map(|topic| topic.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(world.router.list().await.unwrap()), ["invoices", "orders"]);
    within(world.router.delete("orders".into())).await.unwrap();
    for topic in [TopicRef::from("orders"), TopicRef::Id(id)] {
        let error = world.router.get(topic).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::UnknownTopicOrPartition);
    }
    assert_eq!(names(world.router.list().await.unwrap()), ["invoices"]);
    *world.store(1).controls.lock() = None;
}

#[tokio::test]
async fn changes_find_the_controller_wherever_it_went() {
    let world = Arc::new(World::with(2).await);
    // The first one elected has lost the election and knows it, or has not begun yet.
    world.elect_controller(1).await;
    let id = world.led_topic("orders", 1, 1).await[0].topic;
    let delete = world.router.delete(id.into());
    let move_on = async {
        world.logs.until(|logs| logs.asked().contains(&(NodeId(1), Asked::Topics))).await;
        *world.store(2).controls.lock() = Some(Arc::new(Controller(Arc::clone(&world))));
        world.elect_controller(2).await;
    };
    let (deleted, ()) = within(async { tokio::join!(delete, move_on) }).await;
    deleted.unwrap();
    assert_eq!(world.logs.asked().last(), Some(&(NodeId(2), Asked::Topics)));
    *world.store(2).controls.lock() = None;
}
