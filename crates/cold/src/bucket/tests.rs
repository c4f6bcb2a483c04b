//! One suite for every kind of bucket that needs no server, and the meaning of every error.

use bytes::Bytes;
use futures::TryStreamExt;
use url::Url;

use super::faults::{Call, Fault};
use super::*;

/// A bucket of each kind. The directory lives as long as the test.
async fn each_kind() -> (tempfile::TempDir, Vec<Bucket>) {
    let directory = tempfile::tempdir().unwrap();
    let file = Url::from_directory_path(directory.path().join("made when/missing")).unwrap();
    let urls = ["memory://", "memory:///some/prefix", file.as_str()];
    let mut buckets = Vec::new();
    for url in urls {
        buckets.push(Bucket::open(url, &BucketOptions::default()).await.unwrap());
    }
    (directory, buckets)
}

async fn keys(objects: Objects) -> Vec<String> {
    objects.map_ok(|object| object.key).try_collect().await.unwrap()
}

#[tokio::test]
async fn what_is_put_is_read_whole_and_in_ranges() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        bucket.put("data/a", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(bucket.get("data/a", 100).await.unwrap(), "0123456789");
        assert_eq!(bucket.get_range("data/a", 2..5).await.unwrap(), "234");
        assert_eq!(bucket.get_range("data/a", 9..10).await.unwrap(), "9");
        assert_eq!(bucket.get_range("data/a", 4..4).await.unwrap(), "");
        assert_eq!(bucket.get_tail("data/a", 3, 10).await.unwrap(), "789");
        let info = bucket.head("data/a").await.unwrap();
        assert_eq!((info.key.as_str(), info.bytes), ("data/a", 10));
        assert!(info.last_modified.0 > 1_600_000_000_000, "{info:?}");
    }
}

#[tokio::test]
async fn an_object_that_does_not_reach_as_far_as_asked_is_an_error() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        bucket.put("a", Bytes::from_static(b"0123456789")).await.unwrap();
        for range in [5..11, 10..12, 20..30] {
            let error = bucket.get_range("a", range).await.unwrap_err();
            assert!(matches!(error, BucketError::Corrupt(_)), "{bucket} {error:?}");
        }
        let error = bucket.get("a", 9).await.unwrap_err();
        assert!(matches!(error, BucketError::Corrupt(_)), "{error}");
        let error = bucket.get_tail("a", 2, 9).await.unwrap_err();
        assert!(matches!(error, BucketError::Corrupt(_)), "{error}");
    }
}

#[tokio::test]
async fn parts_become_one_object_and_an_aborted_upload_none() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        let mut upload = bucket.put_multipart("m/object").await.unwrap();
        let first = upload.put_part(vec![Bytes::from_static(b"first "), Bytes::from_static(b"part, ")]);
        let second = upload.put_part(vec![Bytes::from_static(b"second")]);
        futures::future::try_join(second, first).await.unwrap();
        upload.complete().await.unwrap();
        assert_eq!(bucket.get("m/object", 100).await.unwrap(), "first part, second");

        let mut upload = bucket.put_multipart("m/aborted").await.unwrap();
        upload.put_part(vec![Bytes::from_static(b"x")]).await.unwrap();
        upload.abort().await.unwrap();
        assert!(bucket.head("m/aborted").await.unwrap_err().is_not_found());
        assert_eq!(keys(bucket.list("m/")).await, ["m/object"]);
    }
}

#[tokio::test]
async fn listings_are_in_the_order_of_keys() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        let sorted = ["a-b", "a.b", "a/1", "a/2/x", "a/2/y", "a/20", "a0", "b/z"];
        for index in [3, 7, 0, 5, 1, 6, 2, 4] {
            bucket.put(sorted[index], Bytes::from_static(b"-")).await.unwrap();
        }
        assert_eq!(keys(bucket.list("")).await, sorted, "{bucket}");
        assert_eq!(keys(bucket.list("a/")).await, sorted[2..6], "{bucket}");
        assert_eq!(keys(bucket.list("a/2/")).await, sorted[3..5], "{bucket}");
        assert_eq!(keys(bucket.list_after("a/", "a/1")).await, sorted[3..6], "{bucket}");
        assert_eq!(keys(bucket.list("nothing/")).await, Vec::<String>::new(), "{bucket}");
    }
}

#[tokio::test]
async fn deleting_twice_is_no_error() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        bucket.put("gone", Bytes::from_static(b"-")).await.unwrap();
        bucket.delete("gone").await.unwrap();
        bucket.delete("gone").await.unwrap();
        let error = bucket.get_range("gone", 0..1).await.unwrap_err();
        assert!(error.is_not_found() && !error.is_retryable(), "{error}");
        assert_eq!(error.subject().key, "gone");
    }
}

