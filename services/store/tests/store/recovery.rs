//! What a store remembers when it comes back.

use crate::support::{Site, batch_at, batch_of, partition, texts, values};
use tidelog_model::{ErrorCode, Offset};
use tidelog_peer::{PartitionStore as _, Topics as _};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_survive_a_crash_in_every_partition() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 4, &[]).await;
    for round in 0..50 {
        for number in 0..4 {
            let values = values(&format!("{number}/{round}"), 3);
            running.produce(partition(&topic, number), batch_at(site.now(), &values)).await.unwrap();
        }
    }
    let mut site = site.crashed();
    // Twice: what the first recovery leaves must be as good.
    for _ in 0..2 {
        let running = site.start().await;
        for number in 0..4 {
            let read = running.read(partition(&topic, number), Offset(0)).await.unwrap();
            let expected: Vec<_> =
                (0..50).flat_map(|round| values(&format!("{number}/{round}"), 3)).collect();
            assert_eq!(texts(&read), expected);
        }
        site = site.crashed();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_recognised_after_a_crash() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    let producer = running.store.init_producer().await.unwrap();
    for n in 0..7 {
        running.produce(tp, batch_of(producer, n * 2, site.now(), &values("v", 2))).await.unwrap();
    }
    let site = site.crashed();
    let running = site.start().await;
    for n in 2..7_u64 {
        let repeated = batch_of(producer, n as i32 * 2, site.now(), &values("v", 2));
        assert_eq!(running.produce(tp, repeated).await.unwrap().base_offset, Offset(n * 2));
    }
    let old = batch_of(producer, 0, site.now(), &values("v", 2));
    assert_eq!(running.produce(tp, old).await.unwrap_err().code, ErrorCode::DuplicateSequence);
    let gap = batch_of(producer, 20, site.now(), &values("v", 2));
    assert_eq!(running.produce(tp, gap).await.unwrap_err().code, ErrorCode::OutOfOrderSequence);
    let next = batch_of(producer, 14, site.now(), &values("v", 2));
    assert_eq!(running.produce(tp, next).await.unwrap().base_offset, Offset(14));
    assert_eq!(running.describe(tp).await.marks.log_end, Offset(16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_batch_is_recognised_when_only_the_bucket_has_the_first_copy() {
    let mut site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    let producer = running.store.init_producer().await.unwrap();
    for n in 0..3 {
        running.produce(tp, batch_of(producer, n, site.now(), &values("v", 1))).await.unwrap();
    }
    running.store.offload(topic.id).await.unwrap();
    running.store.evict(topic.id).await.unwrap();
    running.stop().await;
    for file in site.journal_files() {
        std::fs::remove_file(file).unwrap();
    }
    site.accepts_damage = true;
    let running = site.start().await;
    running.serving(tp).await;
    let repeated = batch_of(producer, 2, site.now(), &values("v", 1));
    assert_eq!(running.produce(tp, repeated).await.unwrap().base_offset, Offset(2));
    let next = batch_of(producer, 3, site.now(), &values("w", 1));
    assert_eq!(running.produce(tp, next).await.unwrap().base_offset, Offset(3));
    // And what was appended on top of it is found again together with it.
    let site = site.crashed();
    let running = site.start().await;
    let read = running.read(tp, Offset(0)).await.unwrap();
    assert_eq!(texts(&read), ["v-0", "v-0", "v-0", "w-0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_start_leads_under_a_new_epoch() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    let mut running = Some(running);
    for round in 0..4_u32 {
        let current = match running.take() {
            Some(current) => current,
            None => site.start().await,
        };
        // A start that appends nothing leaves no trace in the history, and its epoch is not used again.
        if round != 2 {
            current.produce(tp, batch_at(site.now(), &["v"])).await.unwrap();
        }
        current.stop().await;
    }
    let running = site.start().await;
    let epochs = running.epochs_of_batches(tp).await;
    assert_eq!(epochs, [1, 2, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_partitions_are_created_at_once_and_led_again_after_a_restart() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("many", 5_000, &[]).await;
    for number in [0, 1, 2_500, 4_999] {
        running.produce(partition(&topic, number), batch_at(site.now(), &["v"])).await.unwrap();
    }
    running.stop().await;
    let running = site.start().await;
    assert_eq!(running.named("many").await, topic);
    for number in [0, 1, 2_500, 4_999] {
        let tp = partition(&topic, number);
        assert_eq!(running.produce(tp, batch_at(site.now(), &["w"])).await.unwrap().base_offset, Offset(1));
    }
    let unknown = running.store.describe(partition(&topic, 5_000)).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownTopicOrPartition);
}

#[tokio::test(flavor = "multi_thread")]
async fn producer_ids_are_never_handed_out_twice() {
    let site = Site::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..3 {
        let running = site.start().await;
        for _ in 0..1_500 {
            let (id, _) = running.store.init_producer().await.unwrap();
            assert!(seen.insert(id), "{id} twice");
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_their_settings_come_back() {
    let site = Site::new();
    let running = site.start().await;
    let first = running.topic("a", 2, &[("segment.bytes", "1048576")]).await;
    running.topic("b", 1, &[]).await;
    let altered = running
        .store
        .alter("a".into(), vec![("compression.type".to_owned(), "zstd".to_owned())])
        .await
        .unwrap();
    assert_eq!((altered.id, altered.config.segment_bytes), (first.id, 1_048_576));
    running.stop().await;
    let running = site.start().await;
    assert_eq!(running.named("a").await, altered);
    let names: Vec<_> = running.store.list().await.unwrap().into_iter().map(|t| t.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
}
