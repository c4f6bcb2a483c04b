use futures::TryStreamExt;
use tidelog_format::manifest::Root;
use tidelog_model::{Offset, PartitionId, TimestampMs};

use super::*;
use crate::bucket::Bucket;
use crate::bucket::faults::{Call, Fault};
use crate::manifest::fixture::{Partition, describe};

/// A bucket with one topic of one partition and twelve segments.
async fn world() -> (Bucket, Partition) {
    let bucket = Bucket::in_memory();
    let mut partition = Partition::new(&bucket, 1);
    describe(&bucket, partition.tp.topic, "logs", None).await;
    partition.grow(12).await;
    (bucket, partition)
}

async fn keys(bucket: &Bucket) -> Vec<String> {
    bucket.list("").map_ok(|object| object.key).try_collect().await.unwrap()
}

async fn verified(bucket: &Bucket) -> Report {
    verify(bucket, &VerifyOptions::default(), |_| ()).await.unwrap()
}

fn options(from: Option<u64>, skip_damaged: bool) -> CatOptions {
    CatOptions { topic: "logs".into(), partition: PartitionId(1), from: from.map(Offset), skip_damaged }
}

async fn cat(bucket: &Bucket, from: Option<u64>) -> Result<Vec<u8>, InspectError> {
    let mut cat = Cat::open(bucket, &options(from, false)).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = cat.next().await? {
        let Piece::Batches(run) = piece else { panic!("nothing is skipped unless asked for") };
        bytes.extend_from_slice(&run);
    }
    Ok(bytes)
}

/// Everything that can be read, and what could not be.
async fn salvage(bucket: &Bucket) -> (Vec<u8>, Vec<Problem>) {
    let mut cat = Cat::open(bucket, &options(None, true)).await.unwrap();
    let (mut bytes, mut problems) = (Vec::new(), Vec::new());
    while let Some(piece) = cat.next().await.unwrap() {
        match piece {
            Piece::Batches(run) => bytes.extend_from_slice(&run),
            Piece::Skipped(problem) => problems.push(*problem),
        }
    }
    (bytes, problems)
}

async fn flip(bucket: &Bucket, key: &str, at: usize) {
    let mut bytes = bucket.get(key, 1 << 20).await.unwrap().to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 0x40;
    bucket.put(key, bytes.into()).await.unwrap();
}

#[tokio::test]
async fn listing_shows_what_was_published() {
    let (bucket, partition) = world().await;
    bucket.put("holiday.jpg", "not ours".into()).await.unwrap();
    let listing = list(&bucket, None).await.unwrap();
    assert_eq!(listing.cluster.unwrap().software, "tidelog test");
    assert_eq!((listing.foreign_objects, listing.foreign_bytes), (1, 8));
    assert_eq!(listing.objects, keys(&bucket).await.len() as u64);
    let [topic] = &listing.topics[..] else { panic!("one topic") };
    assert_eq!(topic.name.as_ref().unwrap().as_str(), "logs");
    let [found] = &topic.partitions[..] else { panic!("one partition") };
    let pointer = partition.pointer();
    assert_eq!(found.root, Some(pointer.root_key(partition.tp).to_string()));
    assert_eq!((found.segments, found.records, found.bytes), (12, partition.end, pointer.bytes));
    assert_eq!(found.tiered_end_offset, Offset(partition.end));
    assert_eq!(listing.problems, []);
    let segments = segments(&bucket, "logs", PartitionId(1)).await.unwrap();
    assert_eq!(segments.len(), 12);
    assert_eq!(segments.last().unwrap().last_offset, Offset(partition.end - 1));
}

