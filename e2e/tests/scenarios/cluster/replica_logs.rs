//! What the replicas hold, read from their journals after their stores have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog::Offset;
use tidelog_format::batch::{self, BatchHeader};
use tidelog_format::journal::FrameHeader;
use tidelog_format::state::EpochEntry;
use tidelog_journal::{Journal, JournalConfig, PartitionCheckpoint, Replay};
use tidelog_model::{LeaderEpoch, TopicPartition};
use tidelog_runtime::SystemClock;

const READ_BYTES: usize = 1024 * 1024;

/// What a replica holds.
struct Log {
    end: Offset,
    /// By their base offsets.
    batches: BTreeMap<Offset, (LeaderEpoch, bytes::Bytes)>,
}

/// Which partitions a journal has something of.
#[derive(Default)]
struct Partitions(BTreeSet<TopicPartition>);

impl Replay for Partitions {
    fn checkpoint(&mut self, partition: TopicPartition, _: PartitionCheckpoint) {
        self.0.insert(partition);
    }

    fn batch(&mut self, frame: &FrameHeader, _: &BatchHeader) {
        self.0.insert(frame.partition);
    }

    fn truncate(&mut self, partition: TopicPartition, _: LeaderEpoch, _: Offset) {
        self.0.insert(partition);
    }

    fn epoch_start(&mut self, partition: TopicPartition, _: EpochEntry) {
        self.0.insert(partition);
    }

    fn trim(&mut self, partition: TopicPartition, _: Offset) {
        self.0.insert(partition);
    }
}

/// Everything that the journal of a data directory holds.
async fn read(data_dir: &Path) -> BTreeMap<TopicPartition, Log> {
    let mut config = JournalConfig::new(data_dir.join("journal"), SystemClock::shared());
    // As the harness sets it.
    config.file_bytes = 16 * 1024 * 1024;
    let mut partitions = Partitions::default();
    let (journal, _) = Journal::open(config, Arc::new(()), &mut partitions).expect("a sound journal");
    let mut logs = BTreeMap::new();
    for partition in partitions.0 {
        let Some(local) = journal.local(partition) else { continue };
        let mut batches = BTreeMap::new();
        let mut next = local.start;
        while next < local.end {
            let runs =
                journal.read(partition, next, local.end, READ_BYTES).await.expect("a readable journal");
            for batch in runs.into_iter().flat_map(|run| batch::split(run, usize::MAX)) {
                let batch = batch.expect("a whole batch");
                let header = batch.header();
                next = header.next_offset();
                batches.insert(header.base_offset, (header.leader_epoch, batch.into_bytes()));
            }
        }
        logs.insert(partition, Log { end: local.end, batches });
    }
    logs
}

/// # Panics
/// Unless all replicas hold the same batches under the same epochs, as far as each of them reaches back,
/// and end at the same offset.
pub(crate) async fn assert_identical(data_dirs: &[PathBuf]) {
    let mut replicas = Vec::new();
    for data_dir in data_dirs {
        replicas.push(read(data_dir).await);
    }
    let partitions: BTreeSet<_> = replicas.iter().flat_map(|logs| logs.keys().copied()).collect();
    assert!(!partitions.is_empty(), "no replica holds anything");
    for partition in partitions {
        let logs: Vec<&Log> = replicas.iter().filter_map(|logs| logs.get(&partition)).collect();
        let ends: BTreeSet<Offset> = logs.iter().map(|log| log.end).collect();
        assert_eq!(ends.len(), 1, "{partition}: the logs end at {ends:?}");
        for (number, log) in logs.iter().enumerate() {
            for (base, batch) in &log.batches {
                for (other, held) in logs.iter().enumerate().skip(number + 1) {
                    let start = held.batches.first_key_value().map(|(base, _)| *base);
                    if start.is_some_and(|start| start <= *base) {
                        let same = held.batches.get(base) == Some(batch);
                        assert!(same, "{partition}: replicas {number} and {other} differ at {base}");
                    }
                }
            }
        }
    }
}
