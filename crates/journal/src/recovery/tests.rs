//! Damage at every byte: what was durable is reported, what was not is cut, nothing else is served.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::journal::{BLOCK_BYTES, FRAME_HEADER_BYTES, GROUP_HEADER_BYTES};
use tidelog_model::{Offset, TopicPartition};

use super::{Recovered, recover};
use crate::config::{JournalConfig, OnDamage};
use crate::error::{OpenError, ReadError};
use crate::files::{Bin, Files};
use crate::index::{Index, Source};
use crate::read::FrameReader;
use crate::support::{Fixture, Owner, batch, config, files, header, scratch, tp};

/// A recovered journal without its threads.
struct Opened {
    recovered: Recovered,
    files: Files,
    index: Index,
    owner: Owner,
}

fn open(config: &JournalConfig, owner: Owner) -> Result<Opened, OpenError> {
    let files = Files::default();
    let index = Index::new(1 << 20);
    let mut replay = owner.clone();
    let recovered = recover(config, &files, &index, &Arc::<Bin>::default(), &mut replay)?;
    Ok(Opened { recovered, files, index, owner })
}

impl Opened {
    /// Every batch of a partition that is served, and how reading ended.
    fn read_all(&self, partition: TopicPartition) -> (Vec<Bytes>, Option<ReadError>) {
        let mut reader = FrameReader::new();
        let mut batches: Vec<Bytes> = Vec::new();
        let mut next = Offset::ZERO;
        loop {
            let wanted = next..Offset::MAX;
            let source = self.index.locate(&self.files, partition, wanted.clone(), 1);
            match source {
                Source::NotLocal { .. } => return (batches, None),
                Source::Hole => return (batches, Some(ReadError::Quarantined { partition, offset: next })),
                source => match reader.batches(&self.index.cache, partition, &source, &wanted, 1) {
                    Ok(part) => {
                        next = header(&part[0]).next_offset();
                        batches.extend(part);
                    }
                    Err(error) => return (batches, Some(error)),
                },
            }
        }
    }
}

fn small(dir: &Path) -> JournalConfig {
    JournalConfig { file_bytes: 64 * 1024, budget_bytes: 1 << 20, ..config(dir) }
}

/// A frame of the newest file: where it lies, and its batch.
struct Frame {
    partition: TopicPartition,
    position: u64,
    batch: Bytes,
}

impl Frame {
    fn end(&self) -> u64 {
        self.position + (FRAME_HEADER_BYTES + self.batch.len()) as u64
    }
}

/// A journal as a crash leaves it: several groups in the newest file, the last with many frames.
struct Crashed {
    dir: tempfile::TempDir,
    newest: PathBuf,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
}

impl Crashed {
    async fn new() -> Self {
        let origin = scratch();
        let fixture = Fixture::with(small(origin.path())).unwrap();
        let mut frames = Vec::new();
        for number in 0..4_u64 {
            let batch = batch(number, 1, 150, number);
            let position = fixture.put_batch(tp(0), &batch).await.unwrap();
            frames.push(Frame { partition: tp(0), position: position.position, batch });
        }
        frames.extend(Self::one_group(&fixture).await);
        let dir = scratch();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        let newest = dir.path().join("journal/00000000000000000001.wal");
        let bytes = std::fs::read(&files(origin.path())[0]).unwrap();
        Self { dir, newest, bytes, frames }
    }

    /// Appends that wait while the writer is held up share a group.
    async fn one_group(fixture: &Fixture) -> Vec<Frame> {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let blocker = batch(4, 1, 20, 4);
        let append =
            crate::Append::batch(tp(0), &header(&blocker), fixture.config.clock.now(), blocker.clone());
        let reservation = fixture.journal.reserve(append.bytes()).await.unwrap();
        let (first, first_done) = tokio::sync::oneshot::channel();
        fixture.journal.append(
            reservation,
            append,
            Box::new(move |outcome| {
                let _ = first.send(outcome.unwrap());
                let _ = held.recv();
            }),
        );
        let blocker_at = first_done.await.unwrap().position;
        let mut frames = vec![Frame { partition: tp(0), position: blocker_at, batch: blocker }];
        let mut waiting = Vec::new();
        for number in 0..5_u64 {
            let partition = tp(1 + number as u32 % 2);
            let batch = batch(number / 2, 1, 100 + number as usize * 90, 40 + number);
            let append =
                crate::Append::batch(partition, &header(&batch), fixture.config.clock.now(), batch.clone());
            waiting.push((partition, batch, fixture.start(append, |_| {}).await.unwrap()));
        }
        hold.send(()).unwrap();
        for (partition, batch, receiver) in waiting {
            let outcome = tokio::task::spawn_blocking(move || receiver.recv().unwrap()).await.unwrap();
            frames.push(Frame { partition, position: outcome.unwrap().position, batch });
        }
        let group = |frame: &Frame| frame.position / BLOCK_BYTES as u64;
        assert!(
            frames[1..].iter().all(|frame| group(frame) == group(&frames[1])),
            "one group of five frames"
        );
        frames
    }

