//! Room on the disk that belongs to the file before it is needed.
//!
//! A full disk must not stop the metadata: records leave the local disk only after a pointer was
//! committed here. And redb cannot go on after a write that found no room. So what a commit may need is
//! allocated beforehand, beyond the file's end and in its holes, and a commit that could need more than
//! that is not begun. Where the file system cannot allocate ahead, a full disk ends the store.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// Allocated beyond what the next commit may need.
const HEADROOM_BYTES: u64 = 4 * 1024 * 1024;

/// Pages, their checksums and the path to the root, for each byte that changes.
const BYTES_PER_CHANGED_BYTE: u64 = 4;

#[derive(Debug)]
pub(super) struct Room {
    file: File,
    /// How far the file's blocks are allocated, for all that is known.
    reserved: u64,
    /// The file's length when that was found out.
    length: u64,
}

impl Room {
    /// Of a file that is there; it is opened a second time, beside redb.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, reserved: 0, length: 0 })
    }

    /// Makes sure that a commit which changes `bytes` finds room, or says why it might not.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<(), String> {
        let length = self.file.metadata().map_err(|error| error.to_string())?.len();
        if length < self.length {
            // Cutting the file off gave the blocks beyond its end back.
            self.reserved = 0;
        }
        self.length = length;
        // redb doubles a small file, and rewrites at most the whole tree.
        let needed = 2 * length + BYTES_PER_CHANGED_BYTE * bytes;
        if self.reserved >= needed + HEADROOM_BYTES / 2 {
            return Ok(());
        }
        match self.allocate(needed + HEADROOM_BYTES) {
            Err(Errno::NOSPC | Errno::DQUOT) if self.reserved >= needed => Ok(()),
            Err(Errno::NOSPC | Errno::DQUOT) => {
                self.allocate(needed).map_err(|error| format!("no room for {needed} bytes: {error}"))
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.reserved = u64::MAX;
                Ok(())
            }
            other => other.map_err(|error| error.to_string()),
        }
    }

    fn allocate(&mut self, bytes: u64) -> Result<(), Errno> {
        fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, bytes)?;
        self.reserved = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn room_is_allocated_beyond_the_end_and_again_after_the_file_was_cut() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = File::create(&path).unwrap();
        file.set_len(1024 * 1024).unwrap();
        let allocated = || file.metadata().unwrap().blocks() * 512;
        let mut room = Room::of(&path).unwrap();
        for _ in 0..2 {
            room.reserve(1000).unwrap();
            assert!(allocated() >= 2 * 1024 * 1024, "{}", allocated());
            assert_eq!(file.metadata().unwrap().len(), 1024 * 1024);
        }
        file.set_len(4096).unwrap();
        room.reserve(1000).unwrap();
        assert!(allocated() >= HEADROOM_BYTES);
    }
}
