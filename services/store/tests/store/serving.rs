//! What callers get to see: waiting, refusals, deletion, identity.

use std::time::Duration;

use crate::support::{Site, batch_at, partition, texts, values};
use tidelog_cold::Bucket;
use tidelog_model::{ErrorCode, Offset, TimestampMs};
use tidelog_peer::{CreateTopic, Fetch, Fetched, Isolation, OffsetSpec, PartitionStore as _, Topics as _};
use tidelog_store::{IdentityError, OpenError, OwnerError};

fn fetch(partition: tidelog_model::TopicPartition, from: u64, wait: Option<Duration>) -> Fetch {
    Fetch {
        partition,
        from: Offset(from),
        max_bytes: 1 << 20,
        max_wait: wait,
        isolation: Isolation::ReadCommitted,
        follower: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_at_the_end_gets_the_next_record_when_it_comes() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    let nothing = running.store.fetch(fetch(tp, 0, None)).await.unwrap();
    assert!(matches!(nothing, Fetched::Nothing { .. }));
    let store = running.store.clone();
    let reader =
        tokio::spawn(async move { store.fetch(fetch(tp, 0, Some(crate::support::SOON))).await.unwrap() });
    running.produce(tp, batch_at(site.now(), &["v"])).await.unwrap();
    let Fetched::Batches { batches, marks } = reader.await.unwrap() else {
        panic!("the record did not come");
    };
    assert_eq!((batches.len(), marks.high_watermark), (1, Offset(1)));
    let short = running.store.fetch(fetch(tp, 1, Some(Duration::from_millis(10)))).await.unwrap();
    assert!(matches!(short, Fetched::Nothing { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_outside_of_the_log_is_refused_with_its_bounds() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    running.produce(tp, batch_at(site.now(), &values("v", 3))).await.unwrap();
    let error = running.store.fetch(fetch(tp, 4, None)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::OffsetOutOfRange);
    assert!(error.message.contains("0 to 3"), "{error}");
    for (spec, expected) in [(OffsetSpec::Start, 0), (OffsetSpec::End, 3)] {
        let found = running.store.list_offset(tp, spec, Isolation::ReadCommitted).await.unwrap().unwrap();
        assert_eq!(found.offset, Offset(expected));
    }
    let late = OffsetSpec::Timestamp(TimestampMs(i64::MAX));
    assert_eq!(running.store.list_offset(tp, late, Isolation::ReadCommitted).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_topics_that_cannot_be_are_refused_and_change_nothing() {
    let site = Site::new();
    let running = site.start().await;
    let create = |name: &str, partitions, config: &[(&str, &str)]| {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        running.store.create(CreateTopic {
            name: name.to_owned(),
            partitions,
            replication_factor: None,
            config,
        })
    };
    assert_eq!(create("a b", 1, &[]).await.unwrap_err().code, ErrorCode::InvalidTopic);
    assert_eq!(create("t", 0, &[]).await.unwrap_err().code, ErrorCode::InvalidPartitions);
    assert_eq!(create("t", 100_001, &[]).await.unwrap_err().code, ErrorCode::InvalidPartitions);
    let error = create("t", 1, &[("segment.bytes", "1"), ("x", "y")]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidConfig);
    assert!(error.message.contains("segment.bytes") && error.message.contains('x'), "{error}");
    create("t", 1, &[]).await.unwrap();
    assert_eq!(create("t", 1, &[]).await.unwrap_err().code, ErrorCode::TopicAlreadyExists);
    assert_eq!(create("t", 500, &[]).await.unwrap_err().code, ErrorCode::TopicAlreadyExists);
    assert_eq!(running.store.list().await.unwrap().len(), 1);
    let unknown = running.store.get("nobody".into()).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::UnknownTopicOrPartition);
    assert!(unknown.message.contains("nobody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_alone_has_one_replica_of_everything() {
    let site = Site::new();
    let running = site.start().await;
    let create = |name: &str, replication_factor, floor: Option<&str>| {
        let config = floor.map(|floor| ("min.insync.replicas".to_owned(), floor.to_owned()));
        let config = config.into_iter().collect();
        running.store.create(CreateTopic { name: name.to_owned(), partitions: 1, replication_factor, config })
    };
    for replicas in [0, 2, 3] {
        let refused = create("t", Some(replicas), None).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidReplicationFactor);
        assert!(refused.message.contains("single process"), "{refused}");
    }
    assert_eq!(create("t", None, Some("2")).await.unwrap_err().code, ErrorCode::InvalidConfig);
    assert_eq!(create("t", None, None).await.unwrap().replication_factor, 1);
    let set = create("set", Some(1), Some("1")).await.unwrap();
    assert_eq!(set.config.overrides()["min.insync.replicas"], "1");
    let two = vec![("min.insync.replicas".to_owned(), "2".to_owned())];
    let refused = running.store.alter("t".into(), two).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidConfig);
    assert!(refused.message.contains("replication factor, which is 1"), "{refused}");
    running.stop().await;
    let running = site.start().await;
    assert_eq!(running.store.get("set".into()).await.unwrap(), set);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_create_one_name_at_once_one_succeeds() {
    let site = Site::new();
    let running = site.start().await;
    let attempts = (0..8).map(|_| {
        let request = CreateTopic {
            name: "t".to_owned(),
            partitions: 300,
            replication_factor: None,
            config: Vec::new(),
        };
        running.store.create(request)
    });
    let outcomes = futures::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let won = outcomes.into_iter().find_map(Result::ok).unwrap();
    running.stop().await;
    let running = site.start().await;
    assert_eq!(running.store.list().await.unwrap(), [won]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_topic_is_gone_for_good_and_its_name_is_free() {
    let site = Site::new();
    let running = site.start().await;
    let old = running.topic("t", 2, &[]).await;
    let tp = partition(&old, 0);
    running.produce(tp, batch_at(site.now(), &values("old", 5))).await.unwrap();
    running.store.offload(old.id).await.unwrap();
    let store = running.store.clone();
    let waiting = tokio::spawn(async move { store.fetch(fetch(tp, 5, Some(crate::support::SOON))).await });
    running.produce(partition(&old, 1), batch_at(site.now(), &["v"])).await.unwrap();
    running.store.delete("t".into()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap_err().code, ErrorCode::UnknownTopicOrPartition);
    let refused = running.produce(tp, batch_at(site.now(), &["v"])).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::UnknownTopicOrPartition);
    let new = running.topic("t", 1, &[]).await;
    assert_ne!(new.id, old.id);
    running.produce(partition(&new, 0), batch_at(site.now(), &["new"])).await.unwrap();
    let mut site = site.crashed();
    // However often it starts, and whether or not the journal still has the old records.
    for _ in 0..4 {
        let running = site.start().await;
        assert_eq!(running.store.list().await.unwrap(), std::slice::from_ref(&new));
        let read = running.read(partition(&new, 0), Offset(0)).await.unwrap();
        assert_eq!(crate::support::texts(&read)[0], "new");
        running.produce(partition(&new, 0), batch_at(site.now(), &["more"])).await.unwrap();
        running.stop().await;
        site = site.crashed();
    }
    let topics = tidelog_cold::descriptor::Descriptors::new(site.bucket.clone()).topics().await.unwrap();
    let tombstone = topics.iter().find(|(id, _)| *id == old.id).unwrap().1.found.clone().unwrap();
    assert!(tombstone.deleted.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_bucket_is_refused() {
    let bucket = Bucket::in_memory();
    let first = Site::with_bucket(bucket.clone());
    first.start().await.stop().await;
    let refused = Site::with_bucket(bucket.clone()).try_start().await.err().unwrap();
    assert!(matches!(refused, OpenError::Bucket(OwnerError::MetadataMissing { .. })), "{refused}");
    let mut second = Site::new();
    second.start().await.stop().await;
    second.bucket = bucket;
    let refused = second.try_start().await.err().unwrap();
    assert!(matches!(refused, OpenError::Bucket(OwnerError::OtherCluster { .. })), "{refused}");
    first.start().await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_directory_under_newer_metadata_is_refused() {
    let site = Site::new();
    site.start().await.stop().await;
    let identity = site.data.path().join("tidelog.json");
    let old = std::fs::read(&identity).unwrap();
    site.start().await.stop().await;
    std::fs::write(&identity, old).unwrap();
    let refused = site.try_start().await.err().unwrap();
    assert!(matches!(refused, OpenError::Identity(IdentityError::OlderDirectory { .. })), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_their_metadata_are_refused_and_kept() {
    let site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    running.produce(partition(&topic, 0), batch_at(site.now(), &["v"])).await.unwrap();
    running.stop().await;
    std::fs::remove_dir_all(site.data.path().join("meta")).unwrap();
    let other = Site { bucket: Bucket::in_memory(), ..site };
    let refused = other.try_start().await.err().unwrap();
    assert!(matches!(refused, OpenError::UnknownTopic(id) if id == topic.id), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_files_are_gone_is_no_empty_one() {
    let mut site = Site::new();
    let running = site.start().await;
    let topic = running.topic("t", 1, &[]).await;
    let tp = partition(&topic, 0);
    running.produce(tp, batch_at(site.now(), &["in the bucket"])).await.unwrap();
    running.store.offload(topic.id).await.unwrap();
    running.produce(tp, batch_at(site.now(), &["only here"])).await.unwrap();
    running.stop().await;
    let aside = site.data.path().join("aside");
    std::fs::rename(site.data.path().join("journal"), &aside).unwrap();
    let refused = site.try_start().await.err().unwrap();
    let OpenError::Journal(missing) = &refused else { panic!("{refused}") };
    assert!(matches!(missing, tidelog_journal::OpenError::MissingFile { .. }), "{refused}");

    // Back again: all is there.
    let journal = site.data.path().join("journal");
    std::fs::remove_dir(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    let running = site.start().await;
    assert_eq!(texts(&running.read(tp, Offset(0)).await.unwrap()), ["in the bucket", "only here"]);
    running.stop().await;

    // Gone for good, and that is accepted: what the bucket has is left.
    std::fs::remove_dir_all(&journal).unwrap();
    site.accepts_damage = true;
    let running = site.start().await;
    running.serving(tp).await;
    assert_eq!(texts(&running.read(tp, Offset(0)).await.unwrap()), ["in the bucket"]);
    let produced = running.produce(tp, batch_at(site.now(), &["new"])).await.unwrap();
    assert_eq!(produced.base_offset, Offset(1));
    running.stop().await;
    site.accepts_damage = false;
    assert_eq!(texts(&site.start().await.read(tp, Offset(0)).await.unwrap()), ["in the bucket", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn local_copies_go_when_the_topic_says_so() {
    let site = Site::new();
    let running = site.start().await;
    let by_size = running.topic("size", 1, &[("local.retention.bytes", "0")]).await;
    let by_age = running.topic("age", 1, &[("local.retention.ms", "60000")]).await;
    for topic in [&by_size, &by_age] {
        running.produce(partition(topic, 0), batch_at(site.now(), &values("v", 3))).await.unwrap();
        running.store.offload(topic.id).await.unwrap();
    }
    running.until(partition(&by_size, 0), |d| d.marks.local_start == Offset(3)).await;
    assert_eq!(running.describe(partition(&by_age, 0)).await.marks.local_start, Offset(0));
    site.advance(60_001);
    running.until(partition(&by_age, 0), |d| d.marks.local_start == Offset(3)).await;
}
