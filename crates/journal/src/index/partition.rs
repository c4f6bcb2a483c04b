//! One partition's part of the index.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use tidelog_format::journal::{Entry, FrameHeader, FrameKind, Span};
use tidelog_model::{Offset, TimestampMs};

use super::open::OpenEntries;
use super::{Added, IndexCache, Local, OpenUse};

/// What remembering a batch costs beside its bytes.
pub(crate) const TAIL_ENTRY_BYTES: usize = 128;

/// What a sealed file holds of a partition: a span of its footer, or the part of it that still counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) file: u64,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    whole_start: Offset,
    whole_end: Offset,
    whole_bytes: u64,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) first_append: TimestampMs,
    pub(crate) last_append: TimestampMs,
    pub(crate) entries: u32,
    pub(crate) first_entry: u32,
    pub(crate) checksum: u32,
}

impl Piece {
    pub(crate) fn new(file: u64, span: &Span) -> Self {
        Self {
            file,
            start: span.start,
            end: span.end,
            whole_start: span.start,
            whole_end: span.end,
            whole_bytes: span.bytes,
            max_timestamp: span.max_timestamp,
            first_append: span.first_append,
            last_append: span.last_append,
            entries: span.entries,
            first_entry: span.first_entry,
            checksum: span.checksum,
        }
    }

    /// The offsets of the span in the file's footer, whether they all count or not.
    pub(crate) fn whole(&self) -> Range<Offset> {
        self.whole_start..self.whole_end
    }

    /// Its bytes, where only a part counts in proportion to the offsets.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes_from(self.start)
    }

    /// Bytes from `from` on, in proportion to the offsets.
    fn bytes_from(&self, from: Offset) -> u64 {
        let part = u128::from(self.end.since(from.max(self.start)));
        let whole = u128::from(self.whole_end.since(self.whole_start)).max(1);
        (u128::from(self.whole_bytes) * part / whole) as u64
    }

    /// When the batch at `offset` was appended, in proportion to the offsets.
    fn append_time_at(&self, offset: Offset) -> TimestampMs {
        if offset <= self.whole_start {
            return self.first_append;
        }
        let part = i128::from(offset.since(self.whole_start));
        let whole = i128::from(self.whole_end.since(self.whole_start)).max(1);
        let range = i128::from(self.last_append.0) - i128::from(self.first_append.0);
        TimestampMs((i128::from(self.first_append.0) + range * part / whole) as i64)
    }
}

/// What a look-up found.
#[derive(Debug)]
pub(crate) enum Found {
    Memory(Vec<Bytes>),
    /// Entries of the open file.
    Open(u64, Vec<Entry>),
    Piece(Piece),
    NotLocal,
    Hole,
}

#[derive(Clone, Debug)]
struct TailBatch {
    base: Offset,
    next: Offset,
    bytes: Bytes,
}

impl TailBatch {
    fn cost(&self) -> usize {
        self.bytes.len() + TAIL_ENTRY_BYTES
    }
}

/// Where one partition's batches are.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// In sealed files: ascending, without overlap.
    pieces: VecDeque<Piece>,
    /// In the open file: ascending. Where a piece has the same offsets, these count: they are copies
    /// out of a file that is about to go.
    open: OpenEntries,
    open_file: u64,
    /// The newest batches, without a gap up to `end`.
    tail: VecDeque<TailBatch>,
    tail_bytes: usize,
    /// Nothing below is served: it was evicted or is below the log start.
    floor: Offset,
    /// Everything below is in the bucket.
    covered: Offset,
    /// When the first batch from `covered` on was appended, where that is known exactly.
    uncovered_since: Option<TimestampMs>,
    end: Offset,
    /// There may be a gap between the first and the last batch.
    is_scattered: bool,
}

