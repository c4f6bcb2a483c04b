//! Histories as JSON lines: a header, then one event a line. See `docs/formats/history.md`.

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Event, History, Log, Op, TopicName};

/// The version that is written, and the newest that is read.
pub const VERSION: u32 = 1;

const FORMAT: &str = "tidelog-history";

/// A line is one event; the longest is a read of many records.
const LINE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: Box<str>,
    pub version: u32,
    /// What was run, for people.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub title: Box<str>,
    /// How long after the last fault is healed every log has to be readable and writable again.
    /// Absent: that is not checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_ms: Option<u64>,
}

impl Default for Header {
    fn default() -> Self {
        Self { format: FORMAT.into(), version: VERSION, title: Box::default(), recovery_ms: None }
    }
}

/// A history that cannot be read.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("reading a history: {0}")]
    Io(#[from] io::Error),
    #[error("line {line} of the history: {error}")]
    Line { line: usize, error: serde_json::Error },
    #[error("line {line} of the history is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { line: usize },
    #[error("not a history: the first line says {0:?}")]
    Format(Box<str>),
    #[error("the history is of version {0}, and this reads up to {VERSION}")]
    Newer(u32),
    #[error("the history is empty")]
    Empty,
}

impl FileError {
    /// The same file stays as it is; only reading it may succeed another time.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io(_))
    }
}

/// Reads a whole history.
pub fn read(mut source: impl BufRead) -> Result<History, FileError> {
    let mut names = Names::default();
    let mut line = Vec::new();
    if !next_line(&mut source, &mut line, 1)? {
        return Err(FileError::Empty);
    }
    let header: Header = serde_json::from_slice(&line).map_err(|error| FileError::Line { line: 1, error })?;
    if &*header.format != FORMAT {
        return Err(FileError::Format(header.format));
    }
    if header.version > VERSION {
        return Err(FileError::Newer(header.version));
    }
    let mut events = Vec::new();
    for number in 2.. {
        if !next_line(&mut source, &mut line, number)? {
            break;
        }
        let mut event: Event =
            serde_json::from_slice(&line).map_err(|error| FileError::Line { line: number, error })?;
        names.share(&mut event.op);
        events.push(event);
    }
    Ok(History { header, events })
}

/// The next line, without its end; false when there is none.
fn next_line(source: &mut impl BufRead, line: &mut Vec<u8>, number: usize) -> Result<bool, FileError> {
    line.clear();
    let read = source.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line)?;
    if read as u64 == LINE_BYTES_MAX {
        return Err(FileError::TooLong { line: number });
    }
    Ok(read > 0)
}

/// Writes a history event by event, so that what was recorded survives whoever records it.
#[derive(Debug)]
pub struct Writer<W: Write> {
    sink: W,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn new(mut sink: W, header: &Header) -> io::Result<Self> {
        write_line(&mut sink, header)?;
        Ok(Self { sink })
    }

    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        write_line(&mut self.sink, event)
    }

    /// Flushes, and gives the sink back.
    pub fn finish(mut self) -> io::Result<W> {
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn write_line(sink: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *sink, value)?;
    sink.write_all(b"\n")
}

impl History {
    /// Writes the whole of it.
    pub fn write<W: Write>(&self, sink: W) -> io::Result<W> {
        let mut writer = Writer::new(sink, &self.header)?;
        self.events.iter().try_for_each(|event| writer.write(event))?;
        writer.finish()
    }
}

/// Every topic's name once in memory, however many events have it.
#[derive(Default)]
struct Names(HashSet<TopicName>);

impl Names {
    fn share(&mut self, op: &mut Op) {
        match op {
            Op::Topic(rules) => self.name(&mut rules.topic),
            Op::Produce(produce) => self.log(&mut produce.log),
            Op::Poll(poll) | Op::FinalDrain(poll) => self.log(&mut poll.log),
            Op::ListOffsets(list) => self.log(&mut list.log),
            Op::CaughtUp(place) | Op::Seek(place) | Op::DeleteRecords(place) => self.log(&mut place.log),
            Op::Marks { log, .. } => self.log(log),
            Op::Assign(assign) => assign.logs.iter_mut().for_each(|log| self.log(log)),
            Op::CommitOffsets(commit) => commit.offsets.iter_mut().for_each(|(log, _)| self.log(log)),
            Op::FetchOffsets { offsets, .. } => offsets.iter_mut().for_each(|(log, _)| self.log(log)),
            Op::Begin { .. }
            | Op::Commit { .. }
            | Op::Abort { .. }
            | Op::FaultStart { .. }
            | Op::FaultHeal { .. } => {}
        }
    }

    fn log(&mut self, log: &mut Log) {
        self.name(&mut log.topic);
    }

    fn name(&mut self, name: &mut TopicName) {
        match self.0.get(name) {
            Some(known) => *name = known.clone(),
            None => {
                self.0.insert(name.clone());
            }
        }
    }
}
