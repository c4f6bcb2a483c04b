//! Blocks from the bucket, kept in memory and then on local disk.
//!
//! Everything that is read goes to memory. It goes to disk when it is wanted a second time: a replay
//! that reads everything once leaves the disk to what is read again and again. What is cached is
//! immutable and has a random id in its key, so an entry is never outdated, not after a restart either.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use foyer::{
    BlockEngineConfig, Code, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, HybridCacheProperties, Location, LruConfig, RecoverMode, Source,
};
use parking_lot::Mutex;
use tidelog_model::ObjectId;

use crate::error::ColdError;

/// How many ranges are remembered as read before. At 4 MiB each that is a history of 256 GiB, for
/// some 4 MiB of memory.
const HISTORY_MAX: usize = 64 * 1024;

/// The disk is given up in pieces of this size; an entry is never larger than one.
const DISK_PIECE_BYTES_MIN: u64 = 8 * 1024 * 1024;
const DISK_PIECE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many pieces a small disk cache has at least, where that leaves them large enough.
const DISK_PIECES: u64 = 16;

/// Memory for entries on their way to the disk. What comes faster is not cached.
const DISK_QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Where the disk cache lies, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskCache {
    pub directory: PathBuf,
    pub bytes: u64,
}

/// A range of blocks of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RangeKey {
    pub(crate) segment: ObjectId,
    /// The first of its blocks.
    pub(crate) block: u32,
}

impl Code for RangeKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        writer.write_all(self.segment.as_bytes()).map_err(foyer::Error::io_error)?;
        self.block.encode(writer)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut id = [0; 16];
        reader.read_exact(&mut id).map_err(foyer::Error::io_error)?;
        Ok(Self { segment: ObjectId::from_bytes(id), block: u32::decode(reader)? })
    }

    fn estimated_size(&self) -> usize {
        20
    }
}

/// What is remembered of a range that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Past {
    Once,
    /// It was given to the disk.
    Admitted,
}

/// The ranges that were read lately, the oldest forgotten first.
#[derive(Debug, Default)]
struct History {
    past: HashMap<RangeKey, Past>,
    order: VecDeque<RangeKey>,
}

impl History {
    fn get(&self, key: &RangeKey) -> Option<Past> {
        self.past.get(key).copied()
    }

    fn set(&mut self, key: RangeKey, past: Past) {
        if self.past.insert(key, past).is_none() {
            self.order.push_back(key);
            if self.order.len() > HISTORY_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.past.remove(&oldest);
            }
        }
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct RangeCache {
    hybrid: HybridCache<RangeKey, Bytes>,
    /// Absent without a disk.
    history: Option<std::sync::Arc<Mutex<History>>>,
}

impl fmt::Debug for RangeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.hybrid.memory();
        write!(f, "RangeCache({} of {} bytes in memory)", memory.usage(), memory.capacity())
    }
}

impl RangeCache {
    pub(crate) async fn open(memory_bytes: usize, disk: Option<&DiskCache>) -> Result<Self, ColdError> {
        let failed = |error: foyer::Error| ColdError::DiskCache(error.to_string());
        let builder = HybridCacheBuilder::new()
            .with_name("tidelog-cold")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            .with_flush_on_close(false)
            .memory(memory_bytes)
            // Few and large entries: divided, the shards would be too small for some of them.
            .with_shards(1)
            .with_eviction_config(LruConfig::default())
            .with_weighter(|_: &RangeKey, range: &Bytes| range.len())
            .storage();
        let Some(disk) = disk.filter(|disk| disk.bytes > 0) else {
            return Ok(Self { hybrid: builder.build().await.map_err(failed)?, history: None });
        };
        let piece = (disk.bytes / DISK_PIECES).clamp(DISK_PIECE_BYTES_MIN, DISK_PIECE_BYTES_MAX);
        let device = FsDeviceBuilder::new(&disk.directory)
            .with_capacity(usize::try_from(disk.bytes.max(2 * piece)).unwrap_or(usize::MAX))
            .build()
            .map_err(failed)?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(piece as usize)
            .with_buffer_pool_size(DISK_QUEUE_BYTES)
            .with_indexer_shards(4);
        let builder = builder.with_engine_config(engine).with_recover_mode(RecoverMode::Quiet);
        let hybrid = builder.build().await.map_err(failed)?;
        Ok(Self { hybrid, history: Some(std::sync::Arc::default()) })
    }

    /// What memory has. Counts as a reading.
    pub(crate) fn get_memory(&self, key: &RangeKey) -> Option<Bytes> {
        let entry = self.hybrid.memory().get(key)?;
        if self.read_before(key) {
            self.hybrid.storage().enqueue(entry.piece(), false);
        }
        Some(entry.value().clone())
    }

    /// What the disk has, brought back to memory. `sound` judges the bytes: what is damaged is dropped.
    pub(crate) async fn get_disk(&self, key: &RangeKey, sound: impl FnOnce(&Bytes) -> bool) -> Option<Bytes> {
        self.history.as_ref()?;
        match self.hybrid.get(key).await {
            Ok(Some(entry)) => {
                let fresh = entry.source() != Source::Disk;
                if fresh || sound(entry.value()) {
                    return Some(entry.value().clone());
                }
                tracing::warn!(segment = %key.segment, block = key.block, "the disk cache holds damaged bytes");
                self.hybrid.remove(key);
                None
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "the disk cache cannot be read");
                None
            }
        }
    }

    /// Takes what came from the bucket. Counts as a reading.
    pub(crate) fn insert(&self, key: RangeKey, range: Bytes) {
        let properties = HybridCacheProperties::default().with_location(Location::InMem);
        let entry = self.hybrid.insert_with_properties(key, range, properties);
        // It may have been on disk and given up there; now that it is wanted again it goes back.
        if let Some(history) = &self.history {
            let mut history = history.lock();
            let first = history.get(&key).is_none();
            history.set(key, if first { Past::Once } else { Past::Admitted });
            drop(history);
            if !first {
                self.hybrid.storage().enqueue(entry.piece(), false);
            }
        }
    }

    /// Takes what came along with something else and was not read yet.
    pub(crate) fn preload(&self, key: RangeKey, range: Bytes) {
        let properties = HybridCacheProperties::default().with_location(Location::InMem);
        self.hybrid.insert_with_properties(key, range, properties);
    }

    /// Notes one more reading; whether that is the one that admits the range to the disk.
    pub(crate) fn read_before(&self, key: &RangeKey) -> bool {
        let Some(history) = &self.history else { return false };
        let mut history = history.lock();
        match history.get(key) {
            Some(Past::Admitted) => false,
            Some(Past::Once) => {
                history.set(*key, Past::Admitted);
                true
            }
            None => {
                history.set(*key, Past::Once);
                false
            }
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.hybrid.memory().usage()
    }

    /// Writes what is on its way to the disk.
    pub(crate) async fn close(&self) {
        if let Err(error) = self.hybrid.close().await {
            tracing::warn!(%error, "the disk cache was not closed cleanly");
        }
    }
}
