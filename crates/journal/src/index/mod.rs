//! What is where: per partition, the pieces of the journal that hold it and its newest batches.
//!
//! Sharded by partition. The writer adds, the keeper removes, everybody reads; locks are held for a
//! look-up, never across a disk operation.

mod cache;
mod open;
mod partition;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tidelog_format::journal::{Entry, Footer, FooterBuilder, FrameHeader, FrameKind, Span, Truncation};
use tidelog_model::{Offset, TimestampMs, TopicId, TopicPartition};

pub(crate) use cache::IndexCache;
pub(crate) use partition::{Found, Partition, Piece, TAIL_ENTRY_BYTES, is_candidate, select};

use crate::files::{Files, JournalFile};

const SHARDS: usize = 64;

/// What the hot tier has of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// First offset that can be read here.
    pub start: Offset,
    /// The offset after the last one.
    pub end: Offset,
    /// Bytes of its batches. Where only part of a sealed file's share is left, that part is estimated
    /// from the offsets.
    pub bytes: u64,
    /// Of these, what is not in the bucket.
    pub uncovered_bytes: u64,
    /// When the oldest batch that is not in the bucket was appended.
    pub oldest_uncovered_append: Option<TimestampMs>,
}

/// The index of a journal.
#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    shards: Vec<RwLock<HashMap<TopicPartition, Partition>>>,
    pub(crate) cache: IndexCache,
    tail_bytes: AtomicUsize,
}

/// Where a batch is to be read from.
#[derive(Debug)]
pub(crate) enum Source {
    Memory(Vec<Bytes>),
    /// These frames of a file.
    Frames(Arc<JournalFile>, Vec<Entry>),
    /// A piece of a sealed file; its entries are in the file's footer.
    Piece(Arc<JournalFile>, Piece),
    /// Below the local start, or not below the end.
    NotLocal {
        start: Offset,
        end: Offset,
    },
    /// Between two batches that are here.
    Hole,
}

