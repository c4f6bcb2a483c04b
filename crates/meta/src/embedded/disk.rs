//! The redb file `meta.redb`: what is in it, how it is made, checked and changed.
//!
//! ```text
//!  table "info"     name -> u64         "format" = 1, "revision", "last-lease"
//!  table "leases"   i64  -> u64         lease -> time to live in milliseconds
//!  table "entries"  key  -> row         create revision u64 │ mod revision u64 │ version u64
//!                                       │ lease i64, 0 for none │ value      (big-endian)
//! ```
//!
//! Commits are two-phase: then the newest commit is either whole or the file is damaged. With redb's
//! one-phase commits a damaged newest commit passes for one that was cut off by a crash, and is rolled
//! back without a word; an epoch that was handed out would be handed out again.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};
use thiserror::Error;

use super::draft::Draft;
use super::image::Image;
use super::room::Room;
use crate::{Entry, LeaseId, Revision};

const FILE: &str = "meta.redb";
/// The file while it is being made; it becomes `meta.redb` when it is complete.
const FILE_NEW: &str = "meta.redb.new";
const FORMAT: u64 = 1;
const ROW_HEADER_BYTES: usize = 32;
/// The entries are held in memory by the image; redb needs little more than its dirty pages.
const CACHE_BYTES: usize = 2 * 1024 * 1024;

const INFO: TableDefinition<'_, &str, u64> = TableDefinition::new("info");
const LEASES: TableDefinition<'_, i64, u64> = TableDefinition::new("leases");
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

const INFO_FORMAT: &str = "format";
const INFO_REVISION: &str = "revision";
const INFO_LAST_LEASE: &str = "last-lease";

/// Whether a store may begin empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// There should be none yet, but a start that was cut short may have left one.
    IfMissing,
    /// There must be one: without it the data beside it has lost its meaning.
    Never,
}

/// Why a store could not be opened. Nothing has been deleted or repaired by guessing, and the next
/// attempt will find the same.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    #[error("{path}: the metadata is missing; restore the file, or choose an empty data directory", path = .path.display())]
    Missing { path: PathBuf },
    #[error("{path}: the metadata is in use by another process", path = .path.display())]
    InUse { path: PathBuf },
    #[error(
        "{path}: the metadata has format {found}, this program knows up to {known}; use a newer one",
        path = .path.display()
    )]
    NewerFormat { path: PathBuf, found: u64, known: u64 },
    #[error(
        "{path}: the metadata is damaged: {reason}; nothing was repaired or deleted, restore the file from a backup",
        path = .path.display()
    )]
    Corrupt { path: PathBuf, reason: String },
    #[error("{path}: {reason}", path = .path.display())]
    Io { path: PathBuf, reason: String },
}

/// The open file.
#[derive(Debug)]
pub(super) struct Disk {
    /// Only `None` while it is being dropped.
    database: Option<Database>,
    room: Room,
}

/// Opens the file and reads all of it.
pub(super) fn open(directory: &Path, creation: Creation) -> Result<(Disk, Image), OpenError> {
    let path = directory.join(FILE);
    let io = |error: io::Error| OpenError::Io { path: path.clone(), reason: error.to_string() };
    if !path.try_exists().map_err(io)? {
        match creation {
            Creation::IfMissing => create(directory)?,
            Creation::Never => return Err(OpenError::Missing { path }),
        }
    }
    // redb checks what it reads, but here and there with an assertion.
    let opened = catch_unwind(AssertUnwindSafe(|| open_and_read(&path)));
    opened.unwrap_or_else(|_| Err(corrupt(&path, "reading it failed an assertion")))
}

fn open_and_read(path: &Path) -> Result<(Disk, Image), OpenError> {
    let mut database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .open(path)
        .map_err(|error| database_error(path, error))?;
    // After a clean shutdown redb opens without looking at the pages.
    database.check_integrity().map_err(|error| database_error(path, error))?;
    let image = read(path, &database)?;
    let room =
        Room::of(path).map_err(|error| OpenError::Io { path: path.to_owned(), reason: error.to_string() })?;
    Ok((Disk { database: Some(database), room }, image))
}

/// Makes an empty store under another name first: `meta.redb` is complete or not there.
fn create(directory: &Path) -> Result<(), OpenError> {
    let path = directory.join(FILE_NEW);
    let failed = |reason: String| OpenError::Io { path: path.clone(), reason };
    fs::create_dir_all(directory).map_err(|error| failed(error.to_string()))?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error.to_string())),
        _ => {}
    }
    let database = Database::create(&path).map_err(|error| database_error(&path, error))?;
    fill(&database).map_err(|error| failed(error.to_string()))?;
    drop(database);
    fs::rename(&path, directory.join(FILE)).map_err(|error| failed(error.to_string()))?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed(error.to_string()))
}

fn fill(database: &Database) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    {
        let mut info = write.open_table(INFO)?;
        info.insert(INFO_FORMAT, FORMAT)?;
        info.insert(INFO_REVISION, 1)?;
        info.insert(INFO_LAST_LEASE, 0)?;
        write.open_table(LEASES)?;
        write.open_table(ENTRIES)?;
    }
    write.commit()?;
    Ok(())
}

