//! What is appended is read back, from memory, from the open file and from sealed ones.

mod support;

use std::sync::Arc;

use support::{Fixture, KIB, Owner, batch, config, header, topic, tp, until};
use tidelog_format::state::EpochEntry;
use tidelog_journal::{Append, AppendError, Direct, JournalConfig, ReadError};
use tidelog_model::{Incarnation, LeaderEpoch, Offset, TimestampMs};

#[tokio::test]
async fn batches_of_many_partitions_come_back_from_memory_and_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(50, 1000, 2 * KIB).await;
    assert!(fixture.journal.stats().files > 5, "{:?}", fixture.journal.stats());
    fixture.check(&written).await;
}

#[tokio::test]
async fn buffered_files_work_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig { direct: Direct::Off, ..config(dir.path()) };
    let fixture = Fixture::with(config.clone()).unwrap();
    let written = fixture.fill(5, 300, 3 * KIB).await;
    fixture.check(&written).await;
    drop(fixture);
    Fixture::with(config).unwrap().check(&written).await;
}

#[tokio::test]
async fn a_read_begins_with_the_batch_that_holds_the_offset_and_stops_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    for number in 0..10 {
        fixture.put_batch(tp(0), &batch(number * 10, 10, KIB, number)).await.unwrap();
    }
    let bases = |batches: &[bytes::Bytes]| -> Vec<u64> {
        batches.iter().map(|batch| header(batch).base_offset.0).collect()
    };
    let read = async |from, up_to, max| fixture.journal.read(tp(0), Offset(from), Offset(up_to), max).await;
    assert_eq!(bases(&read(15, 1000, 3500).await.unwrap()), [10, 20, 30][..2]);
    assert_eq!(bases(&read(15, 1000, 1).await.unwrap()), [10]);
    assert_eq!(bases(&read(15, 40, usize::MAX).await.unwrap()), [10, 20, 30]);
    // A batch that reaches past the limit is not seen in part.
    assert_eq!(bases(&read(15, 45, usize::MAX).await.unwrap()), [10, 20, 30]);
    assert_eq!(bases(&read(15, 12, usize::MAX).await.unwrap()), [0; 0]);
    let error = read(100, 1000, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { start: Offset(0), end: Offset(100), .. }), "{error}");
    let error = fixture.journal.read(tp(7), Offset(0), Offset(1), 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { .. }));
}

#[tokio::test]
async fn completions_come_in_the_order_of_the_appends() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let (sender, receiver) = std::sync::mpsc::channel();
    for number in 0..200_u64 {
        let batch = batch(number, 1, 500, number);
        let append = Append::batch(tp(0), &header(&batch), TimestampMs(0), batch.clone());
        let reservation = fixture.journal.reserve(batch.len()).await.unwrap();
        let sender = sender.clone();
        fixture.journal.append(
            reservation,
            append,
            Box::new(move |outcome| {
                sender.send((number, outcome.unwrap())).unwrap();
            }),
        );
    }
    let completed: Vec<_> = (0..200).map(|_| receiver.recv().unwrap()).collect();
    assert!(completed.iter().map(|(number, _)| *number).eq(0..200));
    assert!(completed.is_sorted_by_key(|(_, position)| *position));
    assert!(fixture.journal.stats().groups < 200, "appends share syncs");
}

#[tokio::test]
async fn a_batch_larger_than_a_group_goes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let config = JournalConfig {
        file_bytes: 8 * 1024 * KIB as u64,
        budget_bytes: 64 * 1024 * KIB as u64,
        ..config(dir.path())
    };
    let fixture = Fixture::with(config.clone()).unwrap();
    let large = batch(0, 3, 1900 * KIB, 1);
    fixture.put_batch(tp(0), &large).await.unwrap();
    let small = fixture.put(tp(0), 10).await;
    assert_eq!(fixture.read_all(tp(0), 0).await, [large.clone(), small.clone()]);
    let crashed = fixture.crash();
    drop(fixture);
    let config = JournalConfig { dir: crashed.path().join("journal"), ..config };
    let again = Fixture::with(config).unwrap();
    assert_eq!(again.read_all(tp(0), 0).await, [large, small]);
}

