use std::collections::{HashMap, VecDeque};

use tidelog_frontend::Router;
use tidelog_meta::{Txn, keys};
use tidelog_model::{ErrorCode, NodeId, Offset, TopicPartition};
use tidelog_peer::{Ack, PartitionStore as _};

use crate::store::Manner;
use crate::world::{World, large, plain, stamped, within};

/// Sends one numbered batch after the other to each partition in turn, some at a time, as a session does.
/// Returns where each of them is.
async fn session(
    router: Router,
    producer: i64,
    partitions: Vec<TopicPartition>,
    batches: i32,
) -> HashMap<(TopicPartition, i32), Offset> {
    const IN_FLIGHT: usize = 5;
    let mut acks: HashMap<TopicPartition, VecDeque<(i32, Ack)>> = HashMap::new();
    let mut placed = HashMap::new();
    for sequence in 0..batches {
        for id in &partitions {
            let acks = acks.entry(*id).or_default();
            if acks.len() == IN_FLIGHT {
                let (sequence, ack) = acks.pop_front().unwrap();
                placed.insert((*id, sequence), within(ack).await.unwrap().base_offset);
            }
            acks.push_back((sequence, router.produce(*id, stamped(producer, sequence)).await.unwrap()));
        }
    }
    for (id, acks) in acks {
        for (sequence, ack) in acks {
            placed.insert((id, sequence), within(ack).await.unwrap().base_offset);
        }
    }
    placed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_is_there_once_and_in_order_while_leaders_move_and_die() {
    const BATCHES: i32 = 300;
    let world = World::with(3).await;
    let partitions = world.led_topic("orders", 3, 1).await;
    let sessions: Vec<_> = [10, 11]
        .map(|producer| tokio::spawn(session(world.router.clone(), producer, partitions.clone(), BATCHES)))
        .into();
    let all = partitions.len() * BATCHES as usize * 2;
    for turn in 1..=12 {
        world.logs.until(|logs| logs.total() >= all * turn / 14).await;
        let (old, new) = ((turn as u32 - 1) % 3 + 1, turn as u32 % 3 + 1);
        match turn % 4 {
            // Those that lead are killed, and started again later.
            0 => {
                world.kill(old).await;
                world.elect_all(&partitions, Some(new)).await;
                world.start_store(old).await;
            }
            // Everyone else hears of it before the new leader does.
            1 => {
                for id in &partitions {
                    world.logs.with(*id, |log| log.leader = None);
                }
                world.announce(&partitions, Some(new)).await;
                for id in &partitions {
                    world.logs.with(*id, |log| log.leader = Some(NodeId(new)));
                }
            }
            // Nobody leads for a while.
            2 => {
                world.elect_all(&partitions, None).await;
                world.elect_all(&partitions, Some(new)).await;
            }
            _ => world.elect_all(&partitions, Some(new)).await,
        }
    }
    for (producer, session) in [10, 11].into_iter().zip(sessions) {
        let placed = within(session).await.unwrap();
        for id in &partitions {
            let log = world.logs.with(*id, |log| {
                let of_producer = log.batches.iter().enumerate().filter(|(_, batch)| batch.0 == producer);
                of_producer.map(|(offset, batch)| (batch.1, offset)).collect::<Vec<_>>()
            });
            let sequences: Vec<_> = log.iter().map(|(sequence, _)| *sequence).collect();
            assert_eq!(sequences, (0..BATCHES).collect::<Vec<_>>());
            for (sequence, offset) in log {
                assert_eq!(placed[&(*id, sequence)], Offset(offset as u64));
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_outcome_without_producer_id_is_told_and_not_repeated() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    let first = world.router.produce(id, plain("first")).await.unwrap();
    within(first).await.unwrap();
    world.store(1).behave(Manner::Mute);
    let lost = world.router.produce(id, plain("lost")).await.unwrap();
    world.logs.until(|_| world.store(1).unanswered() == 1).await;
    world.kill(1).await;
    let error = within(lost).await.unwrap_err();
    assert!(!error.has_no_side_effects(), "{error}");
    let next = world.router.produce(id, plain("next")).await.unwrap();
    world.elect(id, 2).await;
    assert_eq!(within(next).await.unwrap().base_offset, Offset(2));
    assert_eq!(world.logs.with(id, |log| log.batches.len()), 3);
    world.stop().await;
}

#[tokio::test]
async fn a_killed_stores_batches_go_to_the_next_leader() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, stamped(1, 0)).await.unwrap()).await.unwrap();
    // Of the five that it gets, the store appends two before it dies, and acknowledges none.
    world.store(1).behave(Manner::Mute);
    let mut acks = Vec::new();
    for sequence in 1..=2 {
        acks.push(world.router.produce(id, stamped(1, sequence)).await.unwrap());
    }
    world.logs.until(|_| world.store(1).unanswered() == 2).await;
    world.store(1).behave(Manner::Deaf);
    for sequence in 3..=5 {
        acks.push(world.router.produce(id, stamped(1, sequence)).await.unwrap());
    }
    world.logs.until(|_| world.store(1).unanswered() == 5).await;
    world.kill(1).await;
    world.elect(id, 2).await;
    for (ack, offset) in acks.into_iter().zip(1..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    assert_eq!(world.logs.with(id, |log| log.batches.len()), 6);
    world.stop().await;
}

#[tokio::test]
async fn a_gap_that_a_refusal_made_is_closed_and_not_told() {
    let world = World::with(1).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    for sequence in 0..2 {
        within(world.router.produce(id, stamped(1, sequence)).await.unwrap()).await.unwrap();
    }
    world.store(1).refusals.lock().push(ErrorCode::NotLeaderOrFollower);
    let mut acks = Vec::new();
    for sequence in 2..6 {
        acks.push(world.router.produce(id, stamped(1, sequence)).await.unwrap());
    }
    for (ack, offset) in acks.into_iter().zip(2..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    world.stop().await;
}

#[tokio::test]
async fn batches_wait_for_a_leader_in_their_order() {
    let world = World::with(1).await;
    let id = world.topic("orders", 1).await[0];
    let mut acks = Vec::new();
    for n in 0..20 {
        acks.push(world.router.produce(id, plain(&n.to_string())).await.unwrap());
    }
    world.elect(id, 1).await;
    for (ack, offset) in acks.into_iter().zip(0..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    world.stop().await;
}

#[tokio::test]
async fn a_leader_that_hangs_is_not_waited_for_once_it_was_replaced() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, stamped(1, 0)).await.unwrap()).await.unwrap();
    world.store(1).behave(Manner::Deaf);
    let stamped_batch = world.router.produce(id, stamped(1, 1)).await.unwrap();
    let plain_batch = world.router.produce(id, plain("?")).await.unwrap();
    world.logs.until(|_| world.store(1).unanswered() == 2).await;
    world.elect(id, 2).await;
    assert_eq!(within(stamped_batch).await.unwrap().base_offset, Offset(1));
    let error = within(plain_batch).await.unwrap_err();
    assert!(!error.has_no_side_effects());
    assert!(error.message.contains("partition 0 of topic orders"), "{error}");
    world.stop().await;
}

/// More than a lane to a store takes without an acknowledgement.
const FULL: i32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_lane_does_not_take_follows_when_there_is_room() {
    let world = World::with(1).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, large(1, 0)).await.unwrap()).await.unwrap();
    world.store(1).behave(Manner::Mute);
    let mut acks = Vec::new();
    for sequence in 1..=FULL {
        acks.push(world.router.produce(id, large(1, sequence)).await.unwrap());
    }
    world.logs.until(|_| world.store(1).unanswered() >= 10).await;
    world.store(1).speak();
    for (ack, offset) in acks.into_iter().zip(1..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    assert_eq!(world.logs.with(id, |log| log.batches.len()), FULL as usize + 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_to_a_leader_that_hangs_holds_nothing_up_once_it_was_replaced() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, large(1, 0)).await.unwrap()).await.unwrap();
    world.store(1).behave(Manner::Deaf);
    let mut acks = Vec::new();
    for sequence in 1..=FULL {
        acks.push(world.router.produce(id, large(1, sequence)).await.unwrap());
    }
    let mut last = world.router.produce(id, plain("never sent to the first")).await.unwrap();
    world.logs.until(|_| world.store(1).unanswered() >= 10).await;
    world.elect(id, 2).await;
    for (ack, offset) in acks.into_iter().zip(1..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    assert_eq!(within(&mut last).await.unwrap().base_offset, Offset(FULL as u64 + 1));
    world.stop().await;
}

