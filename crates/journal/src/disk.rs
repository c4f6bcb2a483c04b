//! The operating system's files, and where tests make them fail.
//!
//! With the feature `failpoints` every operation first asks the failpoint of its name: `journal::create`,
//! `journal::write`, `journal::sync`, `journal::fill` (zeroing a new file), `journal::read`. The actions
//! `return(eio)`, `return(enospc)` and, for writes, `return(short)` (half of the bytes reach the disk,
//! then EIO) stand for what disks do.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tidelog_format::journal::BLOCK_BYTES;

use crate::aligned::AlignedBuf;
use crate::config::Direct;

/// One open file. Reads and writes are of whole, aligned blocks when it is direct.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    direct: bool,
}

impl Disk {
    /// Opens an existing file for reading and writing.
    pub(crate) fn open(path: &Path, direct: Direct) -> io::Result<Self> {
        Self::with(OpenOptions::new().read(true).write(true), path, direct)
    }

    /// Makes a new file.
    pub(crate) fn create(path: &Path, direct: Direct) -> io::Result<Self> {
        failpoint("journal::create")?;
        Self::with(OpenOptions::new().read(true).write(true).create(true).truncate(true), path, direct)
    }

    fn with(options: &mut OpenOptions, path: &Path, direct: Direct) -> io::Result<Self> {
        if direct == Direct::Auto {
            match options.custom_flags(direct_flag()).open(path) {
                // The file system has no direct I/O.
                Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {}
                other => return other.map(|file| Self { file, direct: direct_flag() != 0 }),
            }
        }
        options.custom_flags(0).open(path).map(|file| Self { file, direct: false })
    }

    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    pub(crate) fn bytes(&self) -> io::Result<u64> {
        self.file.metadata().map(|data| data.len())
    }

    pub(crate) fn write(&self, blocks: &[u8], position: u64) -> io::Result<()> {
        debug_assert!(
            blocks.len().is_multiple_of(BLOCK_BYTES) && position.is_multiple_of(BLOCK_BYTES as u64)
        );
        match injected("journal::write").as_deref() {
            Some("short") => {
                let half = (blocks.len() / 2).next_multiple_of(BLOCK_BYTES).min(blocks.len());
                self.file.write_all_at(&blocks[..half], position)?;
                return Err(Errno::IO.into());
            }
            Some(action) => return Err(named_error(action)),
            None => {}
        }
        self.file.write_all_at(blocks, position)
    }

    /// Writes zeros over `bytes` from `position` on, through `zeros`.
    pub(crate) fn fill(&self, zeros: &AlignedBuf, position: u64, bytes: u64) -> io::Result<()> {
        failpoint("journal::fill")?;
        let mut done = 0;
        while done < bytes {
            let part = (bytes - done).min(zeros.len() as u64) as usize;
            self.file.write_all_at(&zeros[..part], position + done)?;
            done += part as u64;
        }
        Ok(())
    }

    pub(crate) fn read(&self, blocks: &mut [u8], position: u64) -> io::Result<()> {
        failpoint("journal::read")?;
        self.file.read_exact_at(blocks, position)
    }

    /// Reads as much as the file has of it, the rest of `blocks` becomes zeros.
    pub(crate) fn read_up_to_end(&self, blocks: &mut [u8], position: u64) -> io::Result<()> {
        failpoint("journal::read")?;
        let mut done = 0;
        while done < blocks.len() {
            match self.file.read_at(&mut blocks[done..], position + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            // A direct read that ended inside a block ended with the file.
            if self.direct && !done.is_multiple_of(BLOCK_BYTES) {
                break;
            }
        }
        blocks[done..].fill(0);
        Ok(())
    }

    /// Everything written so far is on stable storage when this returns.
    pub(crate) fn sync(&self) -> io::Result<()> {
        failpoint("journal::sync")?;
        self.file.sync_data()
    }

    /// Sets aside room for the file without writing it.
    pub(crate) fn allocate(&self, bytes: u64) -> io::Result<()> {
        failpoint("journal::fill")?;
        allocate(&self.file, bytes)
    }

    /// Cuts the file and makes its new length durable.
    pub(crate) fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)?;
        self.file.sync_all()
    }

    /// Forgets what the page cache holds of the file, so that the next read comes from the disk.
    pub(crate) fn drop_cache(&self) {
        if !self.direct {
            drop_cache(&self.file);
        }
    }
}

/// Makes names that were created, changed or removed in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    failpoint("journal::sync")?;
    File::open(dir)?.sync_all()
}

/// Makes a directory and what is missing above it, durably. One that is there is left as it is.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    sync_dir(parent)
}

/// Removes a file; it is no error if it is not there.
pub(crate) fn remove(path: &PathBuf) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(target_os = "linux")]
fn direct_flag() -> i32 {
    rustix::fs::OFlags::DIRECT.bits() as i32
}

#[cfg(not(target_os = "linux"))]
fn direct_flag() -> i32 {
    0
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP) => file.set_len(bytes),
        other => other.map_err(Into::into),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)
}

#[cfg(target_os = "linux")]
fn drop_cache(file: &File) {
    // Advice: where it fails the reads are still right, only less suspicious.
    let _ = file.sync_data();
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
}

#[cfg(not(target_os = "linux"))]
fn drop_cache(_file: &File) {}

/// The error that a test's failpoint of this name asks for.
pub(crate) fn failpoint(name: &'static str) -> io::Result<()> {
    match injected(name) {
        Some(action) => Err(named_error(&action)),
        None => Ok(()),
    }
}

fn named_error(action: &str) -> io::Error {
    match action {
        "enospc" => Errno::NOSPC.into(),
        _ => Errno::IO.into(),
    }
}

#[cfg(feature = "failpoints")]
fn injected(name: &'static str) -> Option<String> {
    fail::eval(name, Option::unwrap_or_default)
}

#[cfg(not(feature = "failpoints"))]
#[inline]
fn injected(_name: &'static str) -> Option<String> {
    None
}

/// What an ordinary process may still write to the file system of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The disk or the quota has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::NOSPC.raw_os_error()) || code == Some(Errno::DQUOT.raw_os_error())
}

/// The disk does not work, or the file system has given up on it and allows reading only.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(Errno::IO.raw_os_error()) || code == Some(Errno::ROFS.raw_os_error())
}