#[tokio::test]
async fn deleted_topic_is_shown_as_deleted_and_its_name_means_the_new_one() {
    let (bucket, partition) = world().await;
    let mut old = Partition::new(&bucket, 9);
    old.grow(1).await;
    describe(&bucket, old.tp.topic, "logs", Some(TimestampMs(77))).await;
    let listing = list(&bucket, Some("logs")).await.unwrap();
    let deleted: Vec<_> = listing.topics.iter().map(|t| (t.id, t.deleted_ms)).collect();
    assert_eq!(deleted, [(partition.tp.topic, None), (old.tp.topic, Some(TimestampMs(77)))]);
    assert_eq!(cat(&bucket, None).await.unwrap(), written(&partition, 0));
    let error = list(&bucket, Some("no-such")).await.unwrap_err();
    assert!(matches!(error, InspectError::NoSuchTopic(_)));
}

/// All batches that hold an offset from `from` on.
fn written(partition: &Partition, from: u64) -> Vec<u8> {
    let wanted = partition.batches.iter().filter(|(base, _)| base.0 + 2 >= from);
    wanted.flat_map(|(_, batch)| batch.to_vec()).collect()
}

#[tokio::test]
async fn cat_gives_every_byte_back_from_any_offset() {
    let (bucket, partition) = world().await;
    assert_eq!(cat(&bucket, None).await.unwrap(), written(&partition, 0));
    for from in 0..=partition.end + 1 {
        assert_eq!(cat(&bucket, Some(from)).await.unwrap(), written(&partition, from), "from {from}");
    }
}

