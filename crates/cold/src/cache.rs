//! Blocks from the bucket, kept in memory and then on local disk.
//!
//! What is read goes to a small part of memory, and from there to the large one when it is wanted again
//! while it is still there. What is wanted a second time goes to disk, too. So a replay that reads
//! everything once leaves most of the memory and all of the disk to what is read again and again.
//!
//! What is cached is immutable and has a random id in its key, so an entry is never outdated, not after
//! a restart either.

mod disk;
mod history;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use bytes::Bytes;
use foyer::{Cache, CacheBuilder, Code, LruConfig};
use tidelog_model::ObjectId;

use crate::error::ColdError;
use disk::Disk;

/// The part of memory for what was read once.
const RECENT_PART: usize = 8;
/// It has room for a range or two, if memory has.
const RECENT_BYTES_MIN: usize = 8 * 1024 * 1024;

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

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct RangeCache {
    /// What was read once lately.
    recent: Cache<RangeKey, Bytes>,
    /// What was read again while it was there.
    kept: Cache<RangeKey, Bytes>,
    disk: Option<Disk>,
}

impl fmt::Debug for RangeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RangeCache({} bytes in memory)", self.memory_bytes())
    }
}

fn memory(name: &'static str, bytes: usize) -> Cache<RangeKey, Bytes> {
    CacheBuilder::new(bytes)
        .with_name(name)
        // Few and large entries: divided, the shards would be too small for some of them.
        .with_shards(1)
        .with_eviction_config(LruConfig::default())
        .with_weighter(|_: &RangeKey, range: &Bytes| range.len())
        .build()
}

/// What does not fit at all would drive out everything else and then stay.
fn keep(memory: &Cache<RangeKey, Bytes>, key: RangeKey, range: &Bytes) {
    if range.len() <= memory.capacity() {
        memory.insert(key, range.clone());
    }
}

impl RangeCache {
    pub(crate) async fn open(memory_bytes: usize, disk: Option<&DiskCache>) -> Result<Self, ColdError> {
        let recent = (memory_bytes / RECENT_PART).max(RECENT_BYTES_MIN).min(memory_bytes);
        let disk = match disk.filter(|disk| disk.bytes > 0) {
            Some(disk) => Some(Disk::open(disk).await?),
            None => None,
        };
        let kept = memory("ranges-kept", memory_bytes - recent);
        Ok(Self { recent: memory("ranges-recent", recent), kept, disk })
    }

    /// What memory has. Counts as a reading.
    pub(crate) fn get_memory(&self, key: &RangeKey) -> Option<Bytes> {
        let range = if let Some(entry) = self.kept.get(key) {
            entry.value().clone()
        } else {
            let range = self.recent.remove(key)?.value().clone();
            keep(&self.kept, *key, &range);
            range
        };
        self.read(key, &range);
        Some(range)
    }

    /// What the disk has, brought back to memory. `sound` judges the bytes: what is damaged is dropped.
    pub(crate) async fn get_disk(&self, key: &RangeKey, sound: impl FnOnce(&Bytes) -> bool) -> Option<Bytes> {
        let range = self.disk.as_ref()?.get(key, sound).await?;
        keep(&self.recent, *key, &range);
        Some(range)
    }

    /// Takes what came from the bucket. Counts as a reading.
    pub(crate) fn insert(&self, key: RangeKey, range: &Bytes) {
        keep(&self.recent, key, range);
        if let Some(disk) = &self.disk {
            // It may have been on disk and given up there; now that it is wanted again it goes back.
            disk.read_anew(key, range);
        }
    }

    /// Takes what came along with something else and was not read yet.
    pub(crate) fn preload(&self, key: RangeKey, range: &Bytes) {
        keep(&self.recent, key, range);
    }

    /// Notes one more reading of `range`; the second one admits it to the disk.
    pub(crate) fn read(&self, key: &RangeKey, range: &Bytes) {
        if let Some(disk) = &self.disk {
            disk.read(*key, range);
        }
    }

    /// Bytes in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.recent.usage() + self.kept.usage()
    }

    /// Writes what is on its way to the disk.
    pub(crate) async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }
}
