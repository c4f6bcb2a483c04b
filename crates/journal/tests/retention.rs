//! What leaves the disk, when, and what never does.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::{Fixture, KIB, Written, batch, config, files, header, tp, until};
use tidelog_journal::{AppendError, JournalConfig, ReadError};
use tidelog_model::Offset;

const FILE: u64 = 256 * KIB as u64;

fn tight(dir: &std::path::Path) -> JournalConfig {
    JournalConfig { budget_bytes: 6 * FILE, ..config(dir) }
}

/// Appends until the journal takes no more.
async fn fill_up(fixture: &Fixture, partitions: u32) -> AppendError {
    for number in 0.. {
        let partition = tp(number % partitions);
        let base = fixture.owner.end(partition).0;
        let batch = batch(base, 1, 4 * KIB, base);
        match fixture.put_batch(partition, &batch).await {
            Ok(_) => assert!(number < 2000, "1.5 MiB hold fewer batches of 4 KiB"),
            Err(error) => return error,
        }
    }
    unreachable!()
}

#[tokio::test]
async fn a_budget_full_of_uncovered_records_refuses_appends_until_they_are_covered() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with(tight(dir.path())).unwrap();
    let error = fill_up(&fixture, 3).await;
    assert!(matches!(error, AppendError::Backlog), "{error}");
    assert!(error.is_retryable() && error.has_no_side_effects());
    let stats = fixture.journal.stats();
    assert!(stats.backlog && stats.disk_bytes <= stats.budget_bytes, "{stats:?}");
    for number in 0..3 {
        assert!(!fixture.read_all(tp(number), 0).await.is_empty(), "reads go on");
    }
    for number in 0..3 {
        fixture.journal.set_covered(tp(number), fixture.owner.end(tp(number)));
    }
    until("the backlog ends", || !fixture.journal.stats().backlog).await;
    fixture.put(tp(0), 4 * KIB).await;
}

#[tokio::test]
async fn covered_files_make_room_oldest_first_and_recycled_ones_show_nothing_old() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with(tight(dir.path())).unwrap();
    let mut ends = Vec::new();
    for _ in 0..40 {
        fixture.fill(4, 20, 4 * KIB).await;
        for number in 0..4 {
            fixture.journal.set_covered(tp(number), fixture.owner.end(tp(number)));
        }
        ends.push(fixture.journal.local(tp(0)).unwrap().start);
        until("the budget holds", || fixture.journal.stats().disk_bytes <= 6 * FILE).await;
    }
    assert!(ends.is_sorted() && ends.last() > ends.first(), "{ends:?}");
    let moved = fixture.owner.0.lock().moved.clone();
    assert!(moved.iter().any(|(partition, start)| *partition == tp(0) && start > &Offset(0)));
    let error = fixture.journal.read(tp(0), Offset(0), Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { start, .. } if start > Offset(0)));

    // The newest file is a recycled one, full of frames of its earlier life.
    let crashed = fixture.crash();
    let (_, expected) = fixture.read_local(tp(0)).await.unwrap();
    let again = Fixture::with(tight(crashed.path())).unwrap();
    assert_eq!(again.owner.end(tp(0)), fixture.owner.end(tp(0)));
    let (_, read) = again.read_local(tp(0)).await.unwrap();
    assert!(read.ends_with(&expected), "{} and {}", read.len(), expected.len());
}

#[tokio::test]
async fn a_slow_partition_is_copied_forward_instead_of_pinning_files() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with(tight(dir.path())).unwrap();
    let mut slow = vec![fixture.put(tp(9), KIB).await, fixture.put(tp(9), KIB).await];
    for _ in 0..30 {
        fixture.fill(2, 30, 4 * KIB).await;
        for number in 0..2 {
            fixture.journal.set_covered(tp(number), fixture.owner.end(tp(number)));
        }
    }
    slow.push(fixture.put(tp(9), KIB).await);
    until("old files went", || fixture.journal.local(tp(0)).unwrap().start > Offset(100)).await;
    assert_eq!(fixture.read_all(tp(9), 0).await, slow);
    let local = fixture.journal.local(tp(9)).unwrap();
    assert_eq!((local.start, local.end), (Offset(0), Offset(3)));

    // The copies lie behind the newer batch; the scan yields them in order all the same.
    let mut scan = fixture.journal.scan(vec![(tp(9), Offset(0)..Offset(3))]);
    let mut scanned = Vec::new();
    while let Some(item) = scan.next().await {
        scanned.push(item.unwrap().1);
    }
    assert_eq!(scanned, slow);

    // They survive a crash, and change nothing about the state.
    let crashed = fixture.crash();
    let again = Fixture::with(tight(crashed.path())).unwrap();
    assert_eq!(again.owner.end(tp(9)), Offset(3));
    assert_eq!(again.read_all(tp(9), 0).await, slow);
}

