//! A data directory: who it is, how often it was opened, and that one process has it.
//!
//! `tidelog.json` names the format version, the directory's id and the boot counter; it is replaced
//! as a whole. `lock` is locked while the directory is in use and holds the owner's process id.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidelog_model::DirectoryId;

use crate::disk;

/// The layout of data directories that this version writes, and the newest that it opens.
pub const FORMAT_VERSION: u32 = 1;

const IDENTITY: &str = "tidelog.json";
const LOCK: &str = "lock";
/// Beside the journal's directory; see [`crate::extent`].
const EXTENT: &str = "journal.extent";
/// Far more than an identity takes, or anything else that is kept here.
const SMALL_BYTES_MAX: u64 = 64 * 1024;

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum DirectoryError {
    #[error("{path} is in use{}", owner(*.pid))]
    InUse { path: PathBuf, pid: Option<u32> },
    #[error("{path} has format version {found}; this software opens up to {supported}")]
    NewerFormat { path: PathBuf, found: u32, supported: u32 },
    /// The identity file is there but cannot be understood. It is never replaced: the directory may
    /// hold records.
    #[error("{path} is not a data directory's identity: {reason}")]
    Corrupt { path: PathBuf, reason: String },
    /// There are records, but nothing says whose.
    #[error("{path} holds a journal but no {IDENTITY}; restore that file")]
    NoIdentity { path: PathBuf },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

fn owner(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

impl DirectoryError {
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}

/// What `tidelog.json` holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    format_version: u32,
    directory_id: DirectoryId,
    boot: u64,
}

/// Only the version, which every later format must keep where it is.
#[derive(Deserialize)]
struct Version {
    format_version: u32,
}

/// A data directory that belongs to this process until the value is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    identity: Identity,
    _lock: File,
}

impl Directory {
    /// Locks a data directory, creating it if need be, and durably counts the boot.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DirectoryError> {
        let path = path.into();
        let io = |source| DirectoryError::Io { path: path.clone(), source };
        disk::create_dir(&path).map_err(io)?;
        let lock = lock(&path)?;
        let mut identity = match read_identity(&path)? {
            Some(identity) => identity,
            None if holds_journal(&path).map_err(io)? => {
                return Err(DirectoryError::NoIdentity { path });
            }
            None => Identity {
                format_version: FORMAT_VERSION,
                directory_id: DirectoryId(uuid::Uuid::new_v4()),
                boot: 0,
            },
        };
        identity.boot += 1;
        write_identity(&path, &identity).map_err(io)?;
        Ok(Self { path, identity, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal's files go.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Chosen when the directory was first used.
    pub fn id(&self) -> DirectoryId {
        self.identity.directory_id
    }

    /// How many times the directory was opened, this time included.
    pub fn boot(&self) -> u64 {
        self.identity.boot
    }

    /// Whether nothing was ever written here: there is no journal, and nothing says that there should be one.
    pub fn is_blank(&self) -> Result<bool, DirectoryError> {
        let extent = self.path.join(EXTENT);
        let is_there = holds_journal(&self.path).and_then(|holds| Ok(holds || extent.try_exists()?));
        is_there.map(|is| !is).map_err(|source| DirectoryError::Io { path: self.path.clone(), source })
    }

    /// Makes a directory that is [blank](Self::is_blank) another one, durably: this is start `boot` of it.
    pub fn renew(&mut self, boot: u64) -> Result<(), DirectoryError> {
        let directory_id = DirectoryId(uuid::Uuid::new_v4());
        let identity = Identity { directory_id, boot, ..self.identity };
        let io = |source| DirectoryError::Io { path: self.path.clone(), source };
        write_identity(&self.path, &identity).map_err(io)?;
        self.identity = identity;
        Ok(())
    }

    /// Replaces a small file of the directory as a whole, durably.
    pub fn put(&self, name: &str, contents: &[u8]) -> Result<(), DirectoryError> {
        replace(&self.path, name, contents)
            .map_err(|source| DirectoryError::Io { path: self.path.join(name), source })
    }

    /// What was [put](Self::put) under this name; `None` when nothing was.
    pub fn get(&self, name: &str) -> Result<Option<Vec<u8>>, DirectoryError> {
        read_small(&self.path.join(name))
    }
}

fn lock(dir: &Path) -> Result<File, DirectoryError> {
    let path = dir.join(LOCK);
    let io = |source| DirectoryError::Io { path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            let read = (&file).take(32).read_to_string(&mut owner);
            let pid = read.ok().and_then(|_| owner.trim().parse().ok());
            return Err(DirectoryError::InUse { path: dir.to_owned(), pid });
        }
        Err(error) => return Err(io(error.into())),
    }
    file.set_len(0).map_err(io)?;
    file.rewind().map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, DirectoryError> {
    let path = dir.join(IDENTITY);
    let Some(text) = read_small(&path)? else { return Ok(None) };
    let corrupt = |reason: serde_json::Error| DirectoryError::Corrupt {
        path: path.clone(),
        reason: reason.to_string(),
    };
    let Version { format_version } = serde_json::from_slice(&text).map_err(corrupt)?;
    if format_version > FORMAT_VERSION {
        let path = dir.to_owned();
        return Err(DirectoryError::NewerFormat { path, found: format_version, supported: FORMAT_VERSION });
    }
    serde_json::from_slice(&text).map_err(corrupt).map(Some)
}

fn write_identity(dir: &Path, identity: &Identity) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(identity)?;
    text.push(b'\n');
    replace(dir, IDENTITY, &text)
}

fn read_small(path: &Path) -> Result<Option<Vec<u8>>, DirectoryError> {
    let mut contents = Vec::new();
    match File::open(path).and_then(|file| file.take(SMALL_BYTES_MAX).read_to_end(&mut contents)) {
        Ok(_) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DirectoryError::Io { path: path.to_owned(), source }),
    }
}

