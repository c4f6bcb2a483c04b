//! Reading batches back: whole blocks around the page cache, neighbours in one go, every byte
//! checked before anybody sees it. A few threads do it, each with a buffer of its own.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use parking_lot::{Condvar, Mutex};
use tidelog_format::journal::{
    BLOCK_BYTES, ENTRY_BYTES, Entry, FRAME_HEADER_BYTES, FrameHeader, FrameKind, Span, align_up, read_entries,
};
use tidelog_model::{Offset, TimestampMs, TopicPartition};
use tokio::sync::{Semaphore, oneshot};

use crate::aligned::AlignedBuf;
use crate::error::ReadError;
use crate::files::JournalFile;
use crate::index::{IndexCache, Piece, Source, is_candidate, select};
use crate::recovery::find_entries;

/// A thread's buffer, and so the most that is read at once, single larger batches aside.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Bytes between two wanted frames that are cheaper read than skipped.
const GAP_BYTES_MAX: u64 = 64 * 1024;

/// What one read returns at most, a single larger batch aside.
pub(crate) const READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads that may be waiting for a thread; more wait before they are planned.
const READS_QUEUED_MAX: usize = 1024;

/// Reads frames and index blocks; for use on threads that may block.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: AlignedBuf,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        Self { buffer: AlignedBuf::new(BUFFER_BYTES) }
    }

    /// The batches from `wanted.start` on that `source` holds.
    pub(crate) fn batches(
        &mut self,
        cache: &IndexCache,
        partition: TopicPartition,
        source: &Source,
        wanted: &Range<Offset>,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let (file, entries) = match source {
            Source::Frames(file, entries) => (file, entries.clone()),
            Source::Piece(file, piece) => {
                let entries = self.entries(cache, file, partition, piece)?;
                let at = entries.partition_point(|entry| entry.next_offset() <= wanted.start);
                (file, select(&entries[at..], wanted.end.min(piece.end), max_bytes))
            }
            Source::Memory(_) | Source::NotLocal { .. } | Source::Hole => return Ok(Vec::new()),
        };
        let entries: Vec<_> = entries.into_iter().map(|entry| (partition, entry)).collect();
        let mut batches = Vec::with_capacity(entries.len());
        self.frames(file, &entries, &mut |_, batch| batches.push(batch))?;
        Ok(batches)
    }

    /// The first batch in `source` that may hold a record of `timestamp` or later.
    pub(crate) fn candidate(
        &mut self,
        cache: &IndexCache,
        partition: TopicPartition,
        source: &Source,
        timestamp: TimestampMs,
        wanted: &Range<Offset>,
    ) -> Result<Option<Offset>, ReadError> {
        let entries = match source {
            Source::Frames(_, entries) => return Ok(entries.first().map(|entry| entry.base_offset)),
            Source::Piece(file, piece) => self.entries(cache, file, partition, piece)?,
            Source::Memory(_) | Source::NotLocal { .. } | Source::Hole => return Ok(None),
        };
        let found = entries.iter().find(|entry| is_candidate(entry, timestamp, wanted));
        Ok(found.map(|entry| entry.base_offset))
    }

    /// The index of a piece, from the cache or the file's footer.
    pub(crate) fn entries(
        &mut self,
        cache: &IndexCache,
        file: &JournalFile,
        partition: TopicPartition,
        piece: &Piece,
    ) -> Result<Arc<[Entry]>, ReadError> {
        if let Some(entries) = cache.get(piece.file, piece.first_entry) {
            return Ok(entries);
        }
        let trailer = file.trailer().expect("pieces are in sealed files");
        let position = trailer.entry_position(piece.first_entry);
        let bytes = self.bytes(file, position, piece.entries as usize * ENTRY_BYTES)?;
        let entries: Arc<[Entry]> = match read_entries(&span_of(partition, piece), file.salt, bytes) {
            Ok(entries) => entries.into(),
            Err(error) => {
                tracing::warn!(path = %file.path.display(), position, %error, "searching a journal file without its index");
                let found =
                    find_entries(file, partition, piece.whole()).map_err(|source| failed(file, source))?;
                found.ok_or_else(|| corrupt(file, position, partition, piece.start, &error))?.into()
            }
        };
        cache.put(piece.file, piece.first_entry, &entries);
        Ok(entries)
    }

    /// Reads frames of a file, given in order of their positions.
    pub(crate) fn frames(
        &mut self,
        file: &JournalFile,
        wanted: &[(TopicPartition, Entry)],
        emit: &mut dyn FnMut(TopicPartition, Bytes),
    ) -> Result<(), ReadError> {
        let mut rest = wanted;
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest));
            self.run(file, run, emit)?;
            rest = after;
        }
        Ok(())
    }

    /// Reads neighbouring frames in one go.
    fn run(
        &mut self,
        file: &JournalFile,
        run: &[(TopicPartition, Entry)],
        emit: &mut dyn FnMut(TopicPartition, Bytes),
    ) -> Result<(), ReadError> {
        let start = u64::from(run[0].1.position);
        let bytes = self.bytes(file, start, (end_of(&run[run.len() - 1].1) - start) as usize)?;
        let total = run.iter().map(|(_, entry)| entry.payload_bytes as usize).sum();
        let mut out = BytesMut::with_capacity(total);
        for (partition, entry) in run {
            let position = u64::from(entry.position);
            let at = (position - start) as usize;
            let frame = &bytes[at..at + FRAME_HEADER_BYTES + entry.payload_bytes as usize];
            let (header, _, payload) = FrameHeader::verify(frame, file.salt, position)
                .map_err(|error| corrupt(file, position, *partition, entry.base_offset, &error))?;
            if !is_entry(&header, *partition, entry) {
                let reason = "another frame is in its place";
                return Err(corrupt(file, position, *partition, entry.base_offset, &reason));
            }
            out.extend_from_slice(payload);
            emit(*partition, out.split().freeze());
        }
        Ok(())
    }

    /// `count` bytes at `position`, read as whole blocks.
    fn bytes(&mut self, file: &JournalFile, position: u64, count: usize) -> Result<&[u8], ReadError> {
        let block = BLOCK_BYTES as u64;
        let start = position / block * block;
        let blocks = (align_up(position + count as u64) - start) as usize;
        if blocks > self.buffer.len() {
            self.buffer = AlignedBuf::new(blocks);
        } else if self.buffer.len() > BUFFER_BYTES && blocks <= BUFFER_BYTES {
            // A large batch made it grow; it does not stay so.
            self.buffer = AlignedBuf::new(BUFFER_BYTES);
        }
        let target = &mut self.buffer[..blocks];
        file.disk.read(target, start).map_err(|source| failed(file, source))?;
        let at = (position - start) as usize;
        Ok(&self.buffer[at..at + count])
    }
}

