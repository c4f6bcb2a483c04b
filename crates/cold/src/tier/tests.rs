use bytes::Bytes;
use futures::TryStreamExt;
use tidelog_format::batch::Batch;
use tidelog_format::segment::{HEADER_BYTES, SegmentOptions, open_tail};
use tidelog_model::Incarnation;

use super::*;
use crate::bucket::faults::{Call, Fault, Faults, Gate};
use crate::sample::{EPOCH, joined, partition, publish, run};

const PART: usize = 10_000;

/// Small parts, and memory for ten of them.
fn tier_of(bucket: &Bucket) -> Tier {
    let config = TierConfig { memory_bytes: 10 * PART, ..TierConfig::default() };
    Tier::with_sizes(bucket.clone(), Incarnation(1), config, PART, SegmentOptions::default())
}

fn faulty() -> (Tier, Bucket, Faults) {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    (tier_of(&bucket), bucket, faults)
}

async fn push_all(upload: &mut SegmentUpload, batches: &[Batch]) -> Result<(), ColdError> {
    for batch in batches {
        upload.push(batch.clone()).await?;
    }
    Ok(())
}

async fn write(tier: &Tier, batches: &[Batch]) -> Result<SegmentEntry, ColdError> {
    let mut upload = tier.segment(partition(0), EPOCH);
    push_all(&mut upload, batches).await?;
    upload.finish(Vec::new(), Vec::new()).await
}

async fn keys(bucket: &Bucket) -> Vec<String> {
    bucket.list("").map_ok(|object| object.key).try_collect().await.unwrap()
}

async fn assert_holds(bucket: &Bucket, entry: &SegmentEntry, batches: &[Batch]) {
    let object = bucket.get(&entry.key(partition(0)).to_string(), entry.bytes).await.unwrap();
    assert_eq!(object.len() as u64, entry.bytes);
    let tail = object.len() - entry.tail_bytes as usize;
    assert!(object[HEADER_BYTES..tail] == joined(batches)[..]);
    open_tail(&object[tail..], entry.bytes).unwrap().check(partition(0), entry).unwrap();
}

#[tokio::test]
async fn a_small_segment_is_one_write_and_a_large_one_comes_in_parts() {
    for (value_bytes, parts) in [(100, 0), (2_000, 3), (20_000, 21)] {
        let (tier, bucket, faults) = faulty();
        let batches = run(&[1; 10], value_bytes);
        let entry = write(&tier, &batches).await.unwrap();
        assert_holds(&bucket, &entry, &batches).await;
        assert_eq!(faults.count(Call::Part, ""), parts);
        assert_eq!(faults.count(Call::Put, ""), usize::from(parts == 0));
        assert_eq!(tier.inner.memory.available(), 10 * PART);
    }
}

#[tokio::test]
async fn a_segment_of_exactly_one_part_is_one_write() {
    let (tier, bucket, faults) = faulty();
    let probe = write(&tier, &run(&[1], 100)).await.unwrap();
    // One record more or less in a value is one byte more or less in the object, give or take a length.
    let value_bytes = 100 + PART - probe.bytes as usize;
    for less in 0..6 {
        let batches = run(&[1], value_bytes - less);
        let entry = write(&tier, &batches).await.unwrap();
        assert_holds(&bucket, &entry, &batches).await;
        let single = entry.bytes <= PART as u64;
        let begun = faults.count(Call::Begin, &entry.id.to_string());
        assert_eq!(begun == 0, single, "{} bytes", entry.bytes);
    }
}

#[tokio::test]
async fn a_failed_part_aborts_the_upload_and_frees_its_memory() {
    let (tier, bucket, faults) = faulty();
    faults.fail_after(Call::Part, "", 2, 1, Fault::Unreachable);
    let error = write(&tier, &run(&[1; 10], 5_000)).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    tier.close().await;
    assert_eq!(faults.count(Call::Abort, ""), 1);
    assert_eq!(keys(&bucket).await, Vec::<String>::new());
    assert_eq!(tier.inner.memory.available(), 10 * PART);
}

