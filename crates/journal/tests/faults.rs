//! Disks that fail. Failpoints are global, so each test holds them for itself.
#![cfg(feature = "failpoints")]

mod support;

use fail::FailScenario;
use support::{Fixture, KIB, Written, batch, config, header, tp, until};
use tidelog_journal::{Append, AppendError, JournalConfig, ReadError};
use tidelog_model::Offset;

/// Appends one by one until something fails. Returns what was acknowledged.
async fn append_until_failure(fixture: &Fixture) -> (Written, AppendError) {
    let mut written = Written::default();
    for number in 0..500_u32 {
        let partition = tp(number % 3);
        let base = fixture.owner.end(partition).0;
        let batch = batch(base, 1, 3 * KIB, base);
        match fixture.put_batch(partition, &batch).await {
            Ok(_) => written.0.entry(partition).or_default().push(batch),
            Err(error) => return (written, error),
        }
    }
    panic!("nothing failed");
}

async fn fails_for_good(point: &str, action: &str) {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let before = fixture.fill(3, 60, 2 * KIB).await;
    until("a file is ready", || fixture.journal.stats().disk_bytes >= 512 * KIB as u64).await;
    fail::cfg(point, action).unwrap();
    let (mut acknowledged, error) = append_until_failure(&fixture).await;
    assert!(matches!(error, AppendError::Failed(_)), "{error}");
    assert!(!error.is_retryable() && !error.has_no_side_effects());
    let fatal = fixture.journal.failed().await;
    assert!(fatal.to_string().contains("journal"), "{fatal}");
    // The disk works again, but what was in the page cache or the queue may be lost: no second chance.
    fail::remove(point);
    assert!(matches!(fixture.journal.reserve(1).await, Err(AppendError::Failed(_))));
    let mut all = before;
    all.extend(std::mem::take(&mut acknowledged));
    fixture.check(&all).await;
    let crashed = fixture.crash();
    drop(fixture);
    let again = Fixture::open(crashed.path());
    for (partition, batches) in &all.0 {
        let read = again.read_all(*partition, 0).await;
        // The append that failed may have reached the disk: its outcome was unknown.
        assert_eq!(read[..batches.len()], batches[..], "{partition}");
        assert!(read.len() <= batches.len() + 1, "{partition}");
    }
    again.put(tp(0), 100).await;
    scenario.teardown();
}

#[tokio::test]
async fn an_error_on_write_ends_the_journal() {
    fails_for_good("journal::write", "return(eio)").await;
}

#[tokio::test]
async fn an_error_on_sync_ends_the_journal() {
    fails_for_good("journal::sync", "return(eio)").await;
}

#[tokio::test]
async fn a_short_write_ends_the_journal() {
    fails_for_good("journal::write", "return(short)").await;
}

#[tokio::test]
async fn an_error_after_some_writes_loses_nothing_that_was_acknowledged() {
    for point in ["journal::write", "journal::sync"] {
        for after in [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
            let action = if after % 2 == 0 { "eio" } else { "short" };
            fails_for_good(point, &format!("{after}*off->return({action})")).await;
        }
    }
}

#[tokio::test]
async fn everything_that_waits_when_the_disk_fails_hears_of_it() {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.put(tp(0), 100).await;
    fail::cfg("journal::sync", "return(eio)").unwrap();
    let mut waiting = Vec::new();
    for number in 1..20 {
        let batch = batch(number, 1, 100, number);
        let append = Append::batch(tp(0), &header(&batch), fixture.config.clock.now(), batch);
        match fixture.start(append, |_| {}).await {
            Ok(receiver) => waiting.push(receiver),
            Err(AppendError::Failed(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(!waiting.is_empty());
    for receiver in waiting {
        let outcome = tokio::task::spawn_blocking(move || receiver.recv().unwrap()).await.unwrap();
        assert!(matches!(outcome, Err(AppendError::Failed(_))));
    }
    // None of it is visible.
    let error = fixture.journal.read(tp(0), Offset(1), Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { .. }));
    drop(fixture);
    scenario.teardown();
}

async fn fills_the_disk(point: &str) {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.put(tp(0), 100).await;
    fail::cfg(point, "return(enospc)").unwrap();
    let mut written = fixture.read_all(tp(0), 0).await;
    let error = loop {
        let base = fixture.owner.end(tp(0)).0;
        let batch = batch(base, 1, 4 * KIB, base);
        match fixture.put_batch(tp(0), &batch).await {
            Ok(_) => written.push(batch),
            Err(error) => break error,
        }
        assert!(written.len() < 200, "two files hold fewer batches");
    };
    assert!(matches!(error, AppendError::Full), "{error}");
    assert!(error.is_retryable() && error.has_no_side_effects());
    assert!(fixture.journal.stats().disk_full);
    assert_eq!(fixture.read_all(tp(0), 0).await, written, "reads go on");
    fail::remove(point);
    until("the disk has room again", || !fixture.journal.stats().disk_full).await;
    written.push(fixture.put(tp(0), KIB).await);
    let crashed = fixture.crash();
    drop(fixture);
    assert_eq!(Fixture::open(crashed.path()).read_all(tp(0), 0).await, written);
    scenario.teardown();
}

#[tokio::test]
async fn a_full_disk_refuses_appends_serves_reads_and_recovers_by_itself() {
    fills_the_disk("journal::create").await;
    fills_the_disk("journal::fill").await;
}

#[tokio::test]
async fn a_full_disk_gives_up_what_the_bucket_has() {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.fill(1, 200, 4 * KIB).await;
    fail::cfg("journal::create", "return(enospc)").unwrap();
    for _ in 0..200 {
        fixture.journal.set_covered(tp(0), fixture.owner.end(tp(0)));
        fixture.put(tp(0), 4 * KIB).await;
    }
    assert!(fixture.journal.local(tp(0)).unwrap().start > Offset(0));
    drop(fixture);
    scenario.teardown();
}

#[tokio::test]
async fn an_error_on_read_is_the_readers_alone() {
    let scenario = FailScenario::setup();
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { tail_cache_bytes: 0, ..config(dir.path()) };
    let fixture = Fixture::with(config).unwrap();
    let batch = fixture.put(tp(0), 100).await;
    fail::cfg("journal::read", "1*return(eio)->off").unwrap();
    let error = fixture.journal.read(tp(0), Offset(0), Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::Io { .. }) && error.is_retryable(), "{error}");
    assert_eq!(fixture.read_all(tp(0), 0).await, [batch]);
    fixture.put(tp(0), 100).await;
    drop(fixture);
    scenario.teardown();
}