#[tokio::test]
async fn a_partition_that_does_not_exist_is_refused_at_once() {
    let world = World::with(1).await;
    let mut id = world.led_topic("orders", 1, 1).await[0];
    id.partition.0 = 1;
    let error = world.router.produce(id, plain("x")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::UnknownTopicOrPartition);
    world.stop().await;
}

#[tokio::test]
async fn a_leader_that_has_not_heard_of_its_partition_yet_is_asked_again() {
    let world = World::with(1).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    *world.store(1).refusals.lock() = vec![ErrorCode::UnknownTopicOrPartition; 3];
    let mut acks = Vec::new();
    for n in 0..3 {
        acks.push(world.router.produce(id, plain(&n.to_string())).await.unwrap());
    }
    for (ack, offset) in acks.into_iter().zip(0..) {
        assert_eq!(within(ack).await.unwrap().base_offset, Offset(offset));
    }
    world.stop().await;
}

#[tokio::test]
async fn batches_that_wait_are_refused_when_their_topic_is_deleted() {
    let world = World::with(1).await;
    let id = world.topic("orders", 1).await[0];
    let ack = world.router.produce(id, plain("x")).await.unwrap();
    world.commit(Txn::new().delete(&keys::topic(id.topic))).await;
    assert_eq!(within(ack).await.unwrap_err().code, ErrorCode::UnknownTopicOrPartition);
    world.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_leader_is_bounded_and_goes_when_nobody_waits_for_it() {
    let change = |options: &mut tidelog_frontend::RouterOptions| {
        options.partition_bytes = 2_000;
        options.room_timeout = std::time::Duration::from_millis(50);
    };
    let world = World::with_options(1, change).await;
    let id = world.topic("orders", 1).await[0];
    let mut acks = Vec::new();
    let error = loop {
        match world.router.produce(id, plain("x")).await {
            Ok(ack) => acks.push(ack),
            Err(error) => break error,
        }
        assert!(acks.len() < 10);
    };
    assert_eq!(error.code, ErrorCode::ThrottlingQuotaExceeded);
    assert!(error.message.contains("partition 0 of topic orders"), "{error}");
    acks.clear();
    let last = async {
        loop {
            if let Ok(ack) = world.router.produce(id, plain("last")).await {
                world.elect(id, 1).await;
                return ack.await;
            }
        }
    };
    assert_eq!(within(last).await.unwrap().base_offset, Offset(0));
    world.stop().await;
}

#[tokio::test]
async fn a_gap_in_what_is_heard_of_the_cluster_loses_no_leader() {
    let world = World::with(2).await;
    let id = world.led_topic("orders", 1, 1).await[0];
    within(world.router.produce(id, stamped(1, 0)).await.unwrap()).await.unwrap();
    world.meta.fall_silent();
    world.elect(id, 2).await;
    let ack = world.router.produce(id, stamped(1, 1)).await.unwrap();
    world.meta.tear();
    assert_eq!(within(ack).await.unwrap().base_offset, Offset(1));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_partitions_need_no_tasks_when_nothing_is_wrong() {
    let world = World::with(2).await;
    let partitions = world.led_topic("wide", 1000, 1).await;
    for sequence in 0..3 {
        let mut acks = Vec::new();
        for id in &partitions {
            acks.push(world.router.produce(*id, stamped(1, sequence)).await.unwrap());
        }
        for ack in acks {
            within(ack).await.unwrap();
        }
    }
    // One that follows the image, the call lane and the lanes for batches of one connection.
    within(async {
        while world.tasks.running() > 8 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.stop().await;
}