#[tokio::test]
async fn a_failed_upload_takes_no_more_batches() {
    let (tier, _bucket, faults) = faulty();
    faults.fail(Call::Begin, "", 1, Fault::Denied);
    let batches = run(&[1; 4], 9_000);
    let mut upload = tier.segment(partition(0), EPOCH);
    let error = push_all(&mut upload, &batches).await.unwrap_err();
    assert!(matches!(error, ColdError::Bucket(_)), "{error}");
    let error = upload.push(batches[2].clone()).await.unwrap_err();
    assert!(matches!(error, ColdError::UploadFailed { .. }), "{error}");
    assert!(upload.finish(Vec::new(), Vec::new()).await.is_err());
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing_behind() {
    let (tier, bucket, faults) = faulty();
    let gate = Gate::default();
    faults.fail_after(Call::Part, "", 1, 1, Fault::Hold(gate));
    let mut upload = tier.segment(partition(0), EPOCH);
    push_all(&mut upload, &run(&[1; 4], 9_000)).await.unwrap();
    faults.reached(Call::Part, "", 2).await;
    drop(upload);
    tier.close().await;
    assert_eq!(faults.count(Call::Abort, ""), 1);
    assert_eq!(keys(&bucket).await, Vec::<String>::new());
    assert_eq!(tier.inner.memory.available(), 10 * PART);
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_segment() {
    for (value_bytes, call) in [(100, Call::Put), (5_000, Call::Complete)] {
        let (tier, bucket, faults) = faulty();
        faults.fail(call, "", 1, Fault::LostAnswer);
        let batches = run(&[1; 10], value_bytes);
        let entry = write(&tier, &batches).await.unwrap();
        assert_holds(&bucket, &entry, &batches).await;
        assert_eq!(keys(&bucket).await.len(), 1);
        tier.close().await;
        assert_eq!(faults.count(Call::Abort, ""), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_read_back_as_it_was_written_does_not_count() {
    for fault in [Fault::FlipByte(1), Fault::ShortBody(1), Fault::NotFound] {
        let (tier, _bucket, faults) = faulty();
        faults.fail(Call::Get, ".segment", 1, fault.clone());
        assert!(write(&tier, &run(&[1; 3], 100)).await.is_err(), "{fault:?}");
    }
    // An object that somebody cut short.
    let (tier, bucket, faults) = faulty();
    let gate = Gate::default();
    faults.fail(Call::Get, ".segment", 1, Fault::Hold(gate.clone()));
    let batches = run(&[1; 3], 100);
    let writing = write(&tier, &batches);
    let cutting = async {
        faults.reached(Call::Get, ".segment", 1).await;
        let key = keys(&bucket).await.remove(0);
        bucket.put(&key, Bytes::from_static(b"short")).await.unwrap();
        gate.open();
    };
    let (written, ()) = tokio::join!(writing, cutting);
    assert!(written.is_err());
}

#[tokio::test]
async fn memory_for_uploads_is_bounded_and_never_waited_for_in_vain() {
    let (tier, bucket, _faults) = faulty();
    let batches = run(&[1], 9_000);
    let mut uploads = Vec::new();
    let error = loop {
        let mut upload = tier.segment(partition(0), EPOCH);
        match upload.push(batches[0].clone()).await {
            Ok(()) => uploads.push(upload),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ColdError::UploadMemory { open: 11, .. }), "{error}");
    assert!(error.is_retryable());
    let entry = uploads.pop().unwrap().finish(Vec::new(), Vec::new()).await.unwrap();
    assert_holds(&bucket, &entry, &batches).await;
    let mut upload = tier.segment(partition(0), EPOCH);
    upload.push(batches[0].clone()).await.unwrap();
}

#[tokio::test]
async fn a_refused_batch_can_be_pushed_again() {
    let (tier, bucket, _faults) = faulty();
    let batches = run(&[1; 2], 9_000);
    let mut upload = tier.segment(partition(0), EPOCH);
    upload.push(batches[0].clone()).await.unwrap();
    let taken = tier.inner.memory.take(9 * PART).await.unwrap();
    let error = upload.push(batches[1].clone()).await.unwrap_err();
    assert!(matches!(error, ColdError::UploadMemory { .. }), "{error}");
    drop(taken);
    upload.push(batches[1].clone()).await.unwrap();
    let entry = upload.finish(Vec::new(), Vec::new()).await.unwrap();
    assert_holds(&bucket, &entry, &batches).await;
}

#[tokio::test]
async fn batches_that_do_not_follow_each_other_are_no_segment() {
    let (tier, _bucket, _faults) = faulty();
    let batches = run(&[1; 3], 100);
    let error = write(&tier, &[batches[0].clone(), batches[2].clone()]).await.unwrap_err();
    assert!(matches!(error, ColdError::Segment { .. }) && !error.is_retryable(), "{error}");
    let error = write(&tier, &[]).await.unwrap_err();
    assert!(matches!(error, ColdError::Segment { .. }), "{error}");
}

#[tokio::test]
async fn publishing_names_every_segment_and_keeps_the_log_start() {
    let (tier, _bucket, _faults) = faulty();
    let batches = run(&[2; 6], 100);
    let pointer = publish(&tier, partition(0), &[&batches[..2], &batches[2..3], &batches[3..]]).await;
    assert_eq!((pointer.log_start, pointer.tiered_end), (Offset(0), Offset(12)));
    assert_eq!((pointer.sequence, pointer.segments, pointer.records), (3, 3, 12));
}