#[tokio::test]
async fn what_is_damaged_can_be_skipped_and_nothing_else_is() {
    let (bucket, partition) = world().await;
    let sound = cat(&bucket, None).await.unwrap();
    assert_eq!(salvage(&bucket).await, (sound, Vec::new()));
    let segments = segments(&bucket, "logs", PartitionId(1)).await.unwrap();
    for segment in [&segments[0], &segments[5], &segments[11]] {
        let original = bucket.get(&segment.key, 1 << 20).await.unwrap();
        let all = segment.first_offset.0..=segment.last_offset.0;
        // A block, the index, the end, everything.
        let cases = [Some(200), Some(original.len() - 150), Some(original.len() - 1), None];
        for at in cases {
            match at {
                Some(at) => flip(&bucket, &segment.key, at).await,
                None => bucket.delete(&segment.key).await.unwrap(),
            }
            let (found, problems) = salvage(&bucket).await;
            let [problem] = &problems[..] else { panic!("{at:?}: {problems:#?}") };
            assert_eq!(problem.key.as_ref(), Some(&segment.key));
            let lost = problem.offsets.unwrap();
            assert!(all.contains(&lost.first) && all.contains(&lost.last), "{problem}");
            let left =
                partition.batches.iter().filter(|(base, _)| !(lost.first..=lost.last).contains(&base.0));
            assert!(found == left.flat_map(|(_, batch)| batch.to_vec()).collect::<Vec<_>>(), "{problem}");
            assert!(
                matches!(cat(&bucket, None).await, Err(InspectError::Damaged(named)) if *named == *problem)
            );
            bucket.put(&segment.key, original.clone()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn sound_bucket_is_found_sound_to_the_last_byte() {
    let (bucket, partition) = world().await;
    let mut seen = Checked::default();
    let report = verify(&bucket, &VerifyOptions::default(), |checked| seen = *checked).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.problems);
    assert_eq!(report.checked, seen);
    assert_eq!((report.checked.segments, report.checked.records), (12, partition.end));
    assert_eq!(report.checked.batches, partition.batches.len() as u64);
    let [found] = &report.partitions[..] else { panic!("one partition") };
    assert_eq!(found.unreferenced_objects, 11, "the states of earlier roots");
}

#[tokio::test]
async fn every_damaged_object_is_named() {
    let (bucket, partition) = world().await;
    let before = verified(&bucket).await.checked;
    let root = partition.fresh().root(partition.tp, partition.pointer()).await.unwrap();
    let mut damaged = 0;
    for key in keys(&bucket).await {
        let original = bucket.get(&key, 1 << 20).await.unwrap();
        // States and roots that the newest root has replaced are not read.
        let current = !(key.contains("/state/") || key.contains("/root/"))
            || key == root.state.key(partition.tp).to_string()
            || key == root.key().to_string();
        for at in (0..original.len()).step_by(37).chain([original.len() - 1]) {
            flip(&bucket, &key, at).await;
            let report = verified(&bucket).await;
            assert_eq!(report.is_sound(), !current, "byte {at} of {key}");
            if let Some(problem) = report.problems.first() {
                damaged += 1;
                assert_eq!(problem.key.as_deref(), Some(&*key), "{problem}");
                assert_eq!(problem.kind, ProblemKind::Damaged);
            }
            bucket.put(&key, original.clone()).await.unwrap();
        }
    }
    assert!(damaged > 100, "{damaged}");
    assert_eq!(verified(&bucket).await.checked, before);
}

#[tokio::test]
async fn damage_in_a_segment_is_named_with_its_bytes_and_offsets() {
    let (bucket, partition) = world().await;
    let segment = partition.segments[5];
    let key = segment.key(partition.tp).to_string();
    flip(&bucket, &key, 100).await;
    let report = verified(&bucket).await;
    assert_eq!(report.problems_total, 1, "the rest of the segment is still checked");
    let problem = &report.problems[0];
    assert_eq!(problem.key.as_deref(), Some(&*key));
    assert_eq!(problem.bytes.unwrap().first, 80);
    assert_eq!(problem.offsets.unwrap().first, segment.first_offset.0);
    assert!(problem.offsets.unwrap().last < segment.last_offset.0);
    assert_eq!((problem.topic, problem.partition), (Some(partition.tp.topic), Some(PartitionId(1))));
    let error = cat(&bucket, None).await.unwrap_err();
    assert!(matches!(&error, InspectError::Damaged(found) if **found == *problem), "{error}");
    let after = segment.next_offset().0;
    assert_eq!(cat(&bucket, Some(after)).await.unwrap(), written(&partition, after));
}

#[tokio::test]
async fn missing_cut_and_exchanged_segments_are_named() {
    let (bucket, partition) = world().await;
    let [a, b] = [3, 4].map(|at| partition.segments[at].key(partition.tp).to_string());
    let contents = bucket.get(&a, 1 << 20).await.unwrap();
    bucket.delete(&a).await.unwrap();
    let report = verified(&bucket).await;
    assert_eq!((report.problems[0].kind, report.problems_total), (ProblemKind::Missing, 1));
    let range = (partition.segments[3].first_offset.0, partition.segments[3].last_offset.0);
    assert_eq!(report.problems[0].offsets.map(|r| (r.first, r.last)), Some(range));

    bucket.put(&a, contents.slice(..contents.len() - 7)).await.unwrap();
    let report = verified(&bucket).await;
    assert_eq!((report.problems[0].kind, report.problems_total), (ProblemKind::Damaged, 1));

    bucket.put(&a, contents.clone()).await.unwrap();
    bucket.put(&b, contents).await.unwrap();
    let report = verified(&bucket).await;
    assert_eq!(report.problems[0].key, Some(b));
    assert_eq!((report.problems[0].kind, report.problems_total), (ProblemKind::Damaged, 1));
}

#[tokio::test]
async fn damaged_newest_root_leaves_its_predecessor_readable() {
    let (bucket, partition) = world().await;
    let root = partition.fresh().root(partition.tp, partition.pointer()).await.unwrap();
    flip(&bucket, &root.key().to_string(), 200).await;
    let listing = list(&bucket, None).await.unwrap();
    assert_eq!(listing.problems[0].key, Some(root.key().to_string()));
    let found = &listing.topics[0].partitions[0];
    assert_eq!(found.root, Some(root.predecessor.unwrap().key(partition.tp).to_string()));
    assert_eq!(found.tiered_end_offset, partition.segments[11].first_offset);
}

#[tokio::test]
async fn partition_without_a_usable_root_is_a_problem() {
    let (bucket, _) = world().await;
    for key in keys(&bucket).await.iter().filter(|key| key.contains("/root/")) {
        flip(&bucket, key, 30).await;
    }
    let report = verified(&bucket).await;
    assert_eq!(report.problems_total, 13);
    assert!(matches!(cat(&bucket, None).await.unwrap_err(), InspectError::Damaged(_)));
}

#[tokio::test]
async fn gap_between_segments_is_named() {
    let (bucket, partition) = world().await;
    let root = partition.fresh().root(partition.tp, partition.pointer()).await.unwrap();
    let mut broken = Root { sequence: root.sequence + 1, ..(*root).clone() };
    let removed = broken.entries.remove(1);
    broken.bytes -= removed.bytes;
    broken.segments -= u64::from(removed.segments);
    broken.records -= removed.records;
    bucket.put(&broken.key().to_string(), broken.encode()).await.unwrap();
    let report = verified(&bucket).await;
    assert_eq!((report.problems[0].kind, report.problems_total), (ProblemKind::Gap, 1));
    let gap = report.problems[0].offsets.unwrap();
    assert_eq!((gap.first, gap.last), (removed.first_offset.0, removed.last_offset.0));
}

#[tokio::test]
async fn upload_that_was_never_published_is_no_problem() {
    let (bucket, mut partition) = world().await;
    let before = verified(&bucket).await.partitions[0].unreferenced_objects;
    partition.upload(3).await;
    let mut never = Partition::new(&bucket, 2);
    never.upload(1).await;
    let report = verified(&bucket).await;
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.partitions[0].unreferenced_objects, before + 1);
    assert_eq!(report.partitions[1].unreferenced_objects, 1);
}

#[tokio::test]
async fn unreachable_bucket_is_an_error_and_no_damage() {
    let (bucket, _) = world().await;
    let (bucket, faults) = bucket.with_faults();
    faults.fail_after(Call::Get, "/segment/", 5, 10_000, Fault::Unreachable);
    let error = verify(&bucket, &VerifyOptions::default(), |_| ()).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
}

#[tokio::test]
async fn report_is_plain_json() {
    let (bucket, partition) = world().await;
    flip(&bucket, &partition.segments[0].key(partition.tp).to_string(), 100).await;
    let report = serde_json::to_value(verified(&bucket).await).unwrap();
    assert_eq!(report["problems"][0]["kind"], "damaged");
    assert_eq!(report["problems"][0]["offsets"]["first"], 0);
    assert_eq!(report["partitions"][0]["name"], "logs");
    let listing = serde_json::to_value(list(&bucket, None).await.unwrap()).unwrap();
    assert_eq!(listing["topics"][0]["partitions"][0]["segments"], 12);
}

#[tokio::test]
async fn topic_without_descriptor_is_reached_by_its_id() {
    let bucket = Bucket::in_memory();
    let mut partition = Partition::new(&bucket, 1);
    partition.grow(2).await;
    let topic = partition.tp.topic.to_string();
    let listing = list(&bucket, Some(&topic)).await.unwrap();
    assert_eq!((&listing.topics[0].name, listing.topics[0].partitions.len()), (&None, 1));
    assert_eq!(segments(&bucket, &topic, PartitionId(1)).await.unwrap().len(), 2);
    let error = segments(&bucket, &topic, PartitionId(2)).await.unwrap_err();
    assert!(matches!(error, InspectError::NoSuchPartition { .. }), "{error}");
}

#[tokio::test]
async fn bucket_in_a_directory_is_inspected_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let url = url::Url::from_directory_path(directory.path()).unwrap();
    let bucket = Bucket::open(url.as_str(), &crate::bucket::BucketOptions::default()).await.unwrap();
    let mut partition = Partition::new(&bucket, 1);
    describe(&bucket, partition.tp.topic, "logs", None).await;
    partition.grow(12).await;
    let report = verified(&bucket).await;
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.checked.records, partition.end);
    assert_eq!(cat(&bucket, Some(7)).await.unwrap(), written(&partition, 7));
}
