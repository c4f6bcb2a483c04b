//! What the tests of the journal share: batches, a clock that stands still, and an owner of state
//! that remembers what it was told.
#![allow(dead_code, unreachable_pub)] // Every test binary uses another part of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_format::batch::{self, BatchBuilder, BatchHeader, BatchOptions};
use tidelog_format::journal::FrameHeader;
use tidelog_format::state::{EpochEntry, PartitionState};
use tidelog_journal::{
    Append, AppendError, Checkpoints, Journal, JournalConfig, Local, OpenError, PartitionCheckpoint,
    Position, ReadError, RecoveryReport, Replay,
};
use tidelog_model::{Clock, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};

pub const KIB: usize = 1024;

/// A directory in memory where there is such a file system: for tests that sync by the thousand.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A clock that tests set.
#[derive(Debug, Default)]
pub struct TestClock(pub AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.load(Ordering::Relaxed))
    }
}

impl TestClock {
    pub fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }
}

pub fn topic(number: u8) -> TopicId {
    TopicId::from_bytes([number; 16])
}

pub fn tp(number: u32) -> TopicPartition {
    TopicPartition::new(topic(1), PartitionId(number))
}

/// A batch of `count` records at `base`, whose bytes depend on `seed` and take about `bytes`.
pub fn batch(base: u64, count: u32, bytes: usize, seed: u64) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let each = (bytes / count as usize).max(1);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for number in 0..count {
        let value: Vec<u8> = (0..each)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        let timestamp = TimestampMs((base + u64::from(number)) as i64 * 10);
        builder.push(timestamp, None, Some(&value), &[]).unwrap();
    }
    let mut bytes = builder.finish();
    batch::assign(&mut bytes, Offset(base), LeaderEpoch(1));
    bytes.freeze()
}

pub fn header(batch: &Bytes) -> BatchHeader {
    batch::header(batch).unwrap()
}

/// The owner of the partitions' state, as simple as can be.
#[derive(Clone, Debug, Default)]
pub struct Owner(pub Arc<Mutex<OwnerState>>);

#[derive(Clone, Debug, Default)]
pub struct OwnerState {
    pub partitions: BTreeMap<TopicPartition, PartitionCheckpoint>,
    pub covered: BTreeMap<TopicPartition, Offset>,
    pub checkpoints: usize,
    pub replayed: usize,
    pub moved: Vec<(TopicPartition, Offset)>,
}

impl OwnerState {
    pub fn partition(&mut self, partition: TopicPartition) -> &mut PartitionCheckpoint {
        self.partitions.entry(partition).or_default()
    }
}

impl Owner {
    pub fn end(&self, partition: TopicPartition) -> Offset {
        self.0.lock().partitions.get(&partition).map_or(Offset::ZERO, |state| state.state.end)
    }

    pub fn state(&self, partition: TopicPartition) -> PartitionCheckpoint {
        self.0.lock().partitions.get(&partition).cloned().unwrap_or_default()
    }
}

impl Checkpoints for Owner {
    fn checkpoint(&self) -> Vec<(TopicPartition, PartitionCheckpoint)> {
        let mut state = self.0.lock();
        state.checkpoints += 1;
        state.partitions.iter().map(|(partition, state)| (*partition, state.clone())).collect()
    }

    fn local_start_moved(&self, partition: TopicPartition, local_start: Offset) {
        self.0.lock().moved.push((partition, local_start));
    }
}

impl Replay for Owner {
    fn covered(&self, partition: TopicPartition) -> Offset {
        self.0.lock().covered.get(&partition).copied().unwrap_or_default()
    }

    fn checkpoint(&mut self, partition: TopicPartition, checkpoint: PartitionCheckpoint) {
        self.0.lock().partitions.insert(partition, checkpoint);
    }

    fn batch(&mut self, frame: &FrameHeader, batch: &BatchHeader) {
        let mut state = self.0.lock();
        state.replayed += 1;
        let entry: &mut PartitionState = &mut state.partitions.entry(frame.partition).or_default().state;
        assert!(batch.base_offset >= entry.end, "replay goes forwards");
        entry.end = batch.next_offset();
    }

    fn truncate(&mut self, partition: TopicPartition, _: LeaderEpoch, end: Offset) {
        self.0.lock().partitions.entry(partition).or_default().state.end = end;
    }

