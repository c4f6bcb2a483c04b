//! Empty files: recycled where possible, made new where not.
//!
//! A sync of a file whose blocks were written before costs less than one of a file whose blocks are
//! only allocated: the file system must note that they are in use. So new files are filled with
//! zeros while nobody needs the disk; when somebody waits for the file it is handed over as it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;

use super::{READY_FILES, Worker};
use crate::aligned::AlignedBuf;
use crate::disk::{self, Disk};
use crate::error::Fatal;
use crate::files::{self, Free, JournalFile};
use crate::space::Blocked;

/// Zeros are written in parts of this size, so that a waiting writer waits for one part only.
const FILL_BYTES: usize = 1024 * 1024;

/// What a new file leaves free on the disk: the metadata must be able to record what was moved to the
/// bucket, or a disk that is full would stay so.
const LEFT_FREE_BYTES: u64 = 32 * 1024 * 1024;

/// The pause after a part while appends use the disk.
const YIELD_TO_APPENDS: Duration = Duration::from_millis(20);

/// Whether there is one more empty file.
enum Next {
    File(Arc<JournalFile>),
    /// Not before somebody has read to the end.
    AfterReaders,
    OverBudget,
}

impl Worker<'_> {
    /// Makes files ready until there are enough, or something is in the way.
    pub(super) fn refill(&mut self) {
        while self.shared.keeper.ready_count() < READY_FILES && !self.shared.keeper.is_closing() {
            let blocked = match self.next_file() {
                Ok(Next::File(file)) => {
                    self.warned = None;
                    self.shared.keeper.add_ready(self.shared, file);
                    continue;
                }
                Ok(Next::AfterReaders) => return,
                Ok(Next::OverBudget) => Blocked::Backlog,
                Err(error) if disk::is_full(&error) => Blocked::Full,
                Err(error) if self.shared.keeper.is_closing() => {
                    tracing::debug!(%error, "no further journal file");
                    return;
                }
                Err(error) if disk::is_broken(&error) => return self.fail(error),
                Err(error) => {
                    tracing::error!(%error, dir = %self.shared.config.dir.display(), "making a journal file");
                    Blocked::Full
                }
            };
            if self.warned != Some(blocked) {
                tracing::warn!(?blocked, "no further journal file can be made ready");
                self.warned = Some(blocked);
            }
            self.shared.keeper.set_blocked(self.shared, blocked);
            return;
        }
        self.empty_bin();
    }

    /// A disk on which no file can be made will not take appends much longer.
    fn fail(&self, error: io::Error) {
        tracing::error!(%error, "the disk failed; nothing can be appended any more");
        let path = self.shared.config.dir.clone();
        self.shared.fail(&Fatal { what: "making a file in", path, source: Arc::new(error) });
    }

    /// One more empty file, made, recycled, or out of the oldest one.
    fn next_file(&mut self) -> io::Result<Next> {
        loop {
            if let Some(free) = self.shared.bin.take() {
                if free.bytes == self.shared.config.file_bytes {
                    return self.recycle(&free).map(Next::File);
                }
                self.discard(&free)?;
                continue;
            }
            if self.bytes_on_disk() + self.shared.config.file_bytes <= self.shared.config.budget_bytes {
                match self.create() {
                    // What the bucket has makes room for what it has not.
                    Err(error) if disk::is_full(&error) && self.retire_for_room() => continue,
                    other => return other.map(Next::File),
                }
            }
            // What was retired comes back, with a wake-up, when the last reader is done with it.
            if self.shared.bin.is_awaited() {
                return Ok(Next::AfterReaders);
            }
            if !self.retire_for_room() {
                return Ok(Next::OverBudget);
            }
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        // Ready ones first: a file that is taken meanwhile counts twice rather than not at all.
        let ready = self.shared.keeper.ready_bytes();
        ready + self.shared.files.bytes() + self.shared.bin.bytes()
    }

    /// Files that are free and not needed: kept ready is enough, they only take up disk.
    fn empty_bin(&mut self) {
        while let Some(free) = self.shared.bin.take() {
            if let Err(error) = self.discard(&free) {
                tracing::warn!(%error, path = %free.path.display(), "removing a journal file");
            }
        }
    }

    fn discard(&self, free: &Free) -> io::Result<()> {
        self.shared.bin.forget(free);
        disk::remove(&free.path)
    }

    /// Gives a retired file another life.
    fn recycle(&self, free: &Free) -> io::Result<Arc<JournalFile>> {
        self.shared.bin.forget(free);
        let disk = Disk::open(&free.path, self.shared.config.direct)?;
        self.begin(&free.path, disk)
    }

    fn create(&self) -> io::Result<Arc<JournalFile>> {
        if disk::free_bytes(&self.shared.config.dir)? < self.shared.config.file_bytes + LEFT_FREE_BYTES {
            return Err(Errno::NOSPC.into());
        }
        let path = files::unfinished_path(&self.shared.config.dir);
        let made = Disk::create(&path, self.shared.config.direct)
            .and_then(|disk| self.fill(&disk).map(|()| disk))
            .and_then(|disk| self.begin(&path, disk));
        if made.is_err() {
            // The disk may be full: what was begun must not stay.
            let _ = disk::remove(&path);
        }
        made
    }

    /// Takes the file's room, then fills it with zeros as long as nobody waits for it.
    fn fill(&self, disk: &Disk) -> io::Result<()> {
        let bytes = self.shared.config.file_bytes;
        disk.allocate(bytes)?;
        let zeros = AlignedBuf::new(FILL_BYTES);
        let written = || self.shared.counters.bytes.load(Ordering::Relaxed);
        let mut position = 0;
        let mut appended = written();
        while position < bytes {
            let part = (bytes - position).min(FILL_BYTES as u64);
            disk.fill(&zeros, position, part)?;
            position += part;
            if self.is_needed() {
                break;
            }
            let now = written();
            if now != appended && !self.shared.keeper.pause(YIELD_TO_APPENDS) {
                return Err(io::Error::other("the journal closes"));
            }
            appended = now;
        }
        disk.sync()
    }

    fn is_needed(&self) -> bool {
        self.shared.space.is_waited_for()
            || self.shared.keeper.writer_waits()
            || self.shared.keeper.is_closing()
    }

    /// Writes the header and gives the file its name.
    fn begin(&self, from: &Path, disk: Disk) -> io::Result<Arc<JournalFile>> {
        let sequence = self.shared.keeper.claim_sequence();
        self.named(from, disk, sequence).inspect_err(|_| self.shared.keeper.return_sequence())
    }

    fn named(&self, from: &Path, disk: Disk, sequence: u64) -> io::Result<Arc<JournalFile>> {
        let config = &self.shared.config;
        let header = files::write_header(&disk, sequence, config.file_bytes)?;
        let path: PathBuf = files::path_of(&config.dir, sequence);
        std::fs::rename(from, &path)?;
        disk::sync_dir(&config.dir)?;
        self.shared.extent.take_in(sequence)?;
        Ok(JournalFile::new(&header, path, disk, config.file_bytes, &self.shared.bin))
    }
}
