//! What a journal is opened with.

use std::path::PathBuf;

use tidelog_format::journal::BLOCK_BYTES;
use tidelog_model::SharedClock;
use tidelog_model::limits::BATCH_BYTES_MAX;

use crate::error::OpenError;

/// Whether files are written and read around the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direct {
    /// Direct I/O where the file system has it, otherwise buffered.
    #[default]
    Auto,
    /// Buffered.
    Off,
}

/// What to do when opening finds records damaged that are still wanted, or files missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// Fail with [`OpenError::Corrupt`] or [`OpenError::MissingFile`], which name the place.
    #[default]
    Refuse,
    /// Go on without them: reads of them fail, and the report lists them. Whoever chooses this
    /// accepts that acknowledged records are gone.
    Quarantine,
}

/// Configuration of a journal.
#[derive(Clone, Debug)]
pub struct JournalConfig {
    /// The directory of the files; created if need be.
    pub dir: PathBuf,
    /// Size of one file.
    pub file_bytes: u64,
    /// What all files together may take up on disk, those kept ready included.
    pub budget_bytes: u64,
    /// About how much one write and sync takes; a larger batch goes alone.
    pub group_bytes_max: usize,
    /// Batches that may be waiting for the disk.
    pub queue_bytes_max: usize,
    /// Memory for the newest batches.
    pub tail_cache_bytes: usize,
    /// Memory for the indexes of sealed files.
    pub index_cache_bytes: usize,
    /// Batches that are in the bucket leave the disk when they are older than this.
    pub local_age_ms: Option<u64>,
    pub direct: Direct,
    pub on_damage: OnDamage,
    /// Threads that read the files.
    pub reader_threads: usize,
    /// Tells the age of batches.
    pub clock: SharedClock,
}

impl JournalConfig {
    /// The defaults for a directory.
    pub fn new(dir: impl Into<PathBuf>, clock: SharedClock) -> Self {
        Self {
            dir: dir.into(),
            file_bytes: 256 * 1024 * 1024,
            budget_bytes: 10 * 1024 * 1024 * 1024,
            group_bytes_max: 4 * 1024 * 1024,
            queue_bytes_max: 32 * 1024 * 1024,
            tail_cache_bytes: 48 * 1024 * 1024,
            index_cache_bytes: 16 * 1024 * 1024,
            local_age_ms: None,
            direct: Direct::Auto,
            on_damage: OnDamage::Refuse,
            reader_threads: 4,
            clock,
        }
    }

    /// Largest batch that is accepted: a quarter of a file at most, so that the end of a file never
    /// wastes much.
    pub fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX.min((self.file_bytes / 4) as usize)
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let block = BLOCK_BYTES as u64;
        let problem = if !self.file_bytes.is_multiple_of(block) {
            "file_bytes is not a multiple of 4096"
        } else if self.file_bytes < FILE_BYTES_MIN || self.file_bytes > FILE_BYTES_MAX {
            "file_bytes is not between 64 KiB and 2 GiB"
        } else if self.budget_bytes < FILES_MIN * self.file_bytes {
            "budget_bytes is less than four times file_bytes"
        } else if self.group_bytes_max < BLOCK_BYTES || self.group_bytes_max > GROUP_BYTES_MAX {
            "group_bytes_max is not between 4 KiB and 64 MiB"
        } else if self.queue_bytes_max < self.group_bytes_max || self.queue_bytes_max > QUEUE_BYTES_MAX {
            "queue_bytes_max is not between group_bytes_max and 1 GiB"
        } else if self.reader_threads == 0 || self.reader_threads > READER_THREADS_MAX {
            "reader_threads is not between 1 and 64"
        } else {
            return Ok(());
        };
        Err(OpenError::Config(problem))
    }
}

/// Positions in a file fit 32 bits.
const FILE_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;
const FILE_BYTES_MIN: u64 = 64 * 1024;
/// The open file, one ready, one that is being read or copied forward, and one with history.
const FILES_MIN: u64 = 4;
const GROUP_BYTES_MAX: usize = 64 * 1024 * 1024;
const QUEUE_BYTES_MAX: usize = 1024 * 1024 * 1024;
const READER_THREADS_MAX: usize = 64;