#[tokio::test]
async fn what_is_too_large_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let error = fixture.journal.reserve(65 * KIB).await.unwrap_err();
    assert!(matches!(error, AppendError::TooLarge { max: 65_536, .. }));
    assert!(!error.is_retryable() && error.has_no_side_effects());
}

#[tokio::test]
async fn the_queue_holds_back_who_reserves_more_than_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let mut held = Vec::new();
    let more = loop {
        let mut more = Box::pin(fixture.journal.reserve(60 * KIB));
        match tokio::time::timeout(std::time::Duration::from_millis(300), &mut more).await {
            Ok(reservation) => held.push(reservation.unwrap()),
            Err(_) => break fixture.journal.reserve(60 * KIB),
        }
        assert!(held.len() < 9, "512 KiB of queue hold at most eight reservations of 60 KiB");
    };
    held.clear();
    more.await.unwrap();
}

#[tokio::test]
async fn timestamps_are_found_in_every_part_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(3, 400, 2 * KIB).await;
    let batches = &written.0[&tp(1)];
    for wanted in batches.iter().step_by(17) {
        let timestamp = header(wanted).max_timestamp;
        let found = fixture.journal.find_timestamp(tp(1), timestamp, Offset(0), Offset::MAX).await.unwrap();
        assert_eq!(found.as_ref(), Some(wanted));
    }
    let last = header(batches.last().unwrap());
    let past = TimestampMs(last.max_timestamp.0 + 1);
    assert_eq!(fixture.journal.find_timestamp(tp(1), past, Offset(0), Offset::MAX).await.unwrap(), None);
    // The first candidate may lie below the range, or above it.
    let later = header(&batches[30]);
    let found = fixture.journal.find_timestamp(tp(1), TimestampMs(0), later.base_offset, Offset::MAX).await;
    assert_eq!(found.unwrap().as_ref(), Some(&batches[30]));
    let found =
        fixture.journal.find_timestamp(tp(1), later.max_timestamp, Offset(0), later.base_offset).await;
    assert_eq!(found.unwrap(), None);
}

#[tokio::test]
async fn one_scan_yields_what_is_wanted_of_each_partition_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(7, 900, KIB).await;
    let range = |partition| {
        let batches = &written.0[&tp(partition)];
        header(&batches[10]).base_offset..header(&batches[90]).base_offset
    };
    // An end within a batch asks for all of that batch.
    let within = range(5).start..range(5).end + 1;
    let mut scan =
        fixture.journal.scan(vec![(tp(2), range(2)), (tp(5), within), (tp(9), Offset(0)..Offset(3))]);
    let mut seen: std::collections::BTreeMap<_, Vec<_>> = std::collections::BTreeMap::new();
    let mut missing = Vec::new();
    while let Some(item) = scan.next().await {
        match item {
            Ok((partition, batch)) => seen.entry(partition).or_default().push(batch),
            Err(ReadError::NotLocal { partition, .. }) => missing.push(partition),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen[&tp(2)], written.0[&tp(2)][10..90]);
    assert_eq!(seen[&tp(5)], written.0[&tp(5)][10..91]);
    assert_eq!(missing, [tp(9)]);
    // Dropping a scan early ends it.
    let mut scan = fixture.journal.scan(vec![(tp(0), Offset(0)..Offset(100))]);
    assert!(scan.next().await.is_some());
}

#[tokio::test]
async fn truncation_hides_what_was_cut_and_makes_room_for_other_batches() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(2, 400, 2 * KIB).await;
    let batches = &written.0[&tp(0)];
    let cut = header(&batches[40]).base_offset;
    fixture.truncate(tp(0), cut).await.unwrap();
    let error = fixture.journal.read(tp(0), cut, Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { end, .. } if end == cut));
    let replacement = batch(cut.0, 4, 100, 99);
    fixture.put_batch(tp(0), &replacement).await.unwrap();
    let mut expected = batches[..40].to_vec();
    expected.push(replacement);
    assert_eq!(fixture.read_all(tp(0), 0).await, expected);

    let crashed = fixture.crash();
    let again = Fixture::open(crashed.path());
    assert_eq!(again.read_all(tp(0), 0).await, expected);
    assert_eq!(again.read_all(tp(1), 0).await, written.0[&tp(1)]);
    // And once more, when every file has a footer.
    again.journal.close().await.unwrap();
    drop(again);
    assert_eq!(Fixture::open(crashed.path()).read_all(tp(0), 0).await, expected);
}

