//! The journal's files: their names, their headers, and who may still be reading them.
//!
//! A file lives as long as somebody holds its [`JournalFile`]: one that is retired while it is being
//! read goes to the [`Bin`] when the last reader lets go, and is recycled from there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tidelog_format::journal::{BLOCK_BYTES, FileHeader, Salt, Trailer};

use crate::aligned::AlignedBuf;
use crate::disk::{self, Disk};

/// One file of the journal, open.
#[derive(Debug)]
pub(crate) struct JournalFile {
    pub(crate) sequence: u64,
    pub(crate) path: PathBuf,
    pub(crate) disk: Disk,
    pub(crate) salt: Salt,
    /// What it takes up on disk.
    bytes: AtomicU64,
    /// Set when the file is sealed and its footer is on disk.
    trailer: OnceLock<Trailer>,
    /// Its name since it was retired.
    retired: OnceLock<PathBuf>,
    bin: Arc<Bin>,
}

impl JournalFile {
    pub(crate) fn new(
        header: &FileHeader,
        path: PathBuf,
        disk: Disk,
        bytes: u64,
        bin: &Arc<Bin>,
    ) -> Arc<Self> {
        Arc::new(Self {
            sequence: header.sequence,
            path,
            disk,
            salt: header.salt,
            bytes: AtomicU64::new(bytes),
            trailer: OnceLock::new(),
            retired: OnceLock::new(),
            bin: Arc::clone(bin),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn trailer(&self) -> Option<&Trailer> {
        self.trailer.get()
    }

    pub(crate) fn seal(&self, trailer: Trailer) {
        assert!(self.trailer.set(trailer).is_ok(), "a file is sealed once");
    }
}

impl Drop for JournalFile {
    fn drop(&mut self) {
        if let Some(path) = self.retired.take() {
            self.bin.put(Free { path, bytes: self.bytes() });
        }
    }
}

/// A file on disk that nobody needs.
#[derive(Debug)]
pub(crate) struct Free {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Where retired files wait for another life.
#[derive(Debug, Default)]
pub(crate) struct Bin {
    free: Mutex<Vec<Free>>,
    /// Retired files, in the bin or still being read: they take up disk.
    bytes: AtomicU64,
    on_put: OnceLock<Box<dyn Wake>>,
}

/// Somebody to tell that a file is free.
pub(crate) trait Wake: Send + Sync + std::fmt::Debug {
    fn wake(&self);
}

impl Bin {
    pub(crate) fn on_put(&self, wake: Box<dyn Wake>) {
        assert!(self.on_put.set(wake).is_ok(), "set once");
    }

    fn put(&self, free: Free) {
        self.free.lock().push(free);
        if let Some(wake) = self.on_put.get() {
            wake.wake();
        }
    }

    /// Takes a file out, to be removed or recycled. Its bytes count until [`Self::forget`].
    pub(crate) fn take(&self) -> Option<Free> {
        self.free.lock().pop()
    }

    pub(crate) fn forget(&self, free: &Free) {
        self.bytes.fetch_sub(free.bytes, Ordering::Relaxed);
    }

    /// Retired files are still being read.
    pub(crate) fn is_awaited(&self) -> bool {
        let free = self.free.lock();
        free.is_empty() && self.bytes() > 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// All files of the journal that hold data, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Files {
    by_sequence: RwLock<BTreeMap<u64, Arc<JournalFile>>>,
}

impl Files {
    pub(crate) fn add(&self, file: Arc<JournalFile>) {
        self.by_sequence.write().insert(file.sequence, file);
    }

    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<JournalFile>> {
        self.by_sequence.read().get(&sequence).cloned()
    }

    pub(crate) fn oldest(&self) -> Option<Arc<JournalFile>> {
        self.by_sequence.read().values().next().cloned()
    }

    pub(crate) fn newest(&self) -> Option<Arc<JournalFile>> {
        self.by_sequence.read().values().next_back().cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<JournalFile>> {
        self.by_sequence.read().values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.by_sequence.read().len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.by_sequence.read().values().map(|file| file.bytes()).sum()
    }

    /// Takes a file out of the journal that has been renamed to `path`; nothing in the index may point
    /// to it any more. It is free when its last reader is gone.
    pub(crate) fn retire(&self, sequence: u64, path: PathBuf) {
        let Some(file) = self.by_sequence.write().remove(&sequence) else { return };
        file.bin.bytes.fetch_add(file.bytes(), Ordering::Relaxed);
        assert!(file.retired.set(path).is_ok(), "a file is retired once");
    }
}

const SUFFIX: &str = ".wal";
/// Files that are being made; removed at start.
const UNFINISHED_SUFFIX: &str = ".tmp";

pub(crate) fn path_of(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}{SUFFIX}"))
}

/// The name of a file while it is being made.
pub(crate) fn unfinished_path(dir: &Path) -> PathBuf {
    dir.join(format!("next{SUFFIX}{UNFINISHED_SUFFIX}"))
}

/// The name of a file that is not part of the journal any more; removed at start.
pub(crate) fn retired_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".retired");
    name.push(UNFINISHED_SUFFIX);
    name.into()
}

/// The sequences of the files in a directory, ascending; what was left unfinished is removed.
/// Anything else in the directory is left alone.
pub(crate) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.ends_with(UNFINISHED_SUFFIX) {
            disk::remove(&entry.path())?;
        } else if let Some(digits) = name.strip_suffix(SUFFIX)
            && digits.len() == 20
            && let Ok(sequence) = digits.parse()
        {
            sequences.push(sequence);
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}

/// Begins a life of a file: writes a header with a new salt and syncs it.
pub(crate) fn write_header(disk: &Disk, sequence: u64, file_bytes: u64) -> io::Result<FileHeader> {
    let header = FileHeader { sequence, salt: Salt(*uuid::Uuid::new_v4().as_bytes()), file_bytes };
    let mut block = AlignedBuf::new(BLOCK_BYTES);
    header.encode(block.first_chunk_mut().expect("a block"));
    disk.write(&block, 0)?;
    disk.sync()?;
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_journal_files_are_listed_and_unfinished_ones_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["00000000000000000007.wal", "00000000000000000002.wal", "notes.txt", "7.wal", "next.wal.tmp"]
        {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        assert_eq!(list(dir.path()).unwrap(), [2, 7]);
        assert!(!unfinished_path(dir.path()).exists());
        assert!(dir.path().join("notes.txt").exists());
    }
}
