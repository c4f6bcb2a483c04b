//! Ranges on local disk.
//!
//! Hazard: foyer numbers entries before it queues them, and when it opens a disk again it stops reading
//! a piece at the first entry whose number is lower than the one before: it takes what follows for
//! leftovers of the piece's former use. Two threads that hand over entries at the same time can make
//! that happen, and all entries behind would be lost with the next start. So one task hands over
//! everything, one entry after the other, and waits for each to be written: foyer's own buffer, which
//! drops what it has no room for, never overflows either.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use foyer::{
    Age, BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder,
    HybridCachePolicy, Load, RecoverMode,
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::history::{History, Past};
use super::{DiskCache, RangeKey};
use crate::error::ColdError;

/// The disk is given up in pieces of this size; an entry is never larger than one.
const PIECE_BYTES_MIN: u64 = 8 * 1024 * 1024;
const PIECE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many pieces a small disk cache has at least, where that leaves them large enough.
const PIECES: u64 = 16;

/// Memory in which an entry is made ready to be written, taken twice. What is larger is not cached.
const ENTRY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What foyer adds to an entry, generously: its header, its key, and the index of the piece.
const ENTRY_EXTRA_BYTES_MAX: usize = 64 * 1024;

/// Entries that wait to be written hold at most this much. What comes while it is taken waits for its
/// next reading.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
const QUEUE_ENTRIES_MAX: usize = 1024;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Disk {
    store: HybridCache<RangeKey, Bytes>,
    history: Arc<Mutex<History>>,
    /// The largest range that it takes.
    range_bytes_max: usize,
    room: Arc<Semaphore>,
    queue: mpsc::Sender<Job>,
}

enum Job {
    Write(RangeKey, Bytes, OwnedSemaphorePermit),
    /// Answers when everything before has been written.
    Close(oneshot::Sender<()>),
}

impl Disk {
    pub(super) async fn open(config: &DiskCache) -> Result<Self, ColdError> {
        let store = open_store(config).await.map_err(|error| ColdError::DiskCache(error.to_string()))?;
        let history = Arc::default();
        let (queue, jobs) = mpsc::channel(QUEUE_ENTRIES_MAX);
        // Ends when the last handle is dropped.
        tokio::spawn(write(store.clone(), Arc::clone(&history), jobs));
        let range_bytes_max = ENTRY_BYTES_MAX.min(piece_bytes(config) as usize) - ENTRY_EXTRA_BYTES_MAX;
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        Ok(Self { store, history, range_bytes_max, room, queue })
    }

    /// What the disk has. `sound` judges the bytes: what is damaged is dropped.
    pub(super) async fn get(&self, key: &RangeKey, sound: impl FnOnce(&Bytes) -> bool) -> Option<Bytes> {
        match self.store.storage().load(key).await {
            Ok(Load::Entry { value, populated, .. }) => {
                if !sound(&value) {
                    tracing::warn!(segment = %key.segment, block = key.block, "the disk cache holds damaged bytes");
                    self.store.storage().delete(key);
                    self.history.lock().set(*key, Past::Once);
                    return None;
                }
                if populated.age == Age::Old {
                    // The piece it lies in is given up soon, and it is still wanted.
                    self.admit(*key, &value);
                } else {
                    // Known from before a restart, perhaps.
                    self.history.lock().set(*key, Past::Admitted);
                }
                Some(value)
            }
            // On its way to the disk.
            Ok(Load::Piece { piece, .. }) => Some(piece.value().clone()),
            Ok(Load::Throttled | Load::Miss) => None,
            Err(error) => {
                tracing::warn!(%error, "the disk cache cannot be read");
                None
            }
        }
    }

    /// Notes a reading; the second one admits the range.
    pub(super) fn read(&self, key: RangeKey, range: &Bytes) {
        let past = {
            let mut history = self.history.lock();
            let past = history.get(&key);
            if past.is_none() {
                history.set(key, Past::Once);
            }
            past
        };
        if past == Some(Past::Once) {
            self.admit(key, range);
        }
    }