#[tokio::test]
async fn facts_are_replayed_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let entry = EpochEntry { incarnation: Incarnation(3), epoch: LeaderEpoch(7), start: Offset(0) };
    let start = Append::epoch_start(tp(0), entry);
    fixture.append(start, move |state| state.partition(tp(0)).state.epochs.push(entry)).await.unwrap();
    for _ in 0..5 {
        fixture.put(tp(0), 100).await;
    }
    fixture.trim(tp(0), Offset(2)).await.unwrap();
    let error = fixture.journal.read(tp(0), Offset(1), Offset::MAX, 1).await.unwrap_err();
    assert!(matches!(error, ReadError::NotLocal { start: Offset(2), .. }));
    let crashed = fixture.crash();
    let again = Fixture::open(crashed.path());
    let state = again.owner.state(tp(0));
    assert_eq!((state.log_start, state.state.end), (Offset(2), Offset(5)));
    assert_eq!(state.state.epochs, [entry]);
    assert_eq!(again.journal.local(tp(0)).unwrap().start, Offset(2));
}

#[tokio::test]
async fn a_closed_journal_refuses_appends_and_opens_again_clean() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(4, 100, KIB).await;
    fixture.journal.close().await.unwrap();
    assert!(matches!(fixture.journal.reserve(1).await, Err(AppendError::Closed)));
    assert!(matches!(fixture.journal.close().await, Err(AppendError::Closed)));
    drop(fixture);
    let again = Fixture::open(dir.path());
    assert_eq!(again.report.secured_bytes, 0, "a sealed file has nothing in doubt");
    assert!(again.report.torn.is_none());
    again.check(&written).await;
}

#[tokio::test]
async fn a_deleted_topic_is_gone_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.put(tp(0), 100).await;
    fixture.journal.remove(topic(1));
    assert_eq!(fixture.journal.local(tp(0)), None);
    assert_eq!(fixture.journal.stats().tail_cache_bytes, 0);
    assert!(fixture.journal.read(tp(0), Offset(0), Offset(1), 1).await.is_err());
}

#[tokio::test]
async fn the_tail_is_bounded_and_serves_without_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    let written = fixture.fill(10, 500, KIB).await;
    let stats = fixture.journal.stats();
    assert!(stats.tail_cache_bytes <= 64 * KIB && stats.tail_cache_bytes > 32 * KIB, "{stats:?}");
    let newest = written.0[&tp(3)].last().unwrap();
    let read = fixture.journal.read(tp(3), header(newest).base_offset, Offset::MAX, 1).await.unwrap();
    assert_eq!(read[0].as_ptr(), newest.as_ptr(), "the very bytes that were appended");
}

#[tokio::test]
async fn rolling_begins_a_file_with_a_checkpoint_and_gives_back_unused_room() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(dir.path());
    fixture.put(tp(0), 100).await;
    until("a file is ready", || fixture.journal.stats().disk_bytes >= 512 * KIB as u64).await;
    fixture.journal.roll().await.unwrap();
    assert_eq!(fixture.owner.0.lock().checkpoints, 2);
    assert_eq!(fixture.journal.stats().files, 2);
    let sealed = std::fs::metadata(&support::files(dir.path())[0]).unwrap().len();
    assert!(sealed < 40 * KIB as u64, "{sealed}");
    fixture.journal.roll().await.unwrap();
    assert_eq!(fixture.journal.stats().files, 2, "there was nothing to close");
    assert_eq!(fixture.read_all(tp(0), 0).await.len(), 1);
}

#[tokio::test]
async fn impossible_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = config(dir.path());
    for bad in [
        JournalConfig { file_bytes: 4095, ..good.clone() },
        JournalConfig { file_bytes: 4096, ..good.clone() },
        JournalConfig { budget_bytes: good.file_bytes, ..good.clone() },
        JournalConfig { group_bytes_max: 1, ..good.clone() },
        JournalConfig { queue_bytes_max: 1, ..good.clone() },
        JournalConfig { reader_threads: 0, ..good.clone() },
    ] {
        let error = tidelog_journal::Journal::open(bad, Arc::new(Owner::default()), &mut ()).unwrap_err();
        assert!(error.to_string().contains("settings"), "{error}");
    }
}