    fn epoch_start(&mut self, partition: TopicPartition, entry: EpochEntry) {
        self.0.lock().partitions.entry(partition).or_default().state.epochs.push(entry);
    }

    fn trim(&mut self, partition: TopicPartition, log_start: Offset) {
        self.0.lock().partitions.entry(partition).or_default().log_start = log_start;
    }
}

/// A journal with small files, and its owner.
pub struct Fixture {
    pub journal: Journal,
    pub owner: Owner,
    pub clock: Arc<TestClock>,
    pub report: RecoveryReport,
    pub config: JournalConfig,
}

pub fn config(dir: &Path) -> JournalConfig {
    config_with(dir, &Arc::default())
}

pub fn config_with(dir: &Path, clock: &Arc<TestClock>) -> JournalConfig {
    let clock: Arc<TestClock> = Arc::clone(clock);
    JournalConfig {
        file_bytes: 256 * KIB as u64,
        budget_bytes: 4 * 1024 * KIB as u64,
        group_bytes_max: 64 * KIB,
        queue_bytes_max: 512 * KIB,
        tail_cache_bytes: 64 * KIB,
        index_cache_bytes: 64 * KIB,
        ..JournalConfig::new(dir.join("journal"), clock)
    }
}

impl Fixture {
    pub fn open(dir: &Path) -> Self {
        Self::with(config(dir)).unwrap()
    }

    pub fn with(config: JournalConfig) -> Result<Self, OpenError> {
        Self::with_owner(config, Owner::default())
    }

    pub fn with_clock(dir: &Path, change: impl FnOnce(&mut JournalConfig)) -> Self {
        let clock = Arc::<TestClock>::default();
        let mut config = config_with(dir, &clock);
        change(&mut config);
        Self { clock, ..Self::with(config).unwrap() }
    }

    pub fn with_owner(config: JournalConfig, owner: Owner) -> Result<Self, OpenError> {
        let mut replay = owner.clone();
        let (journal, report) = Journal::open(config.clone(), Arc::new(owner.clone()), &mut replay)?;
        Ok(Self { journal, owner, clock: Arc::default(), report, config })
    }

    /// Appends, and returns what will hear of the outcome. `apply` changes the state when the append is
    /// durable: in the completion, before anything that comes later.
    pub async fn start(
        &self,
        append: Append,
        apply: impl FnOnce(&mut OwnerState) + Send + 'static,
    ) -> Result<Receiver<Result<Position, AppendError>>, AppendError> {
        let reservation = self.journal.reserve(append.bytes()).await?;
        let (sender, receiver) = channel();
        let owner = self.owner.clone();
        self.journal.append(
            reservation,
            append,
            Box::new(move |outcome| {
                if outcome.is_ok() {
                    apply(&mut owner.0.lock());
                }
                let _ = sender.send(outcome);
            }),
        );
        Ok(receiver)
    }

    pub async fn append(
        &self,
        append: Append,
        apply: impl FnOnce(&mut OwnerState) + Send + 'static,
    ) -> Result<Position, AppendError> {
        let receiver = self.start(append, apply).await?;
        tokio::task::spawn_blocking(move || receiver.recv().expect("every append completes")).await.unwrap()
    }

    pub async fn truncate(&self, partition: TopicPartition, end: Offset) -> Result<Position, AppendError> {
        let append = Append::truncate(partition, LeaderEpoch(2), end);
        self.append(append, move |state| state.partition(partition).state.end = end).await
    }

    pub async fn trim(&self, partition: TopicPartition, log_start: Offset) -> Result<Position, AppendError> {
        let append = Append::trim(partition, LeaderEpoch(1), log_start);
        self.append(append, move |state| state.partition(partition).log_start = log_start).await
    }

    /// Appends a batch of one record and waits until it is durable.
    pub async fn put(&self, partition: TopicPartition, bytes: usize) -> Bytes {
        let base = self.owner.end(partition).0;
        let batch = batch(base, 1, bytes, base + u64::from(partition.partition.0) * 1_000_003);
        self.put_batch(partition, &batch).await.unwrap();
        batch
    }

    pub async fn put_batch(&self, partition: TopicPartition, batch: &Bytes) -> Result<Position, AppendError> {
        let header = header(batch);
        let append = Append::batch(partition, &header, self.config.clock.now(), batch.clone());
        self.append(append, move |state| state.partition(partition).state.end = header.next_offset()).await
    }