fn end_of(entry: &Entry) -> u64 {
    u64::from(entry.position) + FRAME_HEADER_BYTES as u64 + u64::from(entry.payload_bytes)
}

/// How many of these frames, in order of positions, are read at once.
fn run_length(frames: &[(TopicPartition, Entry)]) -> usize {
    let room = (BUFFER_BYTES - 2 * BLOCK_BYTES) as u64;
    let start = u64::from(frames[0].1.position);
    let mut end = end_of(&frames[0].1);
    let more = frames[1..].iter().take_while(|(_, entry)| {
        let near = u64::from(entry.position).checked_sub(end).is_some_and(|gap| gap <= GAP_BYTES_MAX);
        end = end_of(entry);
        near && end - start <= room
    });
    1 + more.count()
}

fn is_entry(header: &FrameHeader, partition: TopicPartition, entry: &Entry) -> bool {
    header.kind == FrameKind::Batch
        && header.partition == partition
        && header.base_offset == entry.base_offset
        && header.count == entry.count
}

fn span_of(partition: TopicPartition, piece: &Piece) -> Span {
    Span {
        partition,
        start: piece.start,
        end: piece.end,
        bytes: 0,
        max_timestamp: piece.max_timestamp,
        first_append: piece.first_append,
        last_append: piece.last_append,
        entries: piece.entries,
        first_entry: piece.first_entry,
        checksum: piece.checksum,
    }
}

fn corrupt(
    file: &JournalFile,
    position: u64,
    partition: TopicPartition,
    offset: Offset,
    reason: &dyn std::fmt::Display,
) -> ReadError {
    ReadError::Corrupt { path: file.path.clone(), position, partition, offset, reason: reason.to_string() }
}

fn failed(file: &JournalFile, source: io::Error) -> ReadError {
    ReadError::Io { path: file.path.clone(), source: Arc::new(source) }
}

type Job = Box<dyn FnOnce(&mut FrameReader) + Send>;

/// The threads that read for async callers.
pub(crate) struct Readers {
    jobs: Arc<Jobs>,
    permits: Semaphore,
}

#[derive(Default)]
struct Jobs {
    state: Mutex<JobState>,
    added: Condvar,
}

#[derive(Default)]
struct JobState {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Readers {
    pub(crate) fn new() -> Self {
        Self { jobs: Arc::default(), permits: Semaphore::new(READS_QUEUED_MAX) }
    }

    pub(crate) fn start(&self, threads: usize) -> io::Result<Vec<JoinHandle<()>>> {
        (0..threads)
            .map(|number| {
                let jobs = Arc::clone(&self.jobs);
                let work = move || {
                    let mut reader = FrameReader::new();
                    while let Some(job) = jobs.next() {
                        job(&mut reader);
                    }
                };
                std::thread::Builder::new().name(format!("journal-read-{number}")).spawn(work)
            })
            .collect()
    }

    /// Runs `read` on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut FrameReader) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let _permit = self.permits.acquire().await.map_err(|_| ReadError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.jobs.push(Box::new(move |reader| {
            // Nobody reads for a caller that has gone.
            if !answer.is_closed() {
                let _ = answer.send(read(reader));
            }
        }));
        answered.await.unwrap_or(Err(ReadError::Closed))
    }

    pub(crate) fn close(&self) {
        self.permits.close();
        let mut state = self.jobs.state.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.jobs.added.notify_all();
    }
}

impl Jobs {
    fn push(&self, job: Job) {
        let mut state = self.state.lock();
        if !state.closed {
            state.waiting.push_back(job);
            drop(state);
            self.added.notify_one();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            self.added.wait(&mut state);
        }
    }
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readers").field("permits", &self.permits).finish_non_exhaustive()
    }
}