impl Partition {
    /// The sealed files that have something only the hot tier has.
    pub(crate) fn pinned_files(&self) -> impl Iterator<Item = u64> + '_ {
        let from = self.covered.max(self.floor);
        self.pieces.iter().rev().take_while(move |piece| piece.end > from).map(|piece| piece.file)
    }

    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    pub(crate) fn covered(&self) -> Offset {
        self.covered
    }

    pub(crate) fn floor(&self) -> Offset {
        self.floor
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// The entries of the open file that reach past `from`. What was evicted stays until the file is
    /// sealed, for its footer has no gaps.
    fn open_from(&self, from: Offset) -> &[Entry] {
        &self.open[self.open.place_of(from)..]
    }

    /// First offset that is here; the end when nothing is.
    pub(crate) fn local_start(&self) -> Offset {
        let in_pieces = self.pieces.front().map(|piece| piece.start);
        let in_open = self.open_from(self.floor).first().map(|entry| entry.base_offset);
        let first = match (in_pieces, in_open) {
            (Some(a), Some(b)) => a.min(b),
            (Some(a), None) | (None, Some(a)) => a,
            (None, None) => self.end,
        };
        first.max(self.floor)
    }

    /// The partition is known to end at `end`, whether its last batches are here or not.
    pub(crate) fn raise_end(&mut self, end: Offset) {
        self.is_scattered |= end > self.end;
        self.end = self.end.max(end);
    }

    /// A frame of this partition became durable.
    pub(crate) fn apply(
        &mut self,
        frame: &FrameHeader,
        file: u64,
        position: u64,
        batch: Option<&Bytes>,
    ) -> Added {
        let entry = Entry {
            base_offset: frame.base_offset,
            max_timestamp: frame.max_timestamp,
            append_time: frame.append_time,
            position: position as u32,
            payload_bytes: frame.payload_bytes,
            count: frame.count,
            epoch: frame.epoch,
        };
        match frame.kind {
            FrameKind::Batch if frame.copy => Added { entry: true, span: self.insert_copy(file, entry) },
            FrameKind::Batch => Added { entry: true, span: self.push(file, entry, batch) },
            FrameKind::Truncate => {
                self.truncate(frame.base_offset);
                Added::default()
            }
            FrameKind::Trim => {
                self.raise_floor(frame.base_offset);
                Added::default()
            }
            FrameKind::EpochStart | FrameKind::Checkpoint | FrameKind::CheckpointEnd => Added::default(),
        }
    }

    /// Appends a batch to the open file. Returns whether it begins a span.
    fn push(&mut self, file: u64, entry: Entry, batch: Option<&Bytes>) -> bool {
        if entry.base_offset < self.end {
            // The owner of the partition truncates before it rewrites; if it did not, the newer wins.
            self.truncate(entry.base_offset);
        }
        if entry.base_offset != self.end {
            self.clear_tail();
            self.is_scattered = true;
        }
        self.open_file = file;
        let begins = self.open.last().is_none_or(|last| last.next_offset() != entry.base_offset);
        self.end = entry.next_offset();
        match batch {
            Some(batch) => {
                let next = entry.next_offset();
                let newest = TailBatch { base: entry.base_offset, next, bytes: batch.clone() };
                self.tail_bytes += newest.cost();
                self.tail.push_back(newest);
            }
            // The tail has no gaps.
            None => self.clear_tail(),
        }
        self.open.push(entry);
        begins
    }

    /// Takes in a copy of a batch that an older file has too. Returns whether it may begin a span.
    fn insert_copy(&mut self, file: u64, entry: Entry) -> bool {
        self.open_file = file;
        let at = self.open.place_of(entry.base_offset);
        let overlaps = self.open.get(at).is_some_and(|other| other.base_offset < entry.next_offset());
        if overlaps || entry.next_offset() <= self.floor {
            return false;
        }
        self.end = self.end.max(entry.next_offset());
        self.is_scattered = true;
        self.open.insert(at, entry);
        true
    }

    /// Adds a piece of a sealed file; where older ones overlap, the new one counts.
    pub(crate) fn insert_piece(&mut self, piece: Piece) {
        self.is_scattered |= piece.start != self.end;
        self.end = self.end.max(piece.end);
        if piece.end <= self.floor {
            return;
        }
        if self.pieces.back().is_none_or(|last| last.end <= piece.start) {
            self.pieces.push_back(piece);
            return;
        }
        let mut kept = VecDeque::with_capacity(self.pieces.len() + 2);
        for old in self.pieces.drain(..) {
            if old.start < piece.start {
                kept.push_back(Piece { end: old.end.min(piece.start), ..old });
            }
            if old.end > piece.end {
                kept.push_back(Piece { start: old.start.max(piece.end), ..old });
            }
        }
        let at = kept.partition_point(|other| other.start < piece.start);
        kept.insert(at, piece);
        self.pieces = kept;
    }

    pub(crate) fn truncate(&mut self, end: Offset) {
        while self.pieces.back().is_some_and(|piece| piece.start >= end) {
            self.pieces.pop_back();
        }
        if let Some(last) = self.pieces.back_mut() {
            last.end = last.end.min(end);
        }
        self.open.truncate(end);
        while self.tail.back().is_some_and(|batch| batch.next > end) {
            let batch = self.tail.pop_back().expect("there is a last one");
            self.tail_bytes -= batch.cost();
        }
        self.end = self.end.min(end);
    }

    pub(crate) fn raise_floor(&mut self, floor: Offset) {
        if floor <= self.floor {
            return;
        }
        self.floor = floor;
        self.end = self.end.max(floor);
        while self.pieces.front().is_some_and(|piece| piece.end <= floor) {
            self.pieces.pop_front();
        }
        while self.tail.front().is_some_and(|batch| batch.next <= floor) {
            self.pop_tail();
        }
        self.shrink_tail();
    }

    pub(crate) fn set_covered(&mut self, covered: Offset, cache: &IndexCache) {
        if covered <= self.covered {
            return;
        }
        self.covered = covered;
        self.uncovered_since = None;
        self.skip_gaps();
        let at = self.pieces.partition_point(|piece| piece.end <= covered);
        let Some(piece) = self.pieces.get(at) else { return };
        if piece.start < covered
            && let Some(entries) = cache.get(piece.file, piece.first_entry)
        {
            let first = entries.partition_point(|entry| entry.next_offset() <= covered);
            self.uncovered_since = entries.get(first).map(|entry| entry.append_time);
        }
    }

    /// What lies before a gap is not served if the bucket has it, and the gap: what is here has none.
    /// Gaps come about when files go that are newer than a copy out of an older one.
    fn skip_gaps(&mut self) {
        if !self.is_scattered {
            return;
        }
        let open = self.open.iter().map(|entry| (entry.base_offset, entry.next_offset()));
        let mut held: Vec<_> = self.pieces.iter().map(|piece| (piece.start, piece.end)).chain(open).collect();
        held.sort_unstable();
        let mut next = held.first().map_or(self.end, |(start, _)| *start);
        let mut gaps = 0;
        let mut floor = self.floor;
        for (start, end) in held.into_iter().chain([(self.end, self.end)]) {
            if start > next {
                gaps += 1;
                if start <= self.covered {
                    floor = floor.max(start);
                }
            }
            next = next.max(end);
        }
        self.is_scattered = gaps > 0;
        self.raise_floor(floor);
    }

    /// Drops the oldest batch of the tail if it is the one at `base`. Returns what that freed.
    pub(crate) fn drop_from_tail(&mut self, base: Offset) -> usize {
        if self.tail.front().is_none_or(|batch| batch.base != base) {
            return 0;
        }
        let before = self.tail_bytes;
        self.pop_tail();
        self.shrink_tail();
        before - self.tail_bytes
    }

    fn pop_tail(&mut self) {
        if let Some(batch) = self.tail.pop_front() {
            self.tail_bytes -= batch.cost();
        }
    }

    fn clear_tail(&mut self) {
        self.tail.clear();
        self.tail_bytes = 0;
    }

    /// Thousands of idle partitions must not keep the room that a busy hour took.
    fn shrink_tail(&mut self) {
        if self.tail.is_empty() && self.tail.capacity() > 0 {
            self.tail = VecDeque::new();
        }
    }

    pub(crate) fn find(&self, wanted: Range<Offset>, max_bytes: usize) -> Found {
        if wanted.start < self.local_start() || wanted.start >= self.end {
            return Found::NotLocal;
        }
        if self.tail.front().is_none_or(|batch| batch.base > wanted.start) {
            return self.find_on_disk(wanted, max_bytes);
        }
        let at = self.tail.partition_point(|batch| batch.next <= wanted.start);
        let mut bytes = 0;
        let batches = self
            .tail
            .range(at..)
            .take_while(|batch| batch.next <= wanted.end)
            .take_while(|batch| fits(&mut bytes, batch.bytes.len(), max_bytes))
            .map(|batch| batch.bytes.clone());
        Found::Memory(batches.collect())
    }

    /// The same without the tail.
    pub(crate) fn find_on_disk(&self, wanted: Range<Offset>, max_bytes: usize) -> Found {
        if wanted.start < self.local_start() || wanted.start >= self.end {
            return Found::NotLocal;
        }
        let at = self.open.place_of(wanted.start);
        if self.open.get(at).is_some_and(|entry| entry.base_offset <= wanted.start) {
            return Found::Open(self.open_file, select(&self.open[at..], wanted.end, max_bytes));
        }
        let at = self.pieces.partition_point(|piece| piece.end <= wanted.start);
        match self.pieces.get(at) {
            Some(piece) if piece.start <= wanted.start => Found::Piece(*piece),
            _ => Found::Hole,
        }
    }

    pub(crate) fn timestamp_candidates(&self, timestamp: TimestampMs, wanted: &Range<Offset>) -> Vec<Found> {
        let mut candidates: Vec<(Offset, Found)> = Vec::new();
        let wanted = &(wanted.start.max(self.floor)..wanted.end);
        for piece in &self.pieces {
            if piece.max_timestamp >= timestamp && piece.end > wanted.start && piece.start < wanted.end {
                candidates.push((piece.start, Found::Piece(*piece)));
            }
        }
        for run in self.open_from(wanted.start).chunk_by(|a, b| a.next_offset() == b.base_offset) {
            let first = run.iter().find(|entry| is_candidate(entry, timestamp, wanted));
            if let Some(entry) = first {
                candidates.push((entry.base_offset, Found::Open(self.open_file, vec![*entry])));
            }
        }
        candidates.sort_by_key(|(start, _)| *start);
        candidates.into_iter().map(|(_, found)| found).collect()
    }

    /// Whether any batch is here.
    pub(crate) fn has_batches(&self) -> bool {
        !self.pieces.is_empty() || !self.open_from(self.floor).is_empty()
    }

    pub(crate) fn local(&self) -> Option<Local> {
        if !self.has_batches() {
            return None;
        }
        let start = self.local_start();
        let uncovered_from = self.covered.max(start);
        let uncovered_open = self.open.place_of(uncovered_from);
        let sealed = |from| self.pieces.iter().map(|piece| piece.bytes_from(from)).sum::<u64>();
        Some(Local {
            start,
            end: self.end,
            bytes: sealed(start) + self.open.bytes_from(self.open.place_of(start)),
            uncovered_bytes: sealed(uncovered_from) + self.open.bytes_from(uncovered_open),
            oldest_uncovered_append: self.oldest_append(uncovered_from, &self.open[uncovered_open..]),
        })
    }

    fn oldest_append(&self, from: Offset, open: &[Entry]) -> Option<TimestampMs> {
        let at = self.pieces.partition_point(|piece| piece.end <= from);
        let in_pieces = self.pieces.get(at).map(|piece| match self.uncovered_since {
            Some(exact) if from == self.covered => exact,
            _ => piece.append_time_at(from),
        });
        in_pieces.into_iter().chain(open.first().map(|entry| entry.append_time)).min()
    }

    pub(crate) fn pieces_in(&self, file: u64) -> impl Iterator<Item = Piece> {
        self.pieces.iter().filter(move |piece| piece.file == file).copied()
    }

    pub(crate) fn is_in_open(&self, file: u64) -> bool {
        self.open_file == file && !self.open.is_empty()
    }

    pub(crate) fn open_entries(&self, file: u64) -> &[Entry] {
        if self.open_file == file { &self.open } else { &[] }
    }

    pub(crate) fn add_open_use(&self, file: u64, usage: &mut OpenUse) {
        if self.open_file != file {
            return;
        }
        let open = self.open_from(self.floor);
        let Some((first, last)) = open.first().zip(open.last()) else { return };
        usage.wanted = true;
        usage.uncovered |= last.next_offset() > self.covered;
        let oldest = usage.oldest_append.get_or_insert(first.append_time);
        *oldest = first.append_time.min(*oldest);
    }

    /// Drops every piece in a file. Returns whether there was one.
    pub(crate) fn forget_file(&mut self, file: u64) -> bool {
        let before = self.pieces.len();
        self.pieces.retain(|piece| piece.file != file);
        if self.pieces.is_empty() {
            self.pieces.shrink_to_fit();
        }
        if before != self.pieces.len() {
            self.is_scattered = true;
            self.skip_gaps();
        }
        before != self.pieces.len()
    }

    /// The open file was sealed, with these spans of the partition in its footer.
    pub(crate) fn seal(&mut self, file: u64, spans: &[Span]) {
        if self.open_file != file || self.open.is_empty() {
            return;
        }
        self.open = OpenEntries::default();
        for span in spans {
            self.insert_piece(Piece::new(file, span));
        }
    }
}

/// Whether one more batch goes into an answer: the first always, then as many as fit.
fn fits(total: &mut usize, bytes: usize, max_bytes: usize) -> bool {
    let first = *total == 0;
    *total = total.saturating_add(bytes);
    first || *total <= max_bytes
}

/// The entries of an answer, from the first of `entries` on: without a gap, all below `up_to`.
pub(crate) fn select(entries: &[Entry], up_to: Offset, max_bytes: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let mut next = entries.first().map(|entry| entry.base_offset);
    entries
        .iter()
        .take_while(|entry| next.replace(entry.next_offset()) == Some(entry.base_offset))
        .take_while(|entry| entry.next_offset() <= up_to)
        .take_while(|entry| fits(&mut bytes, entry.payload_bytes as usize, max_bytes))
        .copied()
        .collect()
}

pub(crate) fn is_candidate(entry: &Entry, timestamp: TimestampMs, wanted: &Range<Offset>) -> bool {
    entry.max_timestamp >= timestamp && entry.next_offset() > wanted.start && entry.base_offset < wanted.end
}