fn read(path: &Path, database: &Database) -> Result<Image, OpenError> {
    let damaged = |error: redb::Error| corrupt(path, error);
    let transaction = database.begin_read().map_err(|error| damaged(error.into()))?;
    let info = transaction.open_table(INFO).map_err(|error| damaged(error.into()))?;
    let number = |name: &str| -> Result<u64, OpenError> {
        let found = info.get(name).map_err(|error| damaged(error.into()))?;
        found.map(|value| value.value()).ok_or_else(|| corrupt(path, format!("it has no {name:?}")))
    };
    let found = number(INFO_FORMAT)?;
    if found > FORMAT {
        return Err(OpenError::NewerFormat { path: path.to_owned(), found, known: FORMAT });
    }
    let revision = Revision(number(INFO_REVISION)?);
    let last_lease = i64::try_from(number(INFO_LAST_LEASE)?).map_err(|error| corrupt(path, error))?;

    let table = transaction.open_table(LEASES).map_err(|error| damaged(error.into()))?;
    let mut leases = BTreeMap::new();
    for row in table.iter().map_err(|error| damaged(error.into()))? {
        let (lease, ttl) = row.map_err(|error| damaged(error.into()))?;
        leases.insert(LeaseId(lease.value()), Duration::from_millis(ttl.value()));
    }

    let table = transaction.open_table(ENTRIES).map_err(|error| damaged(error.into()))?;
    let mut entries = BTreeMap::new();
    for row in table.iter().map_err(|error| damaged(error.into()))? {
        let (key, row) = row.map_err(|error| damaged(error.into()))?;
        let key: Arc<str> = key.value().into();
        let entry =
            decode_row(&key, row.value()).ok_or_else(|| corrupt(path, format!("the row of {key:?}")))?;
        if entry.mod_revision > revision {
            return Err(corrupt(path, format!("{key:?} is newer than the store")));
        }
        entries.insert(key, entry);
    }
    Ok(Image::restore(revision, entries, leases, last_lease))
}

impl Disk {
    /// Makes sure that there is room to commit a draft; without, it must not be tried.
    pub(super) fn reserve(&mut self, draft: &Draft) -> Result<(), String> {
        #[cfg(feature = "failpoints")]
        if let Some(reason) = fail::eval("meta::reserve", |reason| reason) {
            return Err(reason.unwrap_or_else(|| "a failpoint says so".to_owned()));
        }
        self.room.reserve(draft.bytes())
    }

    /// Writes a draft and syncs it. After an error the file must be opened anew to know what it holds.
    pub(super) fn commit(&mut self, draft: &Draft) -> Result<(), String> {
        #[cfg(feature = "failpoints")]
        if let Some(reason) = fail::eval("meta::commit", |reason| reason) {
            return Err(reason.unwrap_or_else(|| "a failpoint says so".to_owned()));
        }
        let database = self.database.as_ref().expect("only dropping takes it");
        write(database, draft).map_err(|error| error.to_string())?;
        // Room that a shorter file gave back is taken again before others find it. If they were faster,
        // the next commit will hear of it.
        let _ = self.room.reserve(0);
        Ok(())
    }
}

impl Drop for Disk {
    /// Closing shortens the file; its room is kept for the next start, which must commit something even
    /// on a full disk.
    fn drop(&mut self) {
        drop(self.database.take());
        let _ = self.room.reserve(0);
    }
}

fn write(database: &Database, draft: &Draft) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    {
        let mut info = write.open_table(INFO)?;
        info.insert(INFO_REVISION, draft.revision.0)?;
        info.insert(INFO_LAST_LEASE, u64::try_from(draft.last_lease).unwrap_or(u64::MAX))?;
        let mut leases = write.open_table(LEASES)?;
        for (lease, change) in &draft.leases {
            match change {
                Some(ttl) => leases.insert(lease.0, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))?,
                None => leases.remove(lease.0)?,
            };
        }
        let mut entries = write.open_table(ENTRIES)?;
        let mut row = Vec::new();
        for (key, change) in &draft.changes {
            match change {
                Some(entry) => {
                    encode_row(entry, &mut row);
                    entries.insert(&**key, row.as_slice())?
                }
                None => entries.remove(&**key)?,
            };
        }
    }
    write.commit()?;
    Ok(())
}

fn encode_row(entry: &Entry, row: &mut Vec<u8>) {
    row.clear();
    row.extend(entry.create_revision.0.to_be_bytes());
    row.extend(entry.mod_revision.0.to_be_bytes());
    row.extend(entry.version.to_be_bytes());
    row.extend(entry.lease.map_or(0, |lease| lease.0).to_be_bytes());
    row.extend_from_slice(&entry.value);
}

fn decode_row(key: &Arc<str>, row: &[u8]) -> Option<Entry> {
    let (header, value) = row.split_first_chunk::<ROW_HEADER_BYTES>()?;
    let mut numbers =
        header.chunks_exact(8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")));
    let mut number = || numbers.next().expect("four numbers");
    Some(Entry {
        key: Arc::clone(key),
        create_revision: Revision(number()),
        mod_revision: Revision(number()),
        version: number(),
        lease: Some(number() as i64).filter(|lease| *lease != 0).map(LeaseId),
        value: Bytes::copy_from_slice(value),
    })
}

fn corrupt(path: &Path, reason: impl fmt::Display) -> OpenError {
    OpenError::Corrupt { path: path.to_owned(), reason: reason.to_string() }
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.to_owned() },
        DatabaseError::Storage(StorageError::Io(error))
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            OpenError::Io { path: path.to_owned(), reason: error.to_string() }
        }
        error => corrupt(path, error),
    }
}
