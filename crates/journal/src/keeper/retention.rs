//! Which file goes, and when.

use std::sync::Arc;

use tidelog_format::journal::{BLOCK_BYTES, Entry};
use tidelog_model::{Offset, TimestampMs, TopicPartition};

use super::Worker;
use crate::disk;
use crate::error::ReadError;
use crate::files::{self, JournalFile};
use crate::index::Piece;
use crate::writer::Queued;

/// A file goes early if less than this part of it must be copied for that.
const COPY_PART: u64 = 10;

/// What of a file is still wanted.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Somebody may still read from it.
    wanted: bool,
    /// What only this file has.
    pub(super) uncovered: Vec<(TopicPartition, Piece, Offset)>,
    uncovered_bytes: u64,
    newest_append: TimestampMs,
}

impl Worker<'_> {
    /// Lets files go that nobody wants, or that are old.
    pub(super) fn retire_unwanted(&mut self) {
        while let Some(file) = self.shared.files.oldest() {
            if !self.is_unwanted(&file) {
                break;
            }
            if !self.may_go(&file) {
                // A checkpoint in a newer file lets it go.
                self.roll();
                break;
            }
            if !self.retire(&file) {
                break;
            }
        }
        self.roll_if_useless();
    }

    fn is_unwanted(&mut self, file: &JournalFile) -> bool {
        if file.trailer().is_none() {
            return false;
        }
        let usage = self.usage(file);
        !usage.wanted || self.is_old(usage.newest_append) && usage.is_small(file)
    }

    fn is_old(&self, append_time: TimestampMs) -> bool {
        let now = self.shared.config.clock.now();
        self.shared.config.local_age_ms.is_some_and(|age| now.since_ms(append_time) > age)
    }

    /// Lets the oldest file go to make room for a new one. False if it cannot.
    pub(super) fn retire_for_room(&mut self) -> bool {
        let Some(file) = self.shared.files.oldest() else { return false };
        file.trailer().is_some() && self.may_go(&file) && self.retire(&file)
    }

    /// The file is closed and newer ones can rebuild the state without it.
    fn may_go(&self, file: &JournalFile) -> bool {
        file.sequence < self.shared.keeper.newest_checkpoint()
    }

    /// What of a sealed file is still wanted. Pieces of which only a part is uncovered are looked at
    /// entry by entry.
    fn usage(&mut self, file: &JournalFile) -> Usage {
        let mut usage = Usage::default();
        let mut partly = Vec::new();
        self.shared.index.each_in_file(file.sequence, |partition, entry, piece| {
            usage.wanted = true;
            usage.newest_append = usage.newest_append.max(piece.last_append);
            let from = entry.covered().max(entry.floor()).max(piece.start);
            if from < piece.end {
                usage.uncovered.push((partition, piece, from));
                if from == piece.start {
                    usage.uncovered_bytes += piece.bytes();
                } else {
                    partly.push((partition, piece, from));
                }
            }
        });
        for (partition, piece, from) in partly {
            usage.uncovered_bytes += match self.entries_from(file, partition, &piece, from) {
                Ok(entries) => entries.iter().map(|entry| u64::from(entry.payload_bytes)).sum(),
                // It cannot be read, so it cannot be copied: it all counts.
                Err(_) => piece.bytes(),
            };
        }
        usage
    }

    pub(super) fn entries_from(
        &mut self,
        file: &JournalFile,
        partition: TopicPartition,
        piece: &Piece,
        from: Offset,
    ) -> Result<Vec<Entry>, ReadError> {
        let entries = self.reader.entries(&self.shared.index.cache, file, partition, piece)?;
        let here = |entry: &&Entry| entry.next_offset() > from && entry.next_offset() <= piece.end;
        Ok(entries.iter().filter(here).copied().collect())
    }

    /// Takes a file out of the journal, after copying the little that must stay. False if too much
    /// must stay, or something failed.
    fn retire(&mut self, file: &Arc<JournalFile>) -> bool {
        let usage = self.usage(file);
        if !usage.is_small(file) || !self.copy_forward(file, &usage) {
            return false;
        }
        // Out of the sequence first, so that whatever happens next the files that count have no gap.
        let path = files::retired_path(&file.path);
        let let_go = self.shared.extent.let_go(file.sequence);
        let renamed = let_go
            .and_then(|()| std::fs::rename(&file.path, &path))
            .and_then(|()| disk::sync_dir(&self.shared.config.dir));
        if let Err(error) = renamed {
            tracing::error!(%error, path = %file.path.display(), "retiring a journal file");
            return false;
        }
        let moved = self.shared.index.forget_file(file.sequence);
        self.shared.files.retire(file.sequence, path);
        for (partition, local_start) in moved {
            self.shared.checkpoints.local_start_moved(partition, local_start);
        }
        tracing::debug!(sequence = file.sequence, "journal file retired");
        true
    }

    /// An open file that holds nothing anybody wants is closed, so that it can go.
    fn roll_if_useless(&mut self) {
        let Some(open) = self.shared.files.newest().filter(|file| file.trailer().is_none()) else { return };
        let in_use = self.shared.index.open_file_use(open.sequence);
        let old = in_use.oldest_append.is_some_and(|oldest| self.is_old(oldest)) && !in_use.uncovered;
        let holds_data = self.shared.counters.has_data(open.sequence);
        if holds_data && (!in_use.wanted || old) {
            self.roll();
        }
    }

    fn roll(&self) {
        let (done, _) = tokio::sync::oneshot::channel();
        self.shared.queue.push(Queued::Roll(done));
    }
}

impl Usage {
    /// So little must stay that copying it is cheaper than keeping the file.
    fn is_small(&self, file: &JournalFile) -> bool {
        let data = file.trailer().map_or(0, |trailer| trailer.data_end - BLOCK_BYTES as u64);
        self.uncovered.is_empty() || self.uncovered_bytes * COPY_PART < data
    }
}