fn replace(dir: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let unfinished = dir.join(format!("{name}.tmp"));
    let mut file = File::create(&unfinished)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, dir.join(name))?;
    disk::sync_dir(dir)
}

/// Whether there are records that an identity must go with.
fn holds_journal(dir: &Path) -> io::Result<bool> {
    match std::fs::read_dir(dir.join("journal")) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_id_and_counts_its_boots() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::open(dir.path()).unwrap();
        let (id, boot) = (first.id(), first.boot());
        drop(first);
        let second = Directory::open(dir.path()).unwrap();
        assert_eq!((second.id(), second.boot()), (id, boot + 1));
    }

    #[test]
    fn a_directory_is_blank_until_its_journal_or_its_extent_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut directory = Directory::open(dir.path()).unwrap();
        let first = directory.id();
        assert!(directory.is_blank().unwrap());
        directory.renew(7).unwrap();
        assert!((directory.id(), directory.boot()) != (first, 1) && directory.boot() == 7);
        let id = directory.id();
        drop(directory);
        let directory = Directory::open(dir.path()).unwrap();
        assert_eq!((directory.id(), directory.boot()), (id, 8));
        std::fs::write(dir.path().join(EXTENT), b"x").unwrap();
        assert!(!directory.is_blank().unwrap());
    }

    #[test]
    fn a_directory_in_use_is_refused_with_the_owners_process_id() {
        let dir = tempfile::tempdir().unwrap();
        let _owner = Directory::open(dir.path()).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(error.is_retryable());
        assert!(matches!(error, DirectoryError::InUse { pid: Some(pid), .. } if pid == std::process::id()));
    }

    #[test]
    fn a_newer_format_is_refused_whatever_else_the_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(IDENTITY), r#"{"format_version": 2, "shape": ["new"]}"#).unwrap();
        let error = Directory::open(dir.path()).unwrap_err();
        assert!(matches!(error, DirectoryError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    }

    #[test]
    fn a_damaged_or_missing_identity_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(Directory::open(dir.path()).unwrap());
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        std::fs::write(dir.path().join("journal/00000000000000000001.wal"), b"x").unwrap();
        std::fs::write(dir.path().join(IDENTITY), b"{\"format").unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(DirectoryError::Corrupt { .. })));
        std::fs::remove_file(dir.path().join(IDENTITY)).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(DirectoryError::NoIdentity { .. })));
        assert!(!dir.path().join(IDENTITY).exists());
    }
}
