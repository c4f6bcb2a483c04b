//! Which files must be there when the journal is opened again.
//!
//! The extent is kept beside the journal's directory, not in it: a directory that is empty because
//! something is not mounted says nothing about what it should hold.
//!
//! The hazard is the order. A file has its name before the extent takes it in, which is before it gets
//! its first group; the extent lets go of a file before the file leaves the sequence. So a crash in
//! between leaves a file too many, which is taken in, and never one too few.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use tidelog_format::journal::{BLOCK_BYTES, EXTENT_FILE_BYTES, Extent, ExtentSlot, FormatError};

use crate::aligned::AlignedBuf;
use crate::config::{Direct, JournalConfig};
use crate::disk::{self, Disk};
use crate::error::OpenError;

const SUFFIX: &str = ".extent";

/// The file that says it. One thread at a time changes it: recovery, then the keeper.
#[derive(Debug)]
pub(crate) struct ExtentFile {
    path: PathBuf,
    direct: Direct,
    state: Mutex<Option<State>>,
}

/// The file as it is on disk.
#[derive(Debug)]
struct State {
    disk: Disk,
    newest: ExtentSlot,
    /// Where the newest slot is. The other one is written next, again and again if that fails.
    at: u64,
}

impl ExtentFile {
    /// Reads what there is; nothing, if the journal is new or was written before there were extents.
    pub(crate) fn open(config: &JournalConfig) -> Result<Self, OpenError> {
        let file = Self::unknown(config);
        let io = |source| OpenError::Io { what: "reading", path: file.path.clone(), source };
        let state = match Disk::open(&file.path, config.direct) {
            Ok(disk) => Some(read(disk, &file.path, io)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        Ok(Self { state: Mutex::new(state), ..file })
    }

    /// As if there were nothing; what there is will be replaced.
    pub(crate) fn unknown(config: &JournalConfig) -> Self {
        let path = path_of(&config.dir);
        Self { path, direct: config.direct, state: Mutex::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self) -> Option<Extent> {
        self.state.lock().as_ref().map(|state| state.newest.extent)
    }

    /// Durably makes this the extent.
    pub(crate) fn put(&self, extent: Extent) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(state) = &mut *state {
            return state.put(extent);
        }
        *state = Some(self.create(extent)?);
        Ok(())
    }

    /// The file of this sequence is there, and about to be used.
    pub(crate) fn take_in(&self, sequence: u64) -> io::Result<()> {
        let extent = self.get().unwrap_or(Extent::empty_at(sequence));
        self.put(Extent { last: sequence, ..extent })
    }

    /// The file of this sequence, the oldest, is about to go.
    pub(crate) fn let_go(&self, sequence: u64) -> io::Result<()> {
        match self.get() {
            Some(extent) if extent.first <= sequence => self.put(Extent { first: sequence + 1, ..extent }),
            _ => Ok(()),
        }
    }

    fn create(&self, extent: Extent) -> io::Result<State> {
        let mut unfinished = self.path.clone().into_os_string();
        unfinished.push(".tmp");
        let disk = Disk::create(Path::new(&unfinished), self.direct)?;
        let newest = ExtentSlot { generation: 1, extent };
        let mut blocks = AlignedBuf::new(EXTENT_FILE_BYTES);
        newest.encode(blocks.first_chunk_mut().expect("two blocks"));
        disk.write(&blocks, 0)?;
        disk.sync()?;
        std::fs::rename(&unfinished, &self.path)?;
        disk::sync_dir(self.path.parent().unwrap_or(Path::new("/")))?;
        Ok(State { disk, newest, at: 0 })
    }
}

impl State {
    fn put(&mut self, extent: Extent) -> io::Result<()> {
        if extent == self.newest.extent {
            return Ok(());
        }
        let slot = ExtentSlot { generation: self.newest.generation + 1, extent };
        let at = if self.at == 0 { BLOCK_BYTES as u64 } else { 0 };
        let mut block = AlignedBuf::new(BLOCK_BYTES);
        slot.encode(block.first_chunk_mut().expect("a block"));
        self.disk.write(&block, at)?;
        self.disk.sync()?;
        (self.newest, self.at) = (slot, at);
        Ok(())
    }
}

fn path_of(dir: &Path) -> PathBuf {
    // Without a slash at the end.
    let mut path: OsString = dir.components().collect::<PathBuf>().into();
    path.push(SUFFIX);
    path.into()
}

fn read(disk: Disk, path: &Path, io: impl Fn(io::Error) -> OpenError) -> Result<State, OpenError> {
    disk.drop_cache();
    let mut blocks = AlignedBuf::new(EXTENT_FILE_BYTES);
    disk.read_up_to_end(&mut blocks, 0).map_err(io)?;
    let mut newest: Option<(ExtentSlot, u64)> = None;
    let mut reason = None;
    for (block, at) in blocks.chunks(BLOCK_BYTES).zip([0, BLOCK_BYTES as u64]) {
        match ExtentSlot::decode(block) {
            Ok(slot) if newest.is_none_or(|(newest, _)| newest.generation < slot.generation) => {
                newest = Some((slot, at));
            }
            Ok(_) => {}
            Err(FormatError::Version { found, supported }) => {
                return Err(OpenError::NewerFormat { path: path.to_owned(), found, supported });
            }
            Err(error) => reason = reason.or(Some(error)),
        }
    }
    match newest {
        Some((newest, at)) => Ok(State { disk, newest, at }),
        None => Err(OpenError::Corrupt {
            path: path.to_owned(),
            position: 0,
            partition: None,
            reason: reason.map(|error| error.to_string()).unwrap_or_default(),
        }),
    }
}
