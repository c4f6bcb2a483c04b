//! A store on a temporary directory and a bucket in memory, that can be stopped, crashed and started.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tempfile::TempDir;
use tidelog_cold::{Bucket, CacheConfig, ColdReader, ReadOptions};
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_journal::{Directory, JournalConfig, OnDamage};
use tidelog_meta::{Creation, Embedded};
use tidelog_model::{
    Clock, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, SharedClock, TimestampMs, TopicPartition,
};
use tidelog_peer::{
    CreateTopic, Fetch, Fetched, Isolation, PartitionDescription, PartitionStore as _, Produced, StoreError,
    TopicInfo, TopicRef, Topics as _,
};
use tidelog_runtime::{Metrics, Supervisor};
use tidelog_store::{OpenError, Parts, Store, StoreOptions};

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicI64);

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.load(Ordering::Relaxed))
    }
}

/// What outlives a store: its disk, its bucket, its clock, its settings.
pub(crate) struct Site {
    pub(crate) data: TempDir,
    pub(crate) bucket: Bucket,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) file_bytes: u64,
    pub(crate) budget_bytes: u64,
    pub(crate) accepts_damage: bool,
}

/// A store that runs.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) cold: ColdReader,
    pub(crate) supervisor: Supervisor,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with_bucket(Bucket::in_memory())
    }

    pub(crate) fn with_bucket(bucket: Bucket) -> Self {
        let clock = Arc::new(ManualClock(AtomicI64::new(1_700_000_000_000)));
        let data = tempfile::tempdir().unwrap();
        Self { data, bucket, clock, file_bytes: 4 * MIB, budget_bytes: 64 * MIB, accepts_damage: false }
    }

    pub(crate) fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.clock.0.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) async fn start(&self) -> Running {
        self.try_start().await.unwrap()
    }

    pub(crate) async fn try_start(&self) -> Result<Running, OpenError> {
        let clock: SharedClock = self.clock.clone();
        let path = self.data.path();
        let directory = Directory::open(path).unwrap();
        let meta = Arc::new(Embedded::open(&path.join("meta"), Creation::IfMissing).unwrap());
        let mut journal = JournalConfig::new(path.join("journal"), clock.clone());
        journal.file_bytes = self.file_bytes;
        journal.budget_bytes = self.budget_bytes;
        if self.accepts_damage {
            journal.on_damage = OnDamage::Quarantine;
        }
        let cold = ColdReader::new(self.bucket.clone(), CacheConfig::default()).await.unwrap();
        let supervisor = Supervisor::new();
        let parts = Parts {
            directory,
            meta,
            journal,
            bucket: self.bucket.clone(),
            cold: cold.clone(),
            clock,
            metrics: Metrics::default(),
        };
        let (store, _) = Store::open(StoreOptions::default(), parts, &supervisor).await?;
        Ok(Running { store, cold, supervisor })
    }

    /// The site as a crash at this moment would leave it: a copy of its disk, made while the store runs.
    pub(crate) fn crashed(&self) -> Self {
        let files =
            || (self.journal_files(), std::fs::read(self.data.path().join("journal.extent")).unwrap());
        let data = loop {
            // The files and what says which there are must be of one moment.
            let before = files();
            let data = tempfile::tempdir().unwrap();
            copy(self.data.path(), data.path());
            if files() == before {
                break data;
            }
        };
        Self { data, bucket: self.bucket.clone(), clock: self.clock.clone(), ..*self }
    }

    pub(crate) fn journal_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(self.data.path().join("journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "wal"))
            .collect();
        files.sort();
        files
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            // An empty file that is being made ready may get its name just now.
            match std::fs::copy(entry.path(), target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

impl Running {
    /// Stops the store as a shutdown does.
    pub(crate) async fn stop(self) {
        self.supervisor.shut_down(SOON).await.unwrap();
        self.store.close().await;
    }

    pub(crate) async fn topic(&self, name: &str, partitions: u32, config: &[(&str, &str)]) -> TopicInfo {
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let request = CreateTopic { name: name.to_owned(), partitions, config };
        self.store.create(request).await.unwrap()
    }

    pub(crate) async fn named(&self, name: &str) -> TopicInfo {
        self.store.get(TopicRef::from(name)).await.unwrap()
    }

    /// Appends and waits until the disk has it.
    pub(crate) async fn produce(
        &self,
        partition: TopicPartition,
        batch: BytesMut,
    ) -> Result<Produced, StoreError> {
        self.store.produce(partition, batch).await?.await
    }

    pub(crate) async fn describe(&self, partition: TopicPartition) -> PartitionDescription {
        self.store.describe(partition).await.unwrap()
    }

    /// Every value of a partition from `from` to the high watermark, wherever it is; offsets are checked.
    pub(crate) async fn read(
        &self,
        partition: TopicPartition,
        from: Offset,
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut values = Vec::new();
        let mut next = from;
        loop {
            let fetch = Fetch {
                partition,
                from: next,
                max_bytes: 256 * 1024,
                max_wait: None,
                isolation: Isolation::ReadUncommitted,
                follower: false,
            };
            match self.store.fetch(fetch).await? {
                Fetched::Nothing { .. } => return Ok(values),
                Fetched::Batches { batches, .. } => {
                    for bytes in batches {
                        next = take(bytes, next, &mut values);
                    }
                }
                Fetched::Tiered { pointer, .. } => {
                    let mut stream = self.cold.stream(partition, pointer, next, ReadOptions::default());
                    while let Some(bytes) = stream.next().await {
                        let bytes = bytes.map_err(|error| {
                            StoreError::new(tidelog_model::ErrorCode::BucketCorrupt, error.to_string())
                        })?;
                        next = take(bytes, next, &mut values);
                    }
                    assert_eq!(next, pointer.tiered_end, "the bucket has everything up to the tiered end");
                }
            }
        }
    }

    /// Waits until a description is as wanted.
    pub(crate) async fn until(
        &self,
        partition: TopicPartition,
        wanted: impl Fn(&PartitionDescription) -> bool,
    ) -> PartitionDescription {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let description = self.describe(partition).await;
            if wanted(&description) {
                return description;
            }
            assert!(tokio::time::Instant::now() < deadline, "never came about: {description:?}");
            tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>()).await.unwrap_err();
        }
    }
}

fn take(bytes: Bytes, mut next: Offset, values: &mut Vec<Bytes>) -> Offset {
    for batch in batch::split(bytes, usize::MAX) {
        let batch = batch.unwrap();
        batch.verify().unwrap();
        for record in batch.records().unwrap() {
            let record = record.unwrap();
            if record.offset >= next {
                assert_eq!(record.offset, next, "no gap and no repetition");
                values.push(record.value.unwrap());
                next = record.offset + 1;
            }
        }
    }
    next
}

pub(crate) fn partition(topic: &TopicInfo, number: u32) -> TopicPartition {
    TopicPartition::new(topic.id, PartitionId(number))
}

/// A batch of these values, all at one time.
pub(crate) fn batch_at<V: AsRef<[u8]>>(timestamp: TimestampMs, values: &[V]) -> BytesMut {
    build(None, timestamp, values)
}

/// A batch of an idempotent producer.
pub(crate) fn batch_of<V: AsRef<[u8]>>(
    producer: (ProducerId, ProducerEpoch),
    first: i32,
    timestamp: TimestampMs,
    values: &[V],
) -> BytesMut {
    build(Some((producer.0, producer.1, Sequence(first))), timestamp, values)
}

fn build<V: AsRef<[u8]>>(
    producer: Option<(ProducerId, ProducerEpoch, Sequence)>,
    timestamp: TimestampMs,
    values: &[V],
) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { producer, ..BatchOptions::default() });
    for value in values {
        builder.push(timestamp, None, Some(value.as_ref()), &[]).unwrap();
    }
    builder.finish()
}