    /// Notes a reading of a range that is not on disk, whatever became of it there.
    pub(super) fn read_anew(&self, key: RangeKey, range: &Bytes) {
        {
            let mut history = self.history.lock();
            if history.get(&key) == Some(Past::Admitted) {
                history.set(key, Past::Once);
            }
        }
        self.read(key, range);
    }

    fn admit(&self, key: RangeKey, range: &Bytes) {
        if range.len() > self.range_bytes_max {
            return;
        }
        let bytes = u32::try_from(range.len()).expect("it is far smaller");
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) else { return };
        self.history.lock().set(key, Past::Admitted);
        if self.queue.try_send(Job::Write(key, range.clone(), room)).is_err() {
            self.history.lock().set(key, Past::Once);
        }
    }

    /// Writes what is on its way.
    pub(super) async fn close(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Job::Close(done)).await.is_ok() {
            // An error means that it was closed before.
            let _ = written.await;
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the disk cache was not closed cleanly");
        }
    }
}

fn piece_bytes(config: &DiskCache) -> u64 {
    (config.bytes / PIECES).clamp(PIECE_BYTES_MIN, PIECE_BYTES_MAX)
}

async fn open_store(config: &DiskCache) -> foyer::Result<HybridCache<RangeKey, Bytes>> {
    let piece = piece_bytes(config);
    let device = FsDeviceBuilder::new(&config.directory)
        .with_direct(can_be_direct(&config.directory))
        .with_capacity(usize::try_from(config.bytes.max(2 * piece)).unwrap_or(usize::MAX))
        .build()?;
    let engine = BlockEngineConfig::new(device)
        .with_block_size(piece as usize)
        .with_buffer_pool_size(ENTRY_BYTES_MAX)
        .with_indexer_shards(4);
    HybridCacheBuilder::new()
        .with_name("ranges-on-disk")
        .with_policy(HybridCachePolicy::WriteOnInsertion)
        .with_flush_on_close(false)
        // Memory is in front of this, and not foyer's to write out.
        .memory(1)
        .with_shards(1)
        .with_weighter(|_: &RangeKey, range: &Bytes| range.len())
        .storage()
        .with_engine_config(engine)
        .with_recover_mode(RecoverMode::Quiet)
        .build()
        .await
}

/// Whether files of a directory can be read and written around the page cache. That halves what a range
/// costs on its way to the disk and back, and leaves the memory to others.
#[cfg(target_os = "linux")]
fn can_be_direct(directory: &Path) -> bool {
    use rustix::fs::{Mode, OFlags};

    if std::fs::create_dir_all(directory).is_err() {
        // Whoever opens it next says why.
        return false;
    }
    // Both flags, as foyer opens its files; only a file's owner may use the second.
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::DIRECT | OFlags::NOATIME;
    let probe = directory.join(".direct");
    let opened = rustix::fs::open(&probe, flags, Mode::RUSR | Mode::WUSR);
    // One that stays is in nobody's way.
    let _ = std::fs::remove_file(&probe);
    opened.is_ok()
}

#[cfg(not(target_os = "linux"))]
fn can_be_direct(_: &Path) -> bool {
    false
}

/// Hands over what is queued, one entry at a time.
async fn write(
    store: HybridCache<RangeKey, Bytes>,
    history: Arc<Mutex<History>>,
    mut jobs: mpsc::Receiver<Job>,
) {
    while let Some(job) = jobs.recv().await {
        match job {
            Job::Write(key, range, room) => {
                store.storage_writer(key).insert(range);
                store.storage().wait().await;
                if !store.storage().may_contains(&key) {
                    // The disk refused it.
                    history.lock().set(key, Past::Once);
                }
                drop(room);
            }
            Job::Close(done) => {
                let _ = done.send(());
                return;
            }
        }
    }
}
