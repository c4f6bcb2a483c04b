//! Files that vanish are missed, whichever they are; what a crash leaves behind is no such thing.

mod support;

use std::path::{Path, PathBuf};

use support::{Fixture, KIB, Written, config, extent, files, tp, until};
use tidelog_format::journal::{BLOCK_BYTES, Extent, ExtentSlot};
use tidelog_journal::{JournalConfig, OnDamage, OpenError};

/// A journal of several files that a crash left, and what it holds.
struct Left {
    dir: tempfile::TempDir,
    written: Written,
}

impl Left {
    async fn new() -> Self {
        let origin = support::scratch();
        let fixture = Fixture::open(origin.path());
        let written = fixture.fill(2, 250, 4 * KIB).await;
        until("another file is ready", || recorded(origin.path()).last > newest(origin.path())).await;
        let dir = fixture.crash();
        assert!(files(dir.path()).len() > 4);
        Self { dir, written }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn opens_with_everything(&self, what: &str) {
        let fixture = Fixture::with(config(self.path())).unwrap_or_else(|error| panic!("{what}: {error}"));
        fixture.check(&self.written).await;
        fixture.journal.close().await.unwrap();
        drop(fixture);
        let fixture = Fixture::with(config(self.path())).unwrap_or_else(|error| panic!("{what}: {error}"));
        fixture.check(&self.written).await;
    }

    fn refusal(&self) -> OpenError {
        match Fixture::with(config(self.path())) {
            Ok(_) => panic!("the journal opens although files are missing"),
            Err(error) => error,
        }
    }
}

/// The number of the newest file that is sealed or in use.
fn newest(dir: &Path) -> u64 {
    let used = |path: &PathBuf| std::fs::read(path).unwrap()[BLOCK_BYTES..].starts_with(b"TGRP");
    files(dir).iter().filter(|path| used(path)).map(|path| number(path)).max().unwrap()
}

fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The newest slot of a data directory's extent.
fn slot(dir: &Path) -> ExtentSlot {
    let bytes = std::fs::read(extent(dir)).unwrap();
    let slots = bytes.chunks(BLOCK_BYTES).filter_map(|block| ExtentSlot::decode(block).ok());
    slots.max_by_key(|slot| slot.generation).unwrap()
}

fn recorded(dir: &Path) -> Extent {
    slot(dir).extent
}

fn record(dir: &Path, first: u64, last: u64) {
    let mut bytes = vec![0; 2 * BLOCK_BYTES];
    let slot = ExtentSlot { generation: 1, extent: Extent { first, last } };
    slot.encode(bytes.first_chunk_mut().unwrap());
    std::fs::write(extent(dir), bytes).unwrap();
}

#[tokio::test]
async fn a_vanished_file_keeps_the_journal_from_opening_whichever_it_is() {
    let left = Left::new().await;
    let aside = left.path().join("aside");
    for path in files(left.path()) {
        std::fs::rename(&path, &aside).unwrap();
        let before = (files(left.path()), std::fs::read(extent(left.path())).unwrap());
        let error = left.refusal();
        assert!(error.to_string().contains("quarantine"), "{error}");
        let OpenError::MissingFile { path: named, .. } = error else { panic!("{error}") };
        assert_eq!(named, path);
        assert_eq!((files(left.path()), std::fs::read(extent(left.path())).unwrap()), before);
        std::fs::rename(&aside, &path).unwrap();
    }
    left.opens_with_everything("all are back").await;
}

#[tokio::test]
async fn an_empty_or_missing_directory_is_no_new_journal() {
    let left = Left::new().await;
    let journal = left.path().join("journal");
    let aside = left.path().join("aside");
    std::fs::rename(&journal, &aside).unwrap();
    let must_be = recorded(left.path());
    // The second time the directory is there, and empty.
    for _ in 0..2 {
        let error = left.refusal();
        let OpenError::MissingFile { first, last, extent: Some(says), .. } = error else { panic!("{error}") };
        assert_eq!((first, last, says), (must_be.first, must_be.last, extent(left.path())));
    }
    std::fs::remove_dir(&journal).unwrap();
    std::fs::rename(&aside, &journal).unwrap();
    left.opens_with_everything("it is back").await;
}

#[tokio::test]
async fn whoever_accepts_the_loss_goes_on_without_the_files() {
    let left = Left::new().await;
    let must_be = recorded(left.path());
    for path in files(left.path()) {
        std::fs::remove_file(path).unwrap();
    }
    let accepting = JournalConfig { on_damage: OnDamage::Quarantine, ..config(left.path()) };
    let fixture = Fixture::with(accepting).unwrap();
    let [damage] = &fixture.report.damage[..] else { panic!("{:?}", fixture.report.damage) };
    assert!(damage.reason.contains("are missing") && !damage.is_covered, "{damage:?}");
    assert!(fixture.owner.0.lock().partitions.is_empty());
    let batch = fixture.put(tp(0), KIB).await;
    drop(fixture);
    assert!(number(&files(left.path())[0]) > must_be.last, "no sequence is used twice");
    // It was chosen once, and for what was missing then.
    let fixture = Fixture::open(left.path());
    assert_eq!(fixture.read_all(tp(0), 0).await, [batch]);
    drop(fixture);
    std::fs::remove_file(&files(left.path())[0]).unwrap();
    assert!(matches!(left.refusal(), OpenError::MissingFile { .. }));
}

#[tokio::test]
async fn whoever_accepts_a_gap_is_served_what_is_on_both_sides() {
    let left = Left::new().await;
    let all = files(left.path());
    std::fs::remove_file(&all[1]).unwrap();
    std::fs::remove_file(&all[2]).unwrap();
    let accepting = JournalConfig { on_damage: OnDamage::Quarantine, ..config(left.path()) };
    let fixture = Fixture::with(accepting).unwrap();
    assert_eq!(fixture.report.damage.len(), 1);
    let batches = &left.written.0[&tp(0)];
    let first =
        fixture.journal.read(tp(0), support::header(&batches[0]).base_offset, tidelog_model::Offset::MAX, 1);
    assert_eq!(first.await.unwrap(), batches[..1]);
    let last = support::header(batches.last().unwrap()).base_offset;
    assert_eq!(fixture.read_all(tp(0), last.0).await, batches[batches.len() - 1..]);
    drop(fixture);
    Fixture::with(config(left.path())).unwrap();
}

#[tokio::test]
async fn a_crash_before_the_extent_takes_a_file_in_loses_nothing() {
    let left = Left::new().await;
    let must_be = recorded(left.path());
    record(left.path(), must_be.first, must_be.last - 1);
    left.opens_with_everything("named, not taken in").await;
    assert!(recorded(left.path()).last >= must_be.last);
    // As above, before the first extent was ever written.
    let left = Left::new().await;
    std::fs::remove_file(extent(left.path())).unwrap();
    std::fs::write(left.path().join("journal.extent.tmp"), b"half").unwrap();
    left.opens_with_everything("no extent").await;
    let path = &files(left.path())[0];
    std::fs::remove_file(path).unwrap();
    assert!(matches!(left.refusal(), OpenError::MissingFile { path: named, .. } if named == *path));
}

#[tokio::test]
async fn a_crash_between_letting_go_and_retiring_loses_nothing() {
    let left = Left::new().await;
    let must_be = recorded(left.path());
    record(left.path(), must_be.first + 1, must_be.last);
    left.opens_with_everything("let go, not retired").await;
    assert_eq!(recorded(left.path()).first, must_be.first, "it is wanted again");
    // The next step: renamed, and not recycled yet.
    let oldest = files(left.path())[0].clone();
    record(left.path(), must_be.first + 1, recorded(left.path()).last);
    std::fs::rename(&oldest, oldest.with_extension("wal.retired.tmp")).unwrap();
    drop(Fixture::open(left.path()));
}

#[tokio::test]
async fn a_torn_change_of_the_extent_leaves_the_one_before() {
    let left = Left::new().await;
    let newest = slot(left.path());
    let whole = std::fs::read(extent(left.path())).unwrap();
    let at = if ExtentSlot::decode(&whole) == Ok(newest) { 0 } else { BLOCK_BYTES };
    for torn_at in [0, 1, 8, 12, 16, 23, 31, 39, 63] {
        let again = support::copy(&left.path().join("journal"));
        let mut torn = whole.clone();
        torn[at + torn_at..at + BLOCK_BYTES].fill(0);
        std::fs::write(extent(again.path()), &torn).unwrap();
        let fixture =
            Fixture::with(config(again.path())).unwrap_or_else(|error| panic!("{torn_at}: {error}"));
        fixture.check(&left.written).await;
    }
    // With both gone nobody knows.
    std::fs::write(extent(left.path()), vec![0; 2 * BLOCK_BYTES]).unwrap();
    assert!(matches!(left.refusal(), OpenError::Corrupt { path, .. } if path == extent(left.path())));
    let accepting = JournalConfig { on_damage: OnDamage::Quarantine, ..config(left.path()) };
    let fixture = Fixture::with(accepting).unwrap();
    fixture.check(&left.written).await;
    drop(fixture);
    left.opens_with_everything("the extent was made anew").await;
}

#[tokio::test]
async fn the_extent_follows_the_files_through_retention() {
    let dir = tempfile::tempdir().unwrap();
    let tight = || JournalConfig { budget_bytes: 6 * 256 * KIB as u64, ..config(dir.path()) };
    let fixture = Fixture::with(tight()).unwrap();
    for _ in 0..20 {
        fixture.fill(1, 40, 4 * KIB).await;
        fixture.journal.set_covered(tp(0), fixture.owner.end(tp(0)));
    }
    fixture.journal.close().await.unwrap();
    drop(fixture);
    let there: Vec<_> = files(dir.path()).iter().map(|path| number(path)).collect();
    let must_be = recorded(dir.path());
    assert!(must_be.first > 5, "{must_be:?}");
    assert_eq!((must_be.first, must_be.last), (there[0], *there.last().unwrap()));
    // Files of another size are not kept ready: they go, and nobody misses them.
    let other_size = JournalConfig { file_bytes: 128 * KIB as u64, ..tight() };
    drop(Fixture::with(other_size).unwrap());
    Fixture::with(tight()).unwrap();
}