    /// Puts the journal back as it was, with the newest file's bytes changed.
    fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        for path in files(self.dir.path()) {
            std::fs::remove_file(path).unwrap();
        }
        std::fs::write(&self.newest, &bytes).unwrap();
    }

    fn open(&self, owner: Owner) -> Result<Opened, OpenError> {
        open(&small(self.dir.path()), owner)
    }

    fn expected(&self, kept: impl Fn(&Frame) -> bool) -> BTreeMap<TopicPartition, Vec<Bytes>> {
        let mut expected: BTreeMap<_, Vec<_>> = [0, 1, 2].map(|number| (tp(number), Vec::new())).into();
        for frame in self.frames.iter().filter(|frame| kept(frame)) {
            expected.get_mut(&frame.partition).unwrap().push(frame.batch.clone());
        }
        expected
    }

    fn check(opened: &Opened, expected: &BTreeMap<TopicPartition, Vec<Bytes>>, what: &str) {
        for (partition, batches) in expected {
            let (read, ended) = opened.read_all(*partition);
            assert!(ended.is_none(), "{what}: {partition} {ended:?}");
            assert!(read == *batches, "{what}: {partition} has {} of {}", read.len(), batches.len());
            let end = batches.last().map_or(Offset::ZERO, |batch| header(batch).next_offset());
            assert_eq!(opened.owner.end(*partition), end, "{what}: state of {partition}");
        }
    }
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_the_last_good_frame_at_every_byte_position() {
    let crashed = Crashed::new().await;
    let begin = crashed.frames[3].position - GROUP_HEADER_BYTES as u64;
    let data_end = crashed.frames.last().unwrap().end();
    let mut noise = 1_u64;
    let in_use = |at: &u64| {
        let frame = crashed.frames.iter().any(|frame| (frame.position..=frame.end()).contains(at));
        // In the padding every byte is like every other.
        frame || at % BLOCK_BYTES as u64 <= GROUP_HEADER_BYTES as u64 || at.is_multiple_of(101)
    };
    for at in (begin..data_end + 2).filter(in_use) {
        for variant in ["cut", "zeros", "noise"] {
            let what = format!("{variant} from {at} on");
            crashed.damage(|bytes| match variant {
                "cut" => bytes.truncate(at as usize),
                "zeros" => bytes[at as usize..].fill(0),
                _ => bytes[at as usize..].fill_with(|| {
                    noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (noise >> 33) as u8
                }),
            });
            // A frame is good if it ends before the damage, and so does the header of its group. Where
            // zeros replace zeros, or noise hits the byte that was there, more is good.
            let damaged = std::fs::read(&crashed.newest).unwrap();
            let byte = |at: u64| damaged.get(at as usize).copied().unwrap_or(0);
            let same = |from: u64, to: u64| (from..to).all(|at| byte(at) == crashed.bytes[at as usize]);
            let group = |frame: &Frame| frame.position / BLOCK_BYTES as u64 * BLOCK_BYTES as u64;
            let mut good = true;
            let kept: Vec<u64> = crashed
                .frames
                .iter()
                .filter(|frame| {
                    good &= same(group(frame), group(frame) + GROUP_HEADER_BYTES as u64)
                        && same(frame.position, frame.end());
                    good
                })
                .map(|frame| frame.position)
                .collect();
            let expected = crashed.expected(|frame| kept.contains(&frame.position));
            let opened = crashed.open(Owner::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            Crashed::check(&opened, &expected, &what);
            if at % 64 == 0 {
                let end = opened.recovered.previous_end;
                drop(opened);
                let again = crashed.open(Owner::default()).unwrap();
                Crashed::check(&again, &expected, &format!("{what}, opened again"));
                assert_eq!(again.recovered.previous_end, end, "{what}");
                assert_eq!(again.recovered.report.secured_bytes, 0, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_good_above_the_durable_mark_is_secured_before_it_counts() {
    let crashed = Crashed::new().await;
    crashed.damage(|_| {});
    let opened = crashed.open(Owner::default()).unwrap();
    Crashed::check(&opened, &crashed.expected(|_| true), "undamaged");
    // The last group is above the mark: nothing was written after it.
    assert_eq!(opened.recovered.report.secured_bytes, BLOCK_BYTES as u64);
    assert!(opened.recovered.report.torn.is_none());
}

#[tokio::test]
async fn a_flipped_byte_below_the_durable_mark_is_named_and_never_served() {
    let crashed = Crashed::new().await;
    let victim = &crashed.frames[2];
    let group_at = victim.position - GROUP_HEADER_BYTES as u64;
    for at in group_at..victim.end() {
        crashed.damage(|bytes| bytes[at as usize] ^= 1 << (at % 8));
        let in_header = at < victim.position;
        let named = if in_header { group_at } else { victim.position };
        let error = crashed.open(Owner::default()).map(|_| ()).unwrap_err();
        let OpenError::Corrupt { path, position, partition, .. } = error else { panic!("{at}: {error}") };
        assert_eq!((path, position), (crashed.newest.clone(), named), "byte {at}");
        // Only the frame's own checksum makes its header believable.
        let records_only = at >= victim.position + (FRAME_HEADER_BYTES + 21) as u64;
        assert_eq!(partition, records_only.then_some((victim.partition, Offset(2))), "byte {at}");

        // With what the bucket covers it opens, if it can tell that it is covered.
        let owner = Owner::default();
        owner.0.lock().covered.insert(tp(0), Offset(3));
        assert_eq!(crashed.open(owner).is_ok(), records_only, "byte {at}");

        let config = JournalConfig { on_damage: OnDamage::Quarantine, ..small(crashed.dir.path()) };
        crashed.damage(|bytes| bytes[at as usize] ^= 1 << (at % 8));
        let opened = open(&config, Owner::default()).unwrap();
        assert_eq!(opened.recovered.report.damage.len(), 1, "byte {at}");
        let (read, ended) = opened.read_all(tp(0));
        assert_eq!(read, crashed.expected(|frame| frame.position < victim.position)[&tp(0)], "byte {at}");
        assert!(matches!(ended, Some(ReadError::Quarantined { offset: Offset(2), .. })), "{ended:?}");
        let (read, _) = opened.read_all(tp(1));
        assert_eq!(read, crashed.expected(|_| true)[&tp(1)], "byte {at}: others are served");
    }
}

#[tokio::test]
async fn a_flipped_byte_of_a_files_header_is_named() {
    let crashed = Crashed::new().await;
    for at in 0..64 {
        crashed.damage(|bytes| bytes[at] ^= 0x10);
        let error = crashed.open(Owner::default()).map(|_| ()).unwrap_err();
        match error {
            OpenError::Corrupt { path, position: 0, .. } if at != 8 && at != 9 => {
                assert_eq!(path, crashed.newest);
            }
            OpenError::NewerFormat { supported: 1, .. } if at == 8 || at == 9 => {}
            error => panic!("byte {at}: {error}"),
        }
    }
    // Quarantine keeps the file beside an empty one, and the journal goes on.
    crashed.damage(|bytes| bytes[20] ^= 1);
    let config = JournalConfig { on_damage: OnDamage::Quarantine, ..small(crashed.dir.path()) };
    assert_eq!(open(&config, Owner::default()).unwrap().recovered.report.damage.len(), 1);
    assert!(crashed.newest.with_extension("wal.damaged").exists());
    assert!(open(&small(crashed.dir.path()), Owner::default()).is_ok());
}

/// A journal of several sealed files.
struct Sealed {
    dir: tempfile::TempDir,
    written: crate::support::Written,
}

impl Sealed {
    async fn new() -> Self {
        let dir = scratch();
        let fixture = Fixture::with(small(dir.path())).unwrap();
        let written = fixture.fill(3, 300, 500).await;
        fixture.journal.close().await.unwrap();
        Self { dir, written }
    }

    fn open(&self) -> Result<Opened, OpenError> {
        open(&small(self.dir.path()), Owner::default())
    }

    fn check(&self, opened: &Opened, what: &str) {
        for (partition, batches) in &self.written.0 {
            let (read, ended) = opened.read_all(*partition);
            assert!(ended.is_none() && read == *batches, "{what}: {partition} {ended:?}");
        }
    }
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x20], at).unwrap();
}

#[tokio::test]
async fn a_flipped_byte_in_a_sealed_file_is_found_by_the_read_that_needs_it() {
    let sealed = Sealed::new().await;
    let opened = sealed.open().unwrap();
    let second = &files(sealed.dir.path())[1];
    let file = opened.files.get(2).unwrap();
    let data_end = file.trailer().unwrap().data_end;
    let mut corrupt = 0;
    for at in (BLOCK_BYTES as u64..data_end).step_by(37) {
        flip(second, at);
        for (partition, batches) in &sealed.written.0 {
            let (read, ended) = opened.read_all(*partition);
            assert_eq!(read, batches[..read.len()], "byte {at}: what is served is right");
            match ended {
                None => assert_eq!(read.len(), batches.len(), "byte {at}"),
                Some(ReadError::Corrupt { path, position, partition: found, offset, .. }) => {
                    corrupt += 1;
                    assert_eq!((&path, found), (second, *partition));
                    assert_eq!(offset, header(&batches[read.len()]).base_offset, "byte {at}");
                    assert!(position <= at && at < position + 2000, "byte {at} is not at {position}");
                }
                Some(error) => panic!("byte {at}: {error}"),
            }
        }
        flip(second, at);
    }
    assert!(corrupt > 100, "{corrupt} reads met damage");
    sealed.check(&opened, "mended");
}

#[tokio::test]
async fn a_damaged_footer_is_made_anew_from_the_data() {
    let sealed = Sealed::new().await;
    let second = files(sealed.dir.path())[1].clone();
    let original = std::fs::read(&second).unwrap();
    let opened = sealed.open().unwrap();
    let trailer = *opened.files.get(2).unwrap().trailer().unwrap();
    drop(opened);
    let entries_end = trailer.entry_position(trailer.entries);
    let last_block = original.len() as u64 - BLOCK_BYTES as u64;
    let places = (trailer.footer..entries_end).step_by(29).chain((last_block..last_block + 128).step_by(3));
    for at in places {
        flip(&second, at);
        let opened = sealed.open().unwrap_or_else(|error| panic!("byte {at}: {error}"));
        sealed.check(&opened, &format!("byte {at}"));
        let in_entries = (trailer.entry_position(0)..entries_end).contains(&at);
        // Entries are looked at when they are needed, the rest when the journal is opened.
        let version = (last_block + 8..last_block + 10).contains(&at);
        assert_eq!(opened.recovered.report.reindexed.is_empty(), in_entries, "byte {at} {version}");
        std::fs::write(&second, &original).unwrap();
    }
}

#[tokio::test]
async fn missing_and_misplaced_files_are_named() {
    let sealed = Sealed::new().await;
    let all = files(sealed.dir.path());
    let aside = sealed.dir.path().join("aside");
    std::fs::rename(&all[1], &aside).unwrap();
    let error = sealed.open().map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::MissingFile { path, .. } if path == all[1]));
    std::fs::copy(&all[2], &all[1]).unwrap();
    let error = sealed.open().map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { path, position: 0, .. } if path == all[1]));
    std::fs::rename(&aside, &all[1]).unwrap();
    sealed.check(&sealed.open().unwrap(), "mended");
}