#[tokio::test]
async fn much_that_is_uncovered_keeps_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with(tight(dir.path())).unwrap();
    let written = fixture.fill(2, 40, 4 * KIB).await;
    loop {
        let covered = fixture.owner.end(tp(0));
        fixture.journal.set_covered(tp(0), covered);
        if fill_up(&fixture, 1).await.is_retryable() && fixture.journal.stats().backlog {
            break;
        }
    }
    let mut kept = Written::default();
    kept.0.insert(tp(1), written.0[&tp(1)].clone());
    fixture.check(&kept).await;
}

#[tokio::test]
async fn pinned_is_what_cannot_go_before_more_is_covered() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    assert_eq!(fixture.journal.pinned_bytes(), 0);
    fixture.fill(2, 200, 4 * KIB).await;
    let all = fixture.journal.pinned_bytes();
    assert!(all >= 2 * FILE && all < fixture.journal.stats().disk_bytes, "{all}");
    // One partition alone frees no file: the other has something in each.
    fixture.journal.set_covered(tp(0), fixture.owner.end(tp(0)));
    assert_eq!(fixture.journal.pinned_bytes(), all);
    fixture.journal.set_covered(tp(1), Offset(fixture.owner.end(tp(1)).0 / 2));
    let half = fixture.journal.pinned_bytes();
    assert!(half > 0 && half < all, "{half} of {all}");
    fixture.journal.set_covered(tp(1), fixture.owner.end(tp(1)));
    assert_eq!(fixture.journal.pinned_bytes(), 0);
}

#[tokio::test]
async fn eviction_hides_at_once_and_frees_the_files_when_nothing_else_is_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.fill(2, 200, 4 * KIB).await;
    let end = |number| fixture.owner.end(tp(number));
    fixture.journal.set_covered(tp(0), end(0));
    fixture.journal.evict(tp(0), end(0));
    assert_eq!(fixture.journal.local(tp(0)), None);
    let error = fixture.journal.read(tp(0), Offset(0), Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { start, .. } if start == end(0)));
    assert!(!fixture.read_all(tp(1), 0).await.is_empty());
    let before = fixture.journal.stats().files;
    assert!(before > 2);
    fixture.journal.set_covered(tp(1), end(1));
    fixture.journal.evict(tp(1), end(1));
    until("the files went", || fixture.journal.stats().files == 1).await;
    // The state is in the checkpoint of the file that is left.
    let (first, second) = (end(0), end(1));
    let crashed = fixture.crash();
    let again = Fixture::open(crashed.path());
    assert_eq!((again.owner.end(tp(0)), again.owner.end(tp(1))), (first, second));
    assert_eq!(again.journal.local(tp(0)), None);
    again.put(tp(0), 100).await;
    assert_eq!(again.journal.local(tp(0)).unwrap().start, first);
}

#[tokio::test]
async fn eviction_stops_at_what_the_bucket_has() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let batches: Vec<_> = {
        let mut batches = Vec::new();
        for _ in 0..10 {
            batches.push(fixture.put(tp(0), 500).await);
        }
        batches
    };
    fixture.journal.evict(tp(0), Offset(10));
    assert_eq!(fixture.read_all(tp(0), 0).await, batches);
    fixture.journal.set_covered(tp(0), Offset(4));
    fixture.journal.evict(tp(0), Offset(10));
    assert_eq!(fixture.journal.local(tp(0)).unwrap().start, Offset(4));
    assert_eq!(fixture.read_all(tp(0), 4).await, batches[4..]);
}

