//! The thread that writes: everything queued, in one go, one sync, then all completions in order.
//!
//! The hazard: a completion must not run before its bytes are on stable storage, and nothing may
//! complete after a write or a sync failed, for then nobody knows what is on disk. So the first
//! failure ends the thread, and every append that was under way or waiting gets that failure.

mod group;
mod queue;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidelog_format::journal::{
    BLOCK_BYTES, CheckpointEnd, ENTRY_BYTES, FRAME_HEADER_BYTES, FrameHeader, FrameKind, GROUP_HEADER_BYTES,
    SPAN_BYTES, Truncation, align_up, footer_bytes_max,
};
use tidelog_model::{Offset, TopicPartition};

pub(crate) use group::GroupWriter;
pub(crate) use queue::{Queue, Queued};

use crate::append::{Append, Position};
use crate::error::{AppendError, Fatal};
use crate::files::JournalFile;
use crate::index::{Added, TAIL_ENTRY_BYTES};
use crate::journal::Shared;
use crate::seal::seal;
use crate::space::cost_of;

/// The file that is being written.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: Arc<JournalFile>,
    /// Where the next group goes.
    pub(crate) position: u64,
    /// Up to where the file is synced.
    pub(crate) durable: u64,
    /// Where the groups of the file before it end.
    pub(crate) previous_end: u64,
    pub(crate) entries: u64,
    pub(crate) spans: u64,
    pub(crate) truncations: Vec<Truncation>,
    /// The file begins with a complete checkpoint.
    pub(crate) has_checkpoint: bool,
    /// Where the checkpoint ends.
    pub(crate) data_start: u64,
}

impl OpenFile {
    pub(crate) fn new(file: Arc<JournalFile>, previous_end: u64) -> Self {
        let first = BLOCK_BYTES as u64;
        Self {
            file,
            position: first,
            durable: first,
            previous_end,
            entries: 0,
            spans: 0,
            truncations: Vec::new(),
            has_checkpoint: false,
            data_start: first,
        }
    }

    /// A frame of this file entered the index.
    pub(crate) fn account(&mut self, frame: &FrameHeader, added: Added) {
        self.entries += u64::from(added.entry);
        self.spans += u64::from(added.span);
        if frame.kind == FrameKind::Truncate {
            self.truncations.push(Truncation { partition: frame.partition, end: frame.base_offset });
        }
    }

    /// Holds nothing but its checkpoint.
    fn is_fresh(&self) -> bool {
        self.position == self.data_start
    }

    /// What the file can still take, with room for the footer set aside.
    pub(crate) fn room(&self) -> u64 {
        let footer = footer_bytes_max(self.spans, self.truncations.len() as u64, self.entries);
        self.file.bytes().saturating_sub(self.position + footer)
    }
}

/// How many bytes of a file stand behind one entry at least; bounds the memory that the index of the
/// open file takes.
const FILE_BYTES_PER_ENTRY_MIN: u64 = 512;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    /// None until the first append.
    open: Option<OpenFile>,
    /// Where the groups of the newest sealed file end.
    previous_end: u64,
    groups: GroupWriter,
    /// Taken from the queue, not written yet.
    pending: VecDeque<Queued>,
    /// What the group being written consists of; kept to reuse its memory.
    frames: Vec<(FrameHeader, u64)>,
    /// The batches in the tail cache, oldest first.
    tail: VecDeque<(TopicPartition, Offset)>,
}

