//! Opening: which files there are, what they hold, and what is to be made of damage.
//!
//! The hazard: bytes that were acknowledged must not be taken for a torn tail and dropped, and bytes
//! that were never synced must not count. Every group says up to where its file was durable when it
//! was written, and every file where the one before it ended. A bad frame below any such mark is
//! corruption: an error that names it, or, where the caller said so, a hole that reads report. A bad
//! frame above all of them was being written when the power went: the file ends there. What is good
//! but above the marks may be in a volatile cache only; it is written once more, in place, and synced
//! before it counts. (Writing it where it is needs no second copy to be told from the first after yet
//! another crash: the bytes are the same before, during and after.)
//!
//! Files are read around the page cache, or after dropping it: after a failed sync the cache holds
//! what the disk does not.

mod file;
mod missing;
mod reindex;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use tidelog_format::journal::Extent;
use tidelog_model::{Offset, TopicPartition};

use crate::config::{JournalConfig, OnDamage};
use crate::disk;
use crate::error::OpenError;
use crate::extent::ExtentFile;
use crate::files::{self, Bin, Files, JournalFile};
use crate::index::Index;
use crate::replay::Replay;
use file::Found;
pub(crate) use reindex::find_entries;

/// What opening found and did.
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    /// Files that hold data, and what they take up.
    pub files: usize,
    pub bytes: u64,
    /// The file whose checkpoint replay began with.
    pub replayed_from: Option<u64>,
    pub replayed_frames: u64,
    /// Where the newest file was cut, because what was being written there is incomplete.
    pub torn: Option<(PathBuf, u64)>,
    /// Bytes that were intact but not known to be durable; they are now.
    pub secured_bytes: u64,
    /// Files whose index was made anew.
    pub reindexed: Vec<PathBuf>,
    /// What was damaged and let pass.
    pub damage: Vec<Damage>,
}

/// A damaged place in a file.
#[derive(Clone, Debug)]
pub struct Damage {
    pub path: PathBuf,
    pub position: u64,
    /// What was there, if that can be told.
    pub partition: Option<(TopicPartition, Offset)>,
    pub reason: String,
    /// The bucket has it. Otherwise it is lost.
    pub is_covered: bool,
}

/// What the journal starts with.
pub(crate) struct Recovered {
    pub(crate) report: RecoveryReport,
    /// Empty files.
    pub(crate) ready: VecDeque<Arc<JournalFile>>,
    pub(crate) next_sequence: u64,
    /// The newest file with a complete checkpoint.
    pub(crate) checkpointed: u64,
    /// Where the groups of the newest file end.
    pub(crate) previous_end: u64,
    pub(crate) extent: ExtentFile,
}

/// What recovery works with.
struct Recovery<'a> {
    config: &'a JournalConfig,
    files: &'a Files,
    index: &'a Index,
    bin: &'a Arc<Bin>,
    replay: &'a mut dyn Replay,
    extent: ExtentFile,
    report: RecoveryReport,
}

pub(crate) fn recover(
    config: &JournalConfig,
    files: &Files,
    index: &Index,
    bin: &Arc<Bin>,
    replay: &mut dyn Replay,
) -> Result<Recovered, OpenError> {
    let io = |source| OpenError::Io { what: "opening the journal in", path: config.dir.clone(), source };
    let mut report = RecoveryReport::default();
    let extent = missing::read_extent(config, &mut report)?;
    disk::create_dir(&config.dir).map_err(io)?;
    let sequences = files::list(&config.dir).map_err(io)?;
    let mut recovery = Recovery { config, files, index, bin, replay, extent, report };
    recovery.look_for_missing(&sequences)?;
    let mut found = recovery.find(&sequences)?;
    let empty = split_off_empty(&mut found)?;
    let begin = recovery.replay_begin(&found)?;
    let mut previous_end = 0;
    for number in 0..found.len() {
        let successor_says = found.get(number + 1).and_then(|next| next.previous_end);
        let file = &found[number];
        let replays = begin.is_some_and(|begin| file.sequence() >= begin);
        previous_end = recovery.take_in(file, successor_says, replays, begin)?;
    }
    let next = found.last().map_or_else(|| recovery.first_sequence(&empty), |newest| newest.sequence() + 1);
    let oldest = found.first().map_or(next, Found::sequence);
    // Files that are not needed go: the extent must not have them any more.
    recovery.set_extent(Extent { first: oldest, last: next - 1 })?;
    let ready = recovery.make_ready(empty, next)?;
    let next_sequence = next + ready.len() as u64;
    recovery.set_extent(Extent { first: oldest, last: next_sequence - 1 })?;
    recovery.report.files = recovery.files.count();
    recovery.report.bytes = recovery.files.bytes();
    recovery.report.replayed_from = begin;
    Ok(Recovered {
        report: recovery.report,
        ready,
        next_sequence,
        checkpointed: begin.unwrap_or(0),
        previous_end,
        extent: recovery.extent,
    })
}

