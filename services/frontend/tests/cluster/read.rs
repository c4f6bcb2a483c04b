use std::time::Duration;

use tidelog_format::pointer::Pointer;
use tidelog_meta::{Txn, keys};
use tidelog_model::{ErrorCode, Incarnation, LeaderEpoch, NodeId, ObjectId, Offset, TopicPartition};
use tidelog_peer::{Fetch, Fetched, Isolation, OffsetSpec, PartitionStore as _};

use crate::store::{Asked, Manner};
use crate::world::{World, plain, within};

fn fetch(partition: TopicPartition, from: u64) -> Fetch {
    Fetch {
        partition,
        from: Offset(from),
        max_bytes: 1 << 20,
        max_wait: None,
        isolation: Isolation::ReadUncommitted,
        follower: false,
    }
}

fn batches(fetched: &Fetched) -> usize {
    match fetched {
        Fetched::Batches { batches, .. } => batches.len(),
        Fetched::Tiered { .. } | Fetched::Nothing { .. } => 0,
    }
}

fn pointer(log_start: u64, tiered_end: u64) -> Pointer {
    Pointer {
        incarnation: Incarnation::FIRST,
        epoch: LeaderEpoch(1),
        sequence: 1,
        root: ObjectId(uuid::Uuid::nil()),
        root_bytes: 1,
        log_start: Offset(log_start),
        tiered_end: Offset(tiered_end),
        bytes: 1,
        segments: 1,
        records: 1,
    }
}

/// A partition with a record in it, led by store 1.
async fn written(world: &World) -> TopicPartition {
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, plain("x")).await.unwrap()).await.unwrap();
    id
}

#[tokio::test]
async fn a_follower_in_the_rack_is_read_from_and_the_leader_when_it_fails() {
    let world = World::with_options(3, |options| options.rack = Some("rack-2".to_owned())).await;
    let id = written(&world).await;
    assert_eq!(batches(&within(world.router.fetch(fetch(id, 0))).await.unwrap()), 1);
    assert_eq!(world.logs.asked(), [(NodeId(2), Asked::Fetch { follower: true })]);
    for code in [ErrorCode::OffsetOutOfRange, ErrorCode::NotLeaderOrFollower, ErrorCode::Internal] {
        world.store(2).behave(Manner::Refusing(code));
        assert_eq!(batches(&within(world.router.fetch(fetch(id, 0))).await.unwrap()), 1);
        let last = *world.logs.asked().last().unwrap();
        assert_eq!(last, (NodeId(1), Asked::Fetch { follower: false }));
    }
    world.kill(2).await;
    assert_eq!(batches(&within(world.router.fetch(fetch(id, 0))).await.unwrap()), 1);
    world.stop().await;
}

#[tokio::test]
async fn reads_follow_the_leader_and_survive_its_death() {
    let world = World::with(2).await;
    let id = written(&world).await;
    assert_eq!(batches(&within(world.router.fetch(fetch(id, 0))).await.unwrap()), 1);
    world.kill(1).await;
    let reading = within(async {
        tokio::join!(
            world.router.fetch(fetch(id, 0)),
            world.router.list_offset(id, OffsetSpec::End, Isolation::ReadUncommitted),
            world.router.describe(id),
            world.elect(id, 2),
        )
    });
    let (fetched, listed, described, ()) = reading.await;
    assert_eq!(batches(&fetched.unwrap()), 1);
    assert_eq!(listed.unwrap().unwrap().offset, Offset(1));
    assert_eq!(described.unwrap().marks.log_end, Offset(1));
    world.stop().await;
}