impl Writer {
    /// `previous_end` is where the groups of the newest file end that exists already.
    pub(crate) fn new(shared: Arc<Shared>, previous_end: u64) -> Self {
        let groups = GroupWriter::new(shared.config.group_bytes_max);
        Self {
            shared,
            open: None,
            previous_end,
            groups,
            pending: VecDeque::new(),
            frames: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) {
        loop {
            self.shared.queue.take(&mut self.pending);
            match self.step() {
                Ok(Next::Continue) => {}
                Ok(Next::End) => return self.stop(&AppendError::Closed),
                Err(fatal) => {
                    tracing::error!(error = %fatal, "the journal failed; nothing can be appended any more");
                    self.shared.fail(&fatal);
                    return self.stop(&AppendError::Failed(fatal));
                }
            }
        }
    }

    /// Does what is pending.
    fn step(&mut self) -> Result<Next, Fatal> {
        while let Some(first) = self.pending.front() {
            let next = match first {
                Queued::Append { .. } => self.write_group()?,
                Queued::Roll(_) => self.roll()?,
                Queued::Close(_) => {
                    self.seal()?;
                    self.shared.space.stop(AppendError::Closed);
                    self.finish_command();
                    Next::End
                }
                Queued::Abandon => Next::End,
            };
            if next == Next::End {
                return Ok(Next::End);
            }
        }
        Ok(Next::Continue)
    }

    fn finish_command(&mut self) {
        if let Some(Queued::Roll(done) | Queued::Close(done)) = self.pending.pop_front() {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }

    /// Goes on in a new file that begins with a checkpoint; does nothing if that would break a promise.
    fn roll(&mut self) -> Result<Next, Fatal> {
        let filled = self.open.as_ref().is_some_and(|open| !open.is_fresh());
        if filled && self.shared.space.can_roll() {
            self.seal()?;
        }
        if self.open.is_none() && self.shared.keeper.has_ready() && self.begin_file()? == Next::End {
            return Ok(Next::End);
        }
        self.finish_command();
        Ok(Next::Continue)
    }

    /// Writes and syncs as many of the pending appends as go into one group.
    fn write_group(&mut self) -> Result<Next, Fatal> {
        self.drop_stale_copies();
        let Some(open) = &self.open else { return self.begin_file() };
        if self.pending.front().and_then(Queued::append).is_none() {
            return Ok(Next::Continue);
        }
        let (count, bytes) = choose_group(open, &self.pending, self.shared.config.group_bytes_max as u64);
        if count == 0 {
            assert!(!open.is_fresh(), "what is reserved fits into an empty file");
            self.seal()?;
            return self.begin_file();
        }
        let appends = self.pending.iter().take(count).filter_map(Queued::append);
        self.frames.clear();
        let padded = self
            .groups
            .write(open, bytes, count as u32, appends, &mut self.frames)
            .map_err(|error| fatal(open, "writing", error))?;
        self.sync(padded)?;
        self.complete(count);
        Ok(Next::Continue)
    }

    /// Copies of batches that were cut or evicted since they were read must not bring them back. When
    /// copies are first in line, all that was appended before them is in the index.
    fn drop_stale_copies(&mut self) {
        let copies = self.pending.iter().take_while(|queued| is_copy(queued)).count();
        let mut current = Vec::with_capacity(copies);
        for queued in self.pending.drain(..copies) {
            let holds = |append: &Append| {
                append.copied_from.is_some_and(|file| self.shared.index.is_current(&append.header, file))
            };
            if queued.append().is_some_and(holds) {
                current.push(queued);
            } else {
                queued.refuse(&AppendError::Closed);
            }
        }
        for queued in current.into_iter().rev() {
            self.pending.push_front(queued);
        }
    }

    /// Makes durable what was written since the last sync, the newest of it `written` bytes.
    fn sync(&mut self, written: u64) -> Result<(), Fatal> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.position += written;
        open.file.disk.sync().map_err(|error| fatal(open, "syncing", error))?;
        let synced = open.position - open.durable;
        open.durable = open.position;
        let counters = &self.shared.counters;
        counters.groups.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(synced, Ordering::Relaxed);
        Ok(())
    }

    /// The first `count` pending appends are durable: makes them readable, then completes them.
    fn complete(&mut self, count: usize) {
        let Some(open) = &mut self.open else { return };
        let file = open.file.sequence;
        let appends = self.pending.iter().filter_map(Queued::append);
        for (append, (header, position)) in appends.zip(&self.frames) {
            let batch = for_tail(append, self.shared.config.tail_cache_bytes);
            if batch.is_some() {
                self.tail.push_back((header.partition, header.base_offset));
            }
            let added = self.shared.index.publish(header, file, *position, batch);
            open.account(header, added);
        }
        self.shared.counters.data_in.store(file, Ordering::Release);
        self.bound_tail();
        self.tell_room();
        for (_, position) in self.frames.drain(..count) {
            if let Some(Queued::Append { done, reservation, .. }) = self.pending.pop_front() {
                done(Ok(Position { file, position }));
                drop(reservation);
            }
        }
    }

    fn bound_tail(&mut self) {
        let bytes_max = self.shared.config.tail_cache_bytes;
        // Tokens of batches that left the tail another way must not pile up either.
        let batches_max = bytes_max / TAIL_ENTRY_BYTES;
        while self.shared.index.tail_bytes() > bytes_max || self.tail.len() > batches_max {
            let Some((partition, base)) = self.tail.pop_front() else { break };
            self.shared.index.drop_from_tail(partition, base);
        }
    }

    fn tell_room(&self) {
        let room = self.open.as_ref().map_or(0, |open| {
            open.room().min(OpenRoom::of(open).entries * cost_of(0)).saturating_sub(BLOCK_BYTES as u64)
        });
        self.shared.space.set_open(room);
    }

    /// Closes the open file, if there is one.
    fn seal(&mut self) -> Result<(), Fatal> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let footer = seal(&self.shared.index, &open, &mut self.groups)
            .map_err(|error| fatal(&open, "sealing", error))?;
        self.shared.index.seal(open.file.sequence, &footer);
        self.previous_end = open.position;
        self.tell_room();
        self.shared.keeper.wake();
        Ok(())
    }