#[tokio::test]
async fn what_lies_below_the_log_start_needs_no_bucket_to_go() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with(tight(dir.path())).unwrap();
    let error = fill_up(&fixture, 1).await;
    assert!(matches!(error, AppendError::Backlog));
    // Room for the fact itself is there: the last part of a file is kept back from batches only
    // while no other is ready, so the trim goes in as soon as something small fits.
    let end = fixture.owner.end(tp(0));
    fixture.journal.set_covered(tp(0), Offset(40));
    until("room", || !fixture.journal.stats().backlog).await;
    fixture.trim(tp(0), end).await.unwrap();
    until("the files went", || fixture.journal.stats().files <= 2).await;
    assert_eq!(fixture.journal.local(tp(0)), None);
}

#[tokio::test]
async fn age_lets_covered_files_go_without_pressure() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with_clock(dir.path(), |config| config.local_age_ms = Some(1000));
    fixture.fill(2, 200, 4 * KIB).await;
    let end = |number| fixture.owner.end(tp(number));
    fixture.journal.set_covered(tp(0), end(0));
    fixture.journal.set_covered(tp(1), Offset(1));
    fixture.clock.set(5000);
    fixture.put(tp(0), 10).await;
    assert_eq!(fixture.journal.local(tp(1)).unwrap().start, Offset(0), "it is not in the bucket");
    fixture.journal.set_covered(tp(1), end(1));
    until("old files went", || fixture.journal.stats().files <= 2).await;
    assert!(fixture.journal.local(tp(0)).unwrap().end > Offset(0));
}

#[tokio::test]
async fn the_age_of_what_is_uncovered_is_that_of_its_oldest_batch() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::with_clock(dir.path(), |_| {});
    for number in 0..150 {
        fixture.clock.set(1000 + number);
        fixture.put(tp(0), 4 * KIB).await;
    }
    let oldest = || fixture.journal.local(tp(0)).unwrap().oldest_uncovered_append.map(|time| time.0);
    assert_eq!(oldest(), Some(1000));
    for covered in [1, 70, 149] {
        // Offload reads what it covers, so the index is at hand.
        let mut scan = fixture.journal.scan(vec![(tp(0), Offset(0)..Offset(covered))]);
        while scan.next().await.is_some() {}
        fixture.journal.set_covered(tp(0), Offset(covered));
        assert_eq!(oldest(), Some(1000 + covered as i64));
    }
    let local = fixture.journal.local(tp(0)).unwrap();
    assert!(local.uncovered_bytes > 4 * KIB as u64 && local.uncovered_bytes < 5 * KIB as u64, "{local:?}");
    fixture.journal.set_covered(tp(0), Offset(150));
    assert_eq!(oldest(), None);
    assert_eq!(fixture.journal.local(tp(0)).unwrap().uncovered_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_files_that_are_recycled_get_the_right_bytes_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Arc::new(Fixture::with(tight(dir.path())).unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let (fixture, stop) = (Arc::clone(&fixture), Arc::clone(&stop));
            tokio::spawn(async move {
                let partition = tp(number % 2);
                let (mut read, mut gone) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let Some(local) = fixture.journal.local(partition) else { continue };
                    match fixture.journal.read(partition, local.start, Offset::MAX, 64 * KIB).await {
                        Ok(batches) => {
                            for bytes in batches {
                                let base = header(&bytes).base_offset.0;
                                let seed = base + u64::from(partition.partition.0) * 1_000_003;
                                assert_eq!(bytes, batch(base, 1, 4 * KIB, seed));
                                read += 1;
                            }
                        }
                        Err(ReadError::NotLocal { .. }) => gone += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (read, gone)
            })
        })
        .collect();
    for _ in 0..600 {
        for number in 0..2 {
            fixture.put(tp(number), 4 * KIB).await;
            fixture.journal.set_covered(tp(number), fixture.owner.end(tp(number)));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap().0 > 0);
    }
    assert!(fixture.journal.local(tp(0)).unwrap().start > Offset(300));
    assert!(files(dir.path()).len() <= 6);
}