#[tokio::test]
async fn without_any_checkpoint_the_state_cannot_be_rebuilt() {
    let sealed = Sealed::new().await;
    let all = files(sealed.dir.path());
    for path in &all {
        // The first group of every file is its checkpoint.
        flip(path, BLOCK_BYTES as u64 + 70);
        // Without the trailer nobody says that there was one.
        let bytes = std::fs::metadata(path).unwrap().len();
        flip(path, bytes - BLOCK_BYTES as u64);
    }
    let error = sealed.open().map(|_| ()).unwrap_err();
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a_checkpoint_that_was_cut_short_leaves_the_one_before_it() {
    let origin = scratch();
    let fixture = Fixture::with(small(origin.path())).unwrap();
    let mut batches = Vec::new();
    while fixture.journal.stats().files < 3 {
        batches.push(fixture.put(tp(0), 900).await);
    }
    let newest = files(origin.path())[2].clone();
    let bytes = std::fs::read(&newest).unwrap();
    // The group of the checkpoint, torn in its second frame: the crash came while it was written.
    let dir = crate::support::copy(&fixture.config.dir);
    let path = dir.path().join("journal").join(newest.file_name().unwrap());
    let first_frame = FRAME_HEADER_BYTES + bytes[BLOCK_BYTES + GROUP_HEADER_BYTES + 3] as usize;
    let mut torn = bytes;
    torn[BLOCK_BYTES + GROUP_HEADER_BYTES + first_frame..].fill(0);
    std::fs::write(&path, torn).unwrap();
    let opened = open(&small(dir.path()), Owner::default()).unwrap();
    assert_eq!(opened.recovered.report.replayed_from, Some(2));
    let (read, ended) = opened.read_all(tp(0));
    assert!(ended.is_none());
    // What the torn file held after its checkpoint cannot have been acknowledged.
    assert_eq!(read, batches[..read.len()]);
    assert_eq!(opened.owner.end(tp(0)), header(read.last().unwrap()).next_offset());
}