#[tokio::test]
async fn a_working_bucket_passes_its_probe_and_keeps_nothing_of_it() {
    let (_directory, buckets) = each_kind().await;
    for bucket in buckets {
        bucket.probe().await.unwrap();
        assert_eq!(keys(bucket.list("")).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_probe_tells_unreachable_unauthorised_and_read_only_apart() {
    let bucket = Bucket::in_memory();
    let (faulty, faults) = bucket.with_faults();
    faults.fail(Call::Put, "", 1, Fault::Unreachable);
    let error = faulty.probe().await.unwrap_err();
    assert!(matches!(error.source, BucketError::Unreachable(_)) && error.is_retryable(), "{error}");
    assert_eq!(error.step, ProbeStep::Write);

    faults.fail(Call::Put, "", 1, Fault::Denied);
    let error = faulty.probe().await.unwrap_err();
    assert!(matches!(error.source, BucketError::ReadOnly(_)), "{error}");

    faults.fail(Call::Put, "", 1, Fault::Denied);
    faults.fail(Call::List, "", 1, Fault::Denied);
    let error = faulty.probe().await.unwrap_err();
    assert!(matches!(error.source, BucketError::Denied(_)), "{error}");
    assert!(error.to_string().contains("not authorised"), "{error}");

    faults.fail(Call::Get, "", 1, Fault::FlipByte(3));
    let error = faulty.probe().await.unwrap_err();
    assert_eq!((error.step, faults.count(Call::Delete, "probe/")), (ProbeStep::ReadBack, 1));
}

type Expected = fn(&BucketError) -> bool;

#[tokio::test]
async fn every_failure_has_its_error() {
    let (bucket, faults) = Bucket::in_memory().with_faults();
    bucket.put("k", Bytes::from_static(b"0123456789")).await.unwrap();
    let cases: [(Fault, Expected, bool); 12] = [
        (Fault::NotFound, |error| matches!(error, BucketError::NotFound(_)), false),
        (Fault::Denied, |error| matches!(error, BucketError::Denied(_)), false),
        (Fault::Status(401), |error| matches!(error, BucketError::Denied(_)), false),
        (Fault::Status(503), |error| matches!(error, BucketError::Throttled(_)), true),
        (Fault::Status(429), |error| matches!(error, BucketError::Throttled(_)), true),
        (Fault::Status(500), |error| matches!(error, BucketError::Unreachable(_)), true),
        (Fault::Status(301), |error| matches!(error, BucketError::Invalid(_)), false),
        (Fault::Unreachable, |error| matches!(error, BucketError::Unreachable(_)), true),
        (Fault::Full, |error| matches!(error, BucketError::Full(_)), true),
        (Fault::ShortBody(3), |error| matches!(error, BucketError::Corrupt(_)), true),
        (Fault::WrongRange(2), |error| matches!(error, BucketError::Corrupt(_)), true),
        (Fault::LostAnswer, |error| matches!(error, BucketError::Unreachable(_)), true),
    ];
    for (fault, expected, retryable) in cases {
        faults.fail(Call::Get, "k", 1, fault.clone());
        let error = bucket.get_range("k", 1..7).await.unwrap_err();
        assert!(expected(&error), "{fault:?} gave {error:?}");
        assert_eq!(error.is_retryable(), retryable, "{error}");
        assert!(error.to_string().starts_with("cannot read k: "), "{error}");
    }
    faults.fail(Call::Put, "k", 1, Fault::ReadOnly);
    let error = bucket.put("k", Bytes::new()).await.unwrap_err();
    assert!(matches!(error, BucketError::ReadOnly(_)), "{error:?}");
}

#[tokio::test]
async fn senseless_urls_are_refused_with_a_reason() {
    for (url, reason) in [
        ("bucket", "looks like"),
        ("ftp://host/path", "none of"),
        ("s3://", "names no bucket"),
        ("s3://bucket?endpoint=x", "query"),
        ("s3://user:secret@bucket/", "credentials"),
        ("file://relative/path", "three slashes"),
    ] {
        let error = Bucket::open(url, &BucketOptions::default()).await.unwrap_err();
        assert!(matches!(error, BucketError::Invalid(_)), "{url}: {error:?}");
        assert!(error.to_string().contains(reason), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_file_where_the_directory_should_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("taken");
    std::fs::write(&path, "").unwrap();
    let url = Url::from_directory_path(path.join("bucket")).unwrap();
    let error = Bucket::open(url.as_str(), &BucketOptions::default()).await.unwrap_err();
    assert!(matches!(error, BucketError::Invalid(_)), "{error:?}");
}
