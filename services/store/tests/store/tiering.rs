//! Records on their way to the bucket, and back.

use std::time::Duration;

use crate::support::{MIB, Site, batch_at, batch_of, partition, texts, values};
use tidelog_cold::Bucket;
use tidelog_cold::bucket::faults::{Call, Fault, Faults};
use tidelog_model::{ErrorCode, Offset, TimestampMs};
use tidelog_peer::{Fetch, Fetched, Isolation, OffsetSpec, PartitionStore as _};

/// Nothing gets through to the bucket any more.
fn down(faults: &Faults) {
    for call in [Call::Get, Call::Head, Call::Put, Call::Begin, Call::Part, Call::Complete, Call::List] {
        faults.fail(call, "", usize::MAX, Fault::Unreachable);
    }
}

/// A value of a kibibyte that tells where it belongs.
fn large(label: &str, number: usize) -> String {
    format!("{label}-{number:0>1000}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_the_same_from_either_tier_and_across_the_seam() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 2, &[]).await;
    let mut expected = [Vec::new(), Vec::new()];
    for part in ["cold", "both", "hot"] {
        for number in 0..2_u32 {
            for n in 0..20 {
                let value = large(part, n);
                running.produce(partition(&topic, number), batch_at(site.now(), &[&value])).await.unwrap();
                expected[number as usize].push(value);
            }
        }
        match part {
            "cold" => {
                running.store.offload(topic.id).await.unwrap();
                running.store.evict(topic.id).await.unwrap();
            }
            "both" => running.store.offload(topic.id).await.unwrap(),
            _ => {}
        }
    }
    let check = async |running: &crate::support::Running| {
        for number in 0..2_u32 {
            let tp = partition(&topic, number);
            let marks = running.describe(tp).await.marks;
            assert_eq!(
                [marks.log_start, marks.tiered_end, marks.high_watermark],
                [Offset(0), Offset(40), Offset(60)]
            );
            for from in [0_usize, 7, 20, 33, 40, 59, 60] {
                let read = running.read(tp, Offset(from as u64)).await.unwrap();
                assert_eq!(texts(&read), expected[number as usize][from..]);
            }
        }
    };
    let description = running.describe(partition(&topic, 0)).await;
    assert_eq!(description.marks.local_start, Offset(20));
    assert_eq!((description.segments, description.untiered_bytes > 20_000), (2, true));
    check(&running).await;
    running.stop().await;
    let running = site.start().await;
    check(&running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_go_to_the_bucket_by_size_and_by_age() {
    let site = Site::new();
    let running = site.start().await;
    let by_size = running.topic("size", 1, &[("segment.bytes", "1048576")]).await;
    let by_age = running.topic("age", 1, &[("tier.max.age.ms", "60000")]).await;
    let (large_one, old_one) = (partition(&by_size, 0), partition(&by_age, 0));
    running.produce(old_one, batch_at(site.now(), &["v"])).await.unwrap();
    for n in 0..40 {
        let value = vec![b'x'; 64 * 1024];
        let produced = running.produce(large_one, batch_at(site.now(), &[value])).await.unwrap();
        assert_eq!(produced.base_offset, Offset(n));
    }
    let moved = running.until(large_one, |d| d.untiered_bytes < MIB).await;
    assert!(moved.segments >= 1 && moved.bucket_bytes > MIB, "{moved:?}");
    assert_eq!(running.describe(old_one).await.segments, 0);
    site.advance(60_001);
    let moved = running.until(old_one, |d| d.marks.tiered_end == Offset(1)).await;
    assert_eq!((moved.untiered_bytes, moved.untiered_ms), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_no_larger_than_the_topic_says() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[("segment.bytes", "1048576"), ("tier.max.age.ms", "3600000")]).await;
    let tp = partition(&topic, 0);
    let mut acks = Vec::new();
    for _ in 0..56 {
        let batch = batch_at(site.now(), &[vec![b'x'; 64 * 1024]]);
        acks.push(running.store.produce(tp, batch).await.unwrap());
    }
    for ack in acks {
        ack.await.unwrap();
    }
    running.store.offload(topic.id).await.unwrap();
    let described = running.describe(tp).await;
    assert!(described.segments >= 4 && described.untiered_bytes == 0, "{described:?}");
    assert_eq!(running.read(tp, Offset(0)).await.unwrap().len(), 56);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_by_timestamp_is_the_first_record_that_late_in_both_tiers() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]).await;
    let tp = partition(&topic, 0);
    // Timestamps go back and forth: 0 30 10 40 20 50 ...
    let times: Vec<i64> = (0..20).map(|n| if n % 2 == 0 { n * 5 } else { n * 5 + 25 }).collect();
    for (n, time) in times.iter().enumerate() {
        running.produce(tp, batch_at(TimestampMs(*time), &[n.to_string()])).await.unwrap();
        if n == 9 {
            running.store.offload(topic.id).await.unwrap();
            running.store.evict(topic.id).await.unwrap();
        }
    }
    for wanted in 0..140 {
        let spec = OffsetSpec::Timestamp(TimestampMs(wanted));
        let found = running.store.list_offset(tp, spec, Isolation::ReadUncommitted).await.unwrap();
        let expected = times.iter().position(|time| *time >= wanted);
        assert_eq!(found.map(|found| found.offset.0 as usize), expected, "timestamp {wanted}");
        if let Some(found) = found {
            assert_eq!(found.timestamp, TimestampMs(times[found.offset.0 as usize]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_bucket_is_down_records_are_taken_and_later_they_get_there() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let site = Site::with_bucket(bucket);
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    down(&faults);
    for n in 0..10 {
        running.produce(tp, batch_at(site.now(), &values("v", 1))).await.unwrap();
        assert_eq!(running.describe(tp).await.marks.high_watermark, Offset(n + 1));
    }
    let error = running.store.offload(topic.id).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BucketUnavailable, "{error}");
    assert!(running.describe(tp).await.untiered_bytes > 0);
    assert_eq!(running.read(tp, Offset(0)).await.unwrap().len(), 10);
    faults.heal();
    running.store.offload(topic.id).await.unwrap();
    running.store.evict(topic.id).await.unwrap();
    assert_eq!(running.read(tp, Offset(0)).await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_refuses_records_until_the_bucket_takes_some() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut site = Site::with_bucket(bucket);
    (site.file_bytes, site.budget_bytes) = (MIB, 8 * MIB);
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    down(&faults);
    let batch = || batch_at(site.now(), &[vec![b'x'; 128 * 1024]]);
    let mut taken = 0_u64;
    let refused = loop {
        match running.produce(tp, batch()).await {
            Ok(produced) => assert_eq!(produced.base_offset, Offset(taken)),
            Err(error) => break error,
        }
        taken += 1;
        assert!(taken < 1_000, "the budget is never full");
    };
    assert_eq!(refused.code, ErrorCode::BacklogFull);
    assert!(refused.is_retryable() && refused.has_no_side_effects());
    assert_eq!(running.read(tp, Offset(0)).await.unwrap().len() as u64, taken, "reads go on");
    faults.heal();
    running.store.offload(topic.id).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    let produced = loop {
        match running.produce(tp, batch()).await {
            Ok(produced) => break produced,
            Err(error) => assert!(error.is_retryable() && tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
    };
    assert_eq!(produced.base_offset, Offset(taken), "what was refused left no gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_behind_a_refused_one_waits_for_its_turn() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    let mut site = Site::with_bucket(bucket);
    (site.file_bytes, site.budget_bytes) = (MIB, 8 * MIB);
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    down(&faults);
    let producer = running.store.init_producer().await.unwrap();
    let large = |first| batch_of(producer, first, site.now(), &[vec![b'x'; 200 * 1024]]);
    let small = |first| batch_of(producer, first, site.now(), &["small"]);
    let mut next = 0;
    while let Ok(produced) = running.produce(tp, large(next)).await {
        assert_eq!(produced.base_offset, Offset(next as u64));
        next += 1;
        assert!(next < 1_000, "the budget is never full");
    }
    // There may be room for this one, but it is not its turn; nothing of it is remembered.
    let refused = running.produce(tp, small(next + 1)).await.unwrap_err();
    assert!(matches!(refused.code, ErrorCode::OutOfOrderSequence | ErrorCode::BacklogFull), "{refused}");
    assert!(refused.has_no_side_effects());
    faults.heal();
    running.store.offload(topic.id).await.unwrap();
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    while let Err(error) = running.produce(tp, large(next)).await {
        assert!(error.is_retryable() && tokio::time::Instant::now() < deadline, "{error}");
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
    }
    let produced = running.produce(tp, small(next + 1)).await.unwrap();
    assert_eq!(produced.base_offset, Offset(next as u64 + 1), "in order, without a gap");
    let again = running.produce(tp, large(next)).await.unwrap();
    assert_eq!(again.base_offset, Offset(next as u64), "what was refused once is a duplicate now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_tier_of_a_few_files_holds_any_number_of_records_as_long_as_the_bucket_takes_them() {
    let mut site = Site::new();
    (site.file_bytes, site.budget_bytes) = (MIB, 8 * MIB);
    let running = site.start().await;
    let topic = running.topic("t", 2, &[]).await;
    let mut sent = 0;
    let deadline = tokio::time::Instant::now() + crate::support::SOON;
    while sent < 400 {
        let tp = partition(&topic, sent % 2);
        match running.produce(tp, batch_at(site.now(), &[vec![b'x'; 100 * 1024]])).await {
            Ok(_) => sent += 1,
            Err(error) => {
                assert!(error.is_retryable() && tokio::time::Instant::now() < deadline, "{error}");
                tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>())
                    .await
                    .unwrap_err();
            }
        }
    }
    for number in 0..2 {
        let tp = partition(&topic, number);
        assert!(running.describe(tp).await.marks.local_start > Offset(0));
        assert_eq!(running.read(tp, Offset(0)).await.unwrap().len(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_named_and_leaves_other_partitions_alone() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 2, &[]).await;
    for number in 0..2 {
        running.produce(partition(&topic, number), batch_at(site.now(), &["v"])).await.unwrap();
    }
    running.store.offload(topic.id).await.unwrap();
    running.store.evict(topic.id).await.unwrap();
    let Fetched::Tiered { pointer, .. } = running
        .store
        .fetch(Fetch {
            partition: partition(&topic, 0),
            from: Offset(0),
            max_bytes: 1,
            max_wait: None,
            isolation: Isolation::ReadUncommitted,
            follower: false,
        })
        .await
        .unwrap()
    else {
        panic!("the record should be in the bucket alone");
    };
    let key = pointer.root_key(partition(&topic, 0)).to_string();
    let mut bytes = site.bucket.get(&key, MIB).await.unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    site.bucket.put(&key, bytes.into()).await.unwrap();
    running.stop().await;
    let running = site.start().await;
    running.store.evict(topic.id).await.unwrap();
    let error = running.read(partition(&topic, 0), Offset(0)).await.unwrap_err();
    assert!(error.message.contains(&key), "{error}");
    assert_eq!(running.read(partition(&topic, 1), Offset(0)).await.unwrap().len(), 1);
    running.produce(partition(&topic, 0), batch_at(site.now(), &["w"])).await.unwrap();
    let error = running.store.offload(topic.id).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BucketCorrupt);
    assert!(error.message.contains(&key), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_in_the_bucket_is_that_of_the_segments_end() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[("segment.bytes", "1048576"), ("tier.max.age.ms", "3600000")]).await;
    let tp = partition(&topic, 0);
    let producer = running.store.init_producer().await.unwrap();
    for n in 0..24 {
        let batch = batch_of(producer, n, site.now(), &[vec![b'x'; 100 * 1024]]);
        running.produce(tp, batch).await.unwrap();
    }
    running.until(tp, |d| d.segments > 0).await;
    let Fetched::Tiered { pointer, .. } = tiered(&running, &topic, tp).await else {
        panic!("the first record should be in the bucket alone");
    };
    let state = running.cold.state(tp, &pointer).await.unwrap();
    assert_eq!(state.end, pointer.tiered_end);
    let newest = state.producers[0].batches.last().unwrap();
    assert_eq!(newest.base_offset + 1, pointer.tiered_end);
    assert_eq!(newest.first_sequence.0 as u64 + 1, pointer.tiered_end.0);
}

async fn tiered(
    running: &crate::support::Running,
    topic: &tidelog_peer::TopicInfo,
    partition: tidelog_model::TopicPartition,
) -> Fetched {
    running.store.evict(topic.id).await.unwrap();
    let fetch = Fetch {
        partition,
        from: Offset(0),
        max_bytes: 1,
        max_wait: None,
        isolation: Isolation::ReadUncommitted,
        follower: false,
    };
    running.store.fetch(fetch).await.unwrap()
}