/// `count` values that tell where they belong.
pub(crate) fn values(label: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{label}-{n}")).collect()
}

pub(crate) fn texts(values: &[Bytes]) -> Vec<String> {
    values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
}

impl Running {
    /// Waits until the partition's state has been found.
    pub(crate) async fn serving(&self, partition: TopicPartition) {
        let deadline = tokio::time::Instant::now() + SOON;
        while let Err(error) = self.store.describe(partition).await {
            assert!(error.is_retryable() && tokio::time::Instant::now() < deadline, "{error}");
            tokio::time::timeout(Duration::from_millis(10), std::future::pending::<()>()).await.unwrap_err();
        }
    }

    /// The leader epochs in the headers of a partition's batches, each once.
    pub(crate) async fn epochs_of_batches(&self, partition: TopicPartition) -> Vec<u32> {
        let (mut epochs, mut from) = (Vec::new(), Offset(0));
        loop {
            let isolation = Isolation::ReadUncommitted;
            let fetch =
                Fetch { partition, from, max_bytes: 1 << 20, max_wait: None, isolation, follower: false };
            let Fetched::Batches { batches, .. } = self.store.fetch(fetch).await.unwrap() else {
                epochs.dedup();
                return epochs;
            };
            for header in batches.iter().map(|batch| batch::header(batch).unwrap()) {
                epochs.push(header.leader_epoch.0);
                from = header.next_offset();
            }
        }
    }
}