    /// Opens the next file, waiting for it if it is not ready, and begins it with the state of all
    /// partitions, so that older files are not needed for that.
    fn begin_file(&mut self) -> Result<Next, Fatal> {
        let Some(file) = self.shared.keeper.take_ready(&self.shared) else { return Ok(Next::End) };
        self.open = Some(OpenFile::new(file, self.previous_end));
        let bytes = self.write_checkpoint()?;
        self.sync(0)?;
        if let Some(open) = &mut self.open {
            open.has_checkpoint = true;
            open.data_start = open.position;
            if open.room() < cost_of(self.shared.config.batch_bytes_max()) + BLOCK_BYTES as u64 {
                let error = io::Error::other("the state of all partitions leaves no room in a file");
                return Err(fatal(open, "checkpointing to", error));
            }
            self.shared.keeper.checkpointed(open.file.sequence);
        }
        // The next one will be about as large; partitions come and producers come.
        self.shared.space.set_checkpoint(bytes + bytes / 4 + BLOCK_BYTES as u64);
        self.tell_room();
        Ok(Next::Continue)
    }

    /// Returns what the checkpoint takes up.
    fn write_checkpoint(&mut self) -> Result<u64, Fatal> {
        let states = self.shared.checkpoints.checkpoint();
        let end = CheckpointEnd { partitions: states.len() as u64 };
        let mut group = CheckpointGroup::default();
        let mut total = 0;
        for (partition, state) in states {
            let append = Append::checkpoint(partition, &state);
            if !group.takes(&append, self.shared.config.group_bytes_max) {
                total += self.write_unsynced(&group)?;
                group = CheckpointGroup::default();
            }
            group.push(append);
        }
        group.push(Append::checkpoint_end(end));
        total += self.write_unsynced(&group)?;
        Ok(total)
    }

    fn write_unsynced(&mut self, group: &CheckpointGroup) -> Result<u64, Fatal> {
        let Some(open) = &mut self.open else { return Ok(0) };
        if align_up(group.bytes()) > open.room() {
            let error = io::Error::other("the state of all partitions does not fit into one file");
            return Err(fatal(open, "checkpointing to", error));
        }
        self.frames.clear();
        let count = group.appends.len() as u32;
        let padded = self
            .groups
            .write(open, group.bytes(), count, group.appends.iter(), &mut self.frames)
            .map_err(|error| fatal(open, "writing", error))?;
        open.position += padded;
        Ok(padded)
    }