    /// Appends many batches of several partitions without waiting for each; returns them by partition.
    pub async fn fill(&self, partitions: u32, batches: usize, bytes: usize) -> Written {
        let mut written = Written::default();
        let mut waiting = Vec::new();
        let mut ends: BTreeMap<TopicPartition, u64> = BTreeMap::new();
        for number in 0..batches {
            let partition = tp(number as u32 % partitions);
            let base = *ends.entry(partition).or_insert_with(|| self.owner.end(partition).0);
            let count = 1 + number as u32 % 3;
            let batch = batch(base, count, bytes, number as u64 + base * 7);
            ends.insert(partition, base + u64::from(count));
            let append = Append::batch(partition, &header(&batch), self.config.clock.now(), batch.clone());
            let end = Offset(base + u64::from(count));
            let apply = move |state: &mut OwnerState| state.partition(partition).state.end = end;
            waiting.push(self.start(append, apply).await.unwrap());
            written.0.entry(partition).or_default().push(batch);
        }
        for receiver in waiting {
            let outcome = tokio::task::spawn_blocking(move || receiver.recv().unwrap()).await.unwrap();
            outcome.unwrap();
        }
        written
    }

    /// Everything of a partition from `from` on.
    pub async fn read_all(&self, partition: TopicPartition, from: u64) -> Vec<Bytes> {
        self.try_read_all(partition, Offset(from)).await.unwrap()
    }

    async fn try_read_all(&self, partition: TopicPartition, from: Offset) -> Result<Vec<Bytes>, ReadError> {
        let mut batches: Vec<Bytes> = Vec::new();
        let mut next = from;
        while next < self.owner.end(partition) {
            let part = self.journal.read(partition, next, Offset::MAX, 100 * KIB).await?;
            assert!(!part.is_empty(), "{partition} {next:?}");
            next = header(part.last().unwrap()).next_offset();
            batches.extend(part);
        }
        Ok(batches)
    }

    /// What the hot tier has of a partition, read while files may be going.
    pub async fn read_local(&self, partition: TopicPartition) -> Option<(Local, Vec<Bytes>)> {
        loop {
            let local = self.journal.local(partition)?;
            match self.try_read_all(partition, local.start).await {
                Ok(batches) => return Some((local, batches)),
                Err(ReadError::NotLocal { start, .. }) if start > local.start => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub async fn check(&self, written: &Written) {
        for (partition, batches) in &written.0 {
            let first = header(&batches[0]).base_offset.0;
            assert!(self.read_all(*partition, first).await == *batches, "{partition}");
        }
    }

    /// A copy of the directory as the disk has it now: what is left after a crash of the process.
    pub fn crash(&self) -> tempfile::TempDir {
        copy(&self.config.dir)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Written(pub BTreeMap<TopicPartition, Vec<Bytes>>);

impl Written {
    pub fn extend(&mut self, more: Self) {
        for (partition, batches) in more.0 {
            self.0.entry(partition).or_default().extend(batches);
        }
    }
}

/// Copies a journal's directory and extent into a data directory of its own, as they were at one
/// moment: again if the keeper renamed or removed files meanwhile.
pub fn copy(journal: &Path) -> tempfile::TempDir {
    loop {
        let dir = tempfile::tempdir_in(journal.parent().and_then(Path::parent).unwrap()).unwrap();
        let target = dir.path().join("journal");
        std::fs::create_dir(&target).unwrap();
        let before = names(journal);
        let copied = before.iter().all(|name| std::fs::copy(journal.join(name), target.join(name)).is_ok());
        // Last: of a file that is named later it may not know.
        std::fs::copy(extent(journal.parent().unwrap()), extent(dir.path())).unwrap();
        if copied && names(journal) == before {
            return dir;
        }
    }
}

fn names(dir: &Path) -> std::collections::BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// The journal files of a data directory, oldest first.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "wal"))
        .collect();
    files.sort();
    files
}

/// The file in a data directory that says which journal files must be there.
pub fn extent(dir: &Path) -> PathBuf {
    dir.join("journal.extent")
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        let _ = tokio::time::timeout(Duration::from_millis(5), receiver).await;
        drop(sender);
    }
}