impl Index {
    pub(crate) fn new(cache_bytes: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            cache: IndexCache::new(cache_bytes),
            tail_bytes: AtomicUsize::new(0),
        }
    }

    fn shard(&self, partition: TopicPartition) -> &RwLock<HashMap<TopicPartition, Partition>> {
        &self.shards[self.hasher.hash_one(partition) as usize % SHARDS]
    }

    fn with<T>(&self, partition: TopicPartition, look: impl FnOnce(&Partition) -> T) -> Option<T> {
        self.shard(partition).read().get(&partition).map(look)
    }

    fn change<T>(&self, partition: TopicPartition, change: impl FnOnce(&mut Partition) -> T) -> T {
        let mut shard = self.shard(partition).write();
        let entry = shard.entry(partition).or_default();
        let before = entry.tail_bytes();
        let outcome = change(entry);
        let after = entry.tail_bytes();
        // Both directions in turn: the counter is never off by more than this one change.
        self.tail_bytes.fetch_add(after, Ordering::Relaxed);
        self.tail_bytes.fetch_sub(before, Ordering::Relaxed);
        outcome
    }

    /// Makes a durable frame visible. Returns what it adds to the footer: a span, an entry.
    pub(crate) fn publish(
        &self,
        frame: &FrameHeader,
        file: u64,
        position: u64,
        batch: Option<&Bytes>,
    ) -> Added {
        match frame.kind {
            FrameKind::Batch | FrameKind::Truncate | FrameKind::Trim => {
                self.change(frame.partition, |p| p.apply(frame, file, position, batch))
            }
            FrameKind::EpochStart | FrameKind::Checkpoint | FrameKind::CheckpointEnd => Added::default(),
        }
    }

    /// Where `from` is, and what follows it up to about `max_bytes`, all below `up_to`.
    pub(crate) fn locate(
        &self,
        files: &Files,
        partition: TopicPartition,
        wanted: Range<Offset>,
        max_bytes: usize,
    ) -> Source {
        let nothing = Source::NotLocal { start: Offset::ZERO, end: Offset::ZERO };
        self.with(partition, |p| match p.find(wanted, max_bytes) {
            Found::Memory(batches) => Source::Memory(batches),
            // The file is looked up under the partition's lock: a piece goes before its file does.
            Found::Open(file, entries) => Source::Frames(expect_file(files, file), entries),
            Found::Piece(piece) => Source::Piece(expect_file(files, piece.file), piece),
            Found::NotLocal => Source::NotLocal { start: p.local_start(), end: p.end() },
            Found::Hole => Source::Hole,
        })
        .unwrap_or(nothing)
    }

    /// The places where a batch with a timestamp of `timestamp` or later may be, in order of offsets.
    pub(crate) fn timestamp_candidates(
        &self,
        files: &Files,
        partition: TopicPartition,
        timestamp: TimestampMs,
        wanted: &Range<Offset>,
    ) -> Vec<Source> {
        self.with(partition, |p| {
            p.timestamp_candidates(timestamp, wanted)
                .into_iter()
                .map(|found| match found {
                    Found::Open(file, entries) => Source::Frames(expect_file(files, file), entries),
                    Found::Piece(piece) => Source::Piece(expect_file(files, piece.file), piece),
                    Found::Memory(_) | Found::NotLocal | Found::Hole => Source::Hole,
                })
                .collect()
        })
        .unwrap_or_default()
    }

    /// The part of a file that holds `partition` from `next` on, if it has the batch of `next`.
    pub(crate) fn in_file(
        &self,
        files: &Files,
        partition: TopicPartition,
        file: u64,
        wanted: Range<Offset>,
    ) -> Option<Source> {
        self.with(partition, |p| match p.find_on_disk(wanted, usize::MAX) {
            Found::Open(found, entries) if found == file => {
                Some(Source::Frames(expect_file(files, file), entries))
            }
            Found::Piece(piece) if piece.file == file => Some(Source::Piece(expect_file(files, file), piece)),
            _ => None,
        })
        .flatten()
    }

    pub(crate) fn local(&self, partition: TopicPartition) -> Option<Local> {
        self.with(partition, Partition::local).flatten()
    }

    /// The first offset that is here; `None` when no batch is.
    pub(crate) fn local_start(&self, partition: TopicPartition) -> Option<Offset> {
        self.with(partition, |p| p.has_batches().then(|| p.local_start())).flatten()
    }

    pub(crate) fn set_covered(&self, partition: TopicPartition, tiered_end: Offset) {
        let mut shard = self.shard(partition).write();
        if let Some(found) = shard.get_mut(&partition) {
            found.set_covered(tiered_end, &self.cache);
        } else {
            shard.entry(partition).or_default().set_covered(tiered_end, &self.cache);
        }
    }

    /// Whether what a file has of the batch that `frame` describes still counts.
    pub(crate) fn is_current(&self, frame: &FrameHeader, file: u64) -> bool {
        let here = |piece: Piece| piece.start <= frame.base_offset && frame.next_offset() <= piece.end;
        self.with(frame.partition, |p| p.pieces_in(file).any(here)).unwrap_or(false)
    }

    /// Raises the local start, to `covered` at most. Returns the new one if it moved.
    pub(crate) fn evict(&self, partition: TopicPartition, below: Offset) -> Option<Offset> {
        self.change(partition, |p| {
            let before = p.local_start();
            p.raise_floor(below.min(p.covered()));
            Some(p.local_start()).filter(|after| *after > before)
        })
    }

    pub(crate) fn remove(&self, topic: TopicId) {
        for shard in &self.shards {
            shard.write().retain(|partition, entry| {
                if partition.topic == topic {
                    self.tail_bytes.fetch_sub(entry.tail_bytes(), Ordering::Relaxed);
                }
                partition.topic != topic
            });
        }
    }

    pub(crate) fn remove_partition(&self, partition: TopicPartition) {
        if let Some(entry) = self.shard(partition).write().remove(&partition) {
            self.tail_bytes.fetch_sub(entry.tail_bytes(), Ordering::Relaxed);
        }
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes.load(Ordering::Relaxed)
    }

    /// Drops the batch at `base` from the tail if it is the partition's oldest there.
    pub(crate) fn drop_from_tail(&self, partition: TopicPartition, base: Offset) {
        let mut shard = self.shard(partition).write();
        if let Some(entry) = shard.get_mut(&partition) {
            let freed = entry.drop_from_tail(base);
            self.tail_bytes.fetch_sub(freed, Ordering::Relaxed);
        }
    }

    /// Everybody with a piece of `file`, with what of it matters to `look`.
    pub(crate) fn each_in_file(&self, file: u64, mut look: impl FnMut(TopicPartition, &Partition, Piece)) {
        for shard in &self.shards {
            for (partition, entry) in shard.read().iter() {
                for piece in entry.pieces_in(file) {
                    look(*partition, entry, piece);
                }
            }
        }
    }

    /// The sealed files that have something only the hot tier has.
    pub(crate) fn pinned_files(&self) -> BTreeSet<u64> {
        let mut files = BTreeSet::new();
        for shard in &self.shards {
            for entry in shard.read().values() {
                files.extend(entry.pinned_files());
            }
        }
        files
    }

    /// Whether anything that is still wanted lies in the open file, and when its oldest was appended.
    pub(crate) fn open_file_use(&self, file: u64) -> OpenUse {
        let mut usage = OpenUse::default();
        for shard in &self.shards {
            for entry in shard.read().values() {
                entry.add_open_use(file, &mut usage);
            }
        }
        usage
    }

    /// Forgets a file. Returns the partitions whose local start moved.
    pub(crate) fn forget_file(&self, file: u64) -> Vec<(TopicPartition, Offset)> {
        let mut moved = Vec::new();
        for shard in &self.shards {
            for (partition, entry) in shard.write().iter_mut() {
                let before = entry.local_start();
                if entry.forget_file(file) && entry.local_start() > before {
                    moved.push((*partition, entry.local_start()));
                }
            }
        }
        self.cache.forget_file(file);
        moved
    }

    /// The footer of the open file, as far as it depends on the index.
    pub(crate) fn build_footer(&self, file: u64, builder: &mut FooterBuilder) {
        let mut partitions = Vec::new();
        for shard in &self.shards {
            let shard = shard.read();
            partitions
                .extend(shard.iter().filter(|(_, p)| p.is_in_open(file)).map(|(partition, _)| *partition));
        }
        partitions.sort_unstable();
        for partition in partitions {
            self.with(partition, |p| builder.partition(partition, p.open_entries(file)));
        }
    }

    /// The open file was sealed with this footer: its entries leave memory.
    pub(crate) fn seal(&self, file: u64, footer: &Footer) {
        for run in footer.spans.chunk_by(|a, b| a.partition == b.partition) {
            let mut shard = self.shard(run[0].partition).write();
            // A topic may have been removed meanwhile.
            if let Some(entry) = shard.get_mut(&run[0].partition) {
                entry.seal(file, run);
            }
        }
        // What was evicted altogether is in no span.
        for shard in &self.shards {
            for entry in shard.write().values_mut() {
                entry.seal(file, &[]);
            }
        }
    }

    /// Takes in a sealed file when the journal is opened; files come in order.
    pub(crate) fn load(&self, file: u64, spans: &[Span], truncations: &[Truncation]) {
        for cut in truncations {
            self.change(cut.partition, |p| p.truncate(cut.end));
        }
        for span in spans {
            self.change(span.partition, |p| p.insert_piece(Piece::new(file, span)));
        }
    }

    /// The end that a checkpoint tells, for a partition whose last batches may not be here.
    pub(crate) fn raise_end(&self, partition: TopicPartition, end: Offset) {
        self.change(partition, |p| p.raise_end(end));
    }

    /// The log start that replay found.
    pub(crate) fn raise_floor(&self, partition: TopicPartition, floor: Offset) {
        self.change(partition, |p| p.raise_floor(floor));
    }
}

fn expect_file(files: &Files, sequence: u64) -> Arc<JournalFile> {
    files.get(sequence).expect("a file leaves the index before it leaves the journal")
}

/// What a frame added to the footer of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    pub(crate) entry: bool,
    pub(crate) span: bool,
}

/// What of the open file is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OpenUse {
    pub(crate) wanted: bool,
    pub(crate) uncovered: bool,
    pub(crate) oldest_append: Option<TimestampMs>,
}