    /// Everything that is still waiting gets `reason`, and so does what comes later.
    fn stop(mut self, reason: &AppendError) {
        self.shared.space.stop(reason.clone());
        let late = self.shared.queue.close(reason.clone());
        for queued in self.pending.drain(..).chain(late) {
            queued.refuse(reason);
        }
    }
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

fn fatal(open: &OpenFile, what: &'static str, error: io::Error) -> Fatal {
    Fatal { what, path: open.file.path.clone(), source: Arc::new(error) }
}

/// The batch, if the tail cache is to have it.
fn for_tail(append: &Append, tail_cache_bytes: usize) -> Option<&Bytes> {
    let wanted = append.header.kind == FrameKind::Batch
        && !append.header.copy
        && append.payload.len() <= tail_cache_bytes / TAIL_PART_MAX;
    wanted.then_some(&append.payload)
}

/// A batch that is more than this part of the tail cache does not go in.
const TAIL_PART_MAX: usize = 4;

/// A part of a checkpoint that is written at once.
#[derive(Default)]
struct CheckpointGroup {
    appends: Vec<Append>,
    frame_bytes: u64,
}

impl CheckpointGroup {
    fn bytes(&self) -> u64 {
        GROUP_HEADER_BYTES as u64 + self.frame_bytes
    }

    fn takes(&self, append: &Append, bytes_max: usize) -> bool {
        self.appends.is_empty() || self.bytes() + append.header.bytes() <= bytes_max as u64
    }

    fn push(&mut self, append: Append) {
        self.frame_bytes += append.header.bytes();
        self.appends.push(append);
    }
}

fn is_copy(queued: &Queued) -> bool {
    queued.append().is_some_and(|append| append.header.copy)
}

/// How many of the pending appends make the next group, and the bytes of that group. None if not
/// even the first fits into the file. Copies have groups of their own.
fn choose_group(open: &OpenFile, pending: &VecDeque<Queued>, bytes_max: u64) -> (usize, u64) {
    let mut room = OpenRoom::of(open);
    let mut bytes = GROUP_HEADER_BYTES as u64;
    let mut count = 0;
    let copies = pending.front().is_some_and(is_copy);
    for append in pending.iter().take_while(|queued| is_copy(queued) == copies).map_while(Queued::append) {
        let grown = bytes + append.header.bytes();
        if count > 0 && align_up(grown) > bytes_max || !room.takes(&append.header, grown) {
            break;
        }
        bytes = grown;
        count += 1;
    }
    (count, bytes)
}

/// What is left of the open file while a group is being chosen.
struct OpenRoom {
    bytes: u64,
    entries: u64,
    footer: u64,
}

impl OpenRoom {
    fn of(open: &OpenFile) -> Self {
        let entries_max = (open.file.bytes() / FILE_BYTES_PER_ENTRY_MIN).max(1);
        let used = open.entries + open.truncations.len() as u64;
        Self { bytes: open.room(), entries: entries_max.saturating_sub(used), footer: 0 }
    }

    /// Whether the file takes one more frame, which makes the group `grown` bytes.
    fn takes(&mut self, frame: &FrameHeader, grown: u64) -> bool {
        let indexed = matches!(frame.kind, FrameKind::Batch | FrameKind::Truncate);
        let footer = self.footer + if indexed { FOOTER_BYTES_PER_FRAME } else { 0 };
        // Rounding the footer up to whole blocks may take one block more than what it grew by.
        let fits = align_up(grown) + footer + BLOCK_BYTES as u64 <= self.bytes && self.entries > 0;
        if fits && indexed {
            self.footer = footer;
            self.entries -= 1;
        }
        fits
    }
}

const FOOTER_BYTES_PER_FRAME: u64 = (ENTRY_BYTES + SPAN_BYTES) as u64;

const _: () = assert!(FRAME_HEADER_BYTES as u64 <= FILE_BYTES_PER_ENTRY_MIN);