impl Recovery<'_> {
    /// Opens all files; where one in between is missing, an empty one stands in for it.
    fn find(&mut self, sequences: &[u64]) -> Result<Vec<Found>, OpenError> {
        let mut found: Vec<Found> = Vec::with_capacity(sequences.len());
        for &sequence in sequences {
            let next = found.last().map_or(sequence, |last| last.sequence() + 1);
            for missing in next..sequence {
                found.push(Found::stand_in(self.config, missing, self.bin)?);
            }
            let is_newest = sequences.last() == Some(&sequence);
            // A file is sealed before the next one is used.
            let surely_unused = is_newest && found.last().is_some_and(|last| last.footer.is_none());
            match Found::open(self.config, sequence, self.bin) {
                Ok(file) => found.push(file),
                Err(OpenError::Corrupt { path, .. }) if surely_unused => {
                    self.let_go_of_newest(sequence)?;
                    let io = |source| OpenError::Io { what: "removing", path: path.clone(), source };
                    disk::remove(&path).map_err(io)?;
                }
                Err(error @ OpenError::Corrupt { .. }) => {
                    found.push(self.without_header(sequence, error)?);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// A file whose header is damaged cannot be read at all.
    fn without_header(&mut self, sequence: u64, error: OpenError) -> Result<Found, OpenError> {
        let OpenError::Corrupt { path, position, partition, reason } = error else { return Err(error) };
        if self.config.on_damage == OnDamage::Refuse {
            return Err(OpenError::Corrupt { path, position, partition, reason });
        }
        let replaced = Found::replace(self.config, sequence, self.bin)?;
        self.report.damage.push(Damage { path, position, partition, reason, is_covered: false });
        Ok(replaced)
    }

    /// The newest file that begins with a complete checkpoint.
    fn replay_begin(&self, found: &[Found]) -> Result<Option<u64>, OpenError> {
        for file in found.iter().rev() {
            if file.has_checkpoint()? {
                return Ok(Some(file.sequence()));
            }
        }
        // A journal's first file begins with a checkpoint like every other. If that never became
        // durable, nothing did.
        match found {
            [] => Ok(None),
            [only] if !only.has_batches()? => Ok(None),
            [oldest, ..] => {
                let reason = "no complete checkpoint is left to rebuild the state from".to_owned();
                let path = oldest.file.path.clone();
                if self.config.on_damage == OnDamage::Quarantine {
                    return Ok(Some(oldest.sequence()));
                }
                Err(OpenError::Corrupt { path, position: 0, partition: None, reason })
            }
        }
    }

    /// Empty files get a new salt, so that nothing of a file that was begun and torn can come back.
    fn make_ready(&mut self, empty: Vec<Found>, next: u64) -> Result<VecDeque<Arc<JournalFile>>, OpenError> {
        let mut ready = VecDeque::new();
        for file in empty {
            let path = file.file.path.clone();
            let sequence = next + ready.len() as u64;
            let io = |source| OpenError::Io { what: "preparing", path: path.clone(), source };
            if file.file.bytes() != self.config.file_bytes || file.sequence() != sequence {
                disk::remove(&path).map_err(io)?;
                continue;
            }
            drop(file);
            let disk = disk::Disk::open(&path, self.config.direct).map_err(io)?;
            let header = files::write_header(&disk, sequence, self.config.file_bytes).map_err(io)?;
            ready.push_back(JournalFile::new(&header, path, disk, self.config.file_bytes, self.bin));
        }
        Ok(ready)
    }

    /// Something that was durable is damaged: lets it pass if that was chosen, or if the bucket has it.
    fn damaged(
        &mut self,
        file: &JournalFile,
        position: u64,
        what: Option<(TopicPartition, Offset, Offset)>,
        reason: String,
    ) -> Result<(), OpenError> {
        let is_covered = what.is_some_and(|(partition, _, next)| self.replay.covered(partition) >= next);
        let path = file.path.clone();
        let partition = what.map(|(partition, base, _)| (partition, base));
        if !is_covered && self.config.on_damage == OnDamage::Refuse {
            return Err(OpenError::Corrupt { path, position, partition, reason });
        }
        self.report.damage.push(Damage { path, position, partition, reason, is_covered });
        Ok(())
    }
}

/// Takes the files that were made ready but never used off the end.
fn split_off_empty(found: &mut Vec<Found>) -> Result<Vec<Found>, OpenError> {
    let mut empty = Vec::new();
    while let Some(last) = found.last() {
        // A file is sealed before the next one is used.
        let surely_unused = found.len() > 1 && found[found.len() - 2].footer.is_none();
        if last.footer.is_some() || !last.is_unused(surely_unused)? {
            break;
        }
        empty.extend(found.pop());
    }
    empty.reverse();
    Ok(empty)
}