#[tokio::test]
async fn what_the_bucket_has_is_found_without_any_leader() {
    let change = |options: &mut tidelog_frontend::RouterOptions| {
        options.call_timeout = Duration::from_millis(100);
    };
    let world = World::with_options(1, change).await;
    let id = world.topic("orders", 1).await[0];
    let known = pointer(10, 20);
    world.commit(Txn::new().put(&keys::pointer(id), &known)).await;
    match within(world.router.fetch(fetch(id, 10))).await.unwrap() {
        Fetched::Tiered { pointer, marks } => {
            assert_eq!(pointer, known);
            assert_eq!((marks.log_start, marks.tiered_end), (Offset(10), Offset(20)));
        }
        other => panic!("{other:?}"),
    }
    let mut deleted = fetch(id, 10);
    deleted.partition.partition.0 = 1;
    world.commit(Txn::new().put(&keys::pointer(deleted.partition), &known)).await;
    let deleted = within(world.router.fetch(deleted)).await.unwrap_err();
    assert_eq!(deleted.code, ErrorCode::UnknownTopicOrPartition, "a pointer makes no partition");
    let below = within(world.router.fetch(fetch(id, 9))).await.unwrap_err();
    assert_eq!(below.code, ErrorCode::OffsetOutOfRange);
    let beyond = within(world.router.fetch(fetch(id, 20))).await.unwrap_err();
    assert_eq!(beyond.code, ErrorCode::LeaderNotAvailable);
    assert!(beyond.message.contains("partition 0 of topic orders"), "{beyond}");
    world.stop().await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_left_when_its_lease_ends() {
    let change = |options: &mut tidelog_frontend::RouterOptions| {
        options.call_timeout = Duration::from_mins(10);
    };
    let world = World::with_options(2, change).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    world.commit(Txn::new().put(&keys::pointer(id), &pointer(0, 5))).await;
    world.store(1).behave(Manner::Hanging);
    let expire = async {
        world.logs.until(|logs| !logs.asked().is_empty()).await;
        world.expire(1).await;
    };
    let (found, ()) = within(async { tokio::join!(world.router.fetch(fetch(id, 4)), expire) }).await;
    assert!(matches!(found, Ok(Fetched::Tiered { .. })), "{found:?}");
    world.stop().await;
}

#[tokio::test]
async fn offload_reaches_leaders_and_evict_all_who_hold_something() {
    let world = World::with(3).await;
    let partitions = world.led_topic("orders", 2, 1).await;
    world.elect(partitions[1], 2).await;
    world
        .until(|world| {
            let image = world.mirror.image();
            image
                .partition(partitions[1])
                .and_then(|record| record.leader)
                .is_some_and(|l| l.node == NodeId(2))
        })
        .await;
    within(world.router.offload(partitions[0].topic)).await.unwrap();
    let mut asked = world.logs.asked();
    asked.sort_by_key(|(node, _)| *node);
    assert_eq!(asked, [(NodeId(1), Asked::Offload), (NodeId(2), Asked::Offload)]);
    within(world.router.evict(partitions[0].topic)).await.unwrap();
    let evicted: Vec<_> =
        world.logs.asked().into_iter().filter(|(_, asked)| *asked == Asked::Evict).collect();
    assert_eq!(evicted.len(), 3);
    world.stop().await;
}

#[tokio::test]
async fn offload_goes_on_where_a_partition_went() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    world.store(1).behave(Manner::Refusing(ErrorCode::NotLeaderOrFollower));
    let (offloaded, ()) = within(async {
        tokio::join!(world.router.offload(id.topic), async {
            world.logs.until(|logs| !logs.asked().is_empty()).await;
            world.elect(id, 2).await;
        })
    })
    .await;
    offloaded.unwrap();
    assert_eq!(world.logs.asked().last(), Some(&(NodeId(2), Asked::Offload)));
    world.stop().await;
}

#[tokio::test]
async fn any_store_gives_out_producer_ids() {
    let world = World::with(3).await;
    within(world.until(|world| world.mirror.image().live_nodes().count() == 3)).await;
    world.kill(1).await;
    world.store(2).behave(Manner::Refusing(ErrorCode::ShuttingDown));
    for _ in 0..6 {
        assert_eq!(within(world.router.init_producer()).await.unwrap().0.0, 3);
    }
    world.stop().await;
}
