//! Reading for the bucket: many partitions in one pass over the files, in journal order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::journal::Entry;
use tidelog_model::{Offset, TopicPartition};
use tokio::sync::mpsc;

use crate::error::ReadError;
use crate::files::JournalFile;
use crate::index::Source;
use crate::journal::Shared;
use crate::read::FrameReader;

/// Parts that are read ahead of the consumer.
const PARTS_AHEAD: usize = 4;

/// How many bytes of batches are handed over together.
const PART_BYTES: usize = 1024 * 1024;

type Item = Result<(TopicPartition, Bytes), ReadError>;

/// Batches of several partitions, each partition's in order, up to the one that reaches the end of what
/// is wanted. Leaves the caches of newest batches alone. Ends early when it is dropped.
#[derive(Debug)]
pub struct Scan {
    parts: mpsc::Receiver<Vec<Item>>,
    part: std::vec::IntoIter<Item>,
}

impl Scan {
    /// Starts reading `wanted`. What a partition does not have here shows as an error for it; the
    /// others go on.
    pub(crate) fn start(shared: Arc<Shared>, wanted: Vec<(TopicPartition, Range<Offset>)>) -> Self {
        let (sender, parts) = mpsc::channel(PARTS_AHEAD);
        let work = move || {
            let wanted = wanted.into_iter().filter(|(_, range)| !range.is_empty()).collect();
            Pass { shared, wanted, sender, part: Vec::new(), part_bytes: 0 }.run();
        };
        if let Err(error) = std::thread::Builder::new().name("journal-scan".to_owned()).spawn(work) {
            tracing::warn!(%error, "no thread for a scan of the journal");
        }
        Self { parts, part: Vec::new().into_iter() }
    }

    /// The next batch; `None` when everything that was wanted has come or failed.
    pub async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.part.next() {
                return Some(item);
            }
            self.part = self.parts.recv().await?.into_iter();
        }
    }
}

/// The consumer has gone.
struct Gone;

struct Pass {
    shared: Arc<Shared>,
    /// What is still to come.
    wanted: BTreeMap<TopicPartition, Range<Offset>>,
    sender: mpsc::Sender<Vec<Item>>,
    part: Vec<Item>,
    part_bytes: usize,
}

impl Pass {
    fn run(mut self) {
        let mut reader = FrameReader::new();
        // One pass is enough unless old batches were copied behind newer ones.
        while !self.wanted.is_empty() {
            let before: u64 = self.wanted.values().map(|range| range.end.since(range.start)).sum();
            if self.pass(&mut reader).is_err() {
                return;
            }
            let after: u64 = self.wanted.values().map(|range| range.end.since(range.start)).sum();
            if before == after {
                break;
            }
        }
        let missing = std::mem::take(&mut self.wanted);
        for (partition, range) in missing {
            let error = self.missing(partition, range.start);
            if self.put(Err(error), 0).is_err() {
                return;
            }
        }
        // Nobody may be listening any more.
        let _ = self.flush();
    }

    fn pass(&mut self, reader: &mut FrameReader) -> Result<(), Gone> {
        for file in self.shared.files.all() {
            let mut frames = self.frames_in(&file, reader)?;
            frames.sort_unstable_by_key(|(_, entry)| entry.position);
            self.read(&file, &frames, reader)?;
            if self.wanted.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// What the file holds of that which is wanted next of each partition.
    fn frames_in(
        &mut self,
        file: &Arc<JournalFile>,
        reader: &mut FrameReader,
    ) -> Result<Vec<(TopicPartition, Entry)>, Gone> {
        let mut frames = Vec::new();
        let wanted: Vec<_> = self.wanted.iter().map(|(tp, range)| (*tp, range.clone())).collect();
        for (partition, mut range) in wanted {
            let mut position = 0;
            // A file may hold several runs of a partition. Copies of older batches lie behind newer
            // ones: what comes next but lies before is for another pass.
            while let Some(source) = self.shared.index.in_file(
                &self.shared.files,
                partition,
                file.sequence,
                range.start..Offset::MAX,
            ) {
                match entries_of(&source, &self.shared, partition, &range, reader) {
                    Ok(entries) => {
                        let ascending = entries.iter().take_while(|entry| {
                            std::mem::replace(&mut position, entry.position) < entry.position
                        });
                        let count = ascending.count();
                        let Some(last) = entries[..count].last() else { break };
                        range.start = last.next_offset();
                        frames.extend(entries[..count].iter().map(|entry| (partition, *entry)));
                        if count < entries.len() {
                            break;
                        }
                    }
                    Err(error) => {
                        self.wanted.remove(&partition);
                        self.put(Err(error), 0)?;
                        break;
                    }
                }
                if range.is_empty() {
                    break;
                }
            }
        }
        Ok(frames)
    }

    fn read(
        &mut self,
        file: &JournalFile,
        frames: &[(TopicPartition, Entry)],
        reader: &mut FrameReader,
    ) -> Result<(), Gone> {
        let mut rest = frames;
        while !rest.is_empty() {
            let mut bytes = 0;
            let count = rest.iter().take_while(|(_, entry)| {
                let first = bytes == 0;
                bytes += entry.payload_bytes as usize;
                first || bytes <= PART_BYTES
            });
            let (now, later) = rest.split_at(count.count());
            let now: Vec<_> =
                now.iter().filter(|(partition, _)| self.wanted.contains_key(partition)).copied().collect();
            self.read_part(file, &now, reader)?;
            rest = later;
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        file: &JournalFile,
        frames: &[(TopicPartition, Entry)],
        reader: &mut FrameReader,
    ) -> Result<(), Gone> {
        let mut batches = Vec::with_capacity(frames.len());
        let outcome = reader.frames(file, frames, &mut |_, batch| batches.push(batch));
        let read = batches.len();
        for ((partition, entry), batch) in frames.iter().zip(batches) {
            self.advance(*partition, entry.next_offset());
            let bytes = batch.len();
            self.put(Ok((*partition, batch)), bytes)?;
        }
        let Err(error) = outcome else { return Ok(()) };
        // One frame cannot be read: its partition ends here, the others go on behind it.
        let (failed, _) = frames[read];
        self.wanted.remove(&failed);
        self.put(Err(error), 0)?;
        let rest: Vec<_> =
            frames[read..].iter().filter(|(partition, _)| *partition != failed).copied().collect();
        self.read_part(file, &rest, reader)
    }

    fn advance(&mut self, partition: TopicPartition, next: Offset) {
        if let Some(range) = self.wanted.get_mut(&partition) {
            range.start = next;
            if range.is_empty() {
                self.wanted.remove(&partition);
            }
        }
    }

    fn missing(&self, partition: TopicPartition, offset: Offset) -> ReadError {
        match self.shared.index.locate(&self.shared.files, partition, offset..Offset::MAX, 1) {
            Source::NotLocal { start, end } => ReadError::NotLocal { partition, offset, start, end },
            _ => ReadError::Quarantined { partition, offset },
        }
    }

    fn put(&mut self, item: Item, bytes: usize) -> Result<(), Gone> {
        self.part.push(item);
        self.part_bytes += bytes;
        if self.part_bytes >= PART_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.part_bytes = 0;
        let part = std::mem::take(&mut self.part);
        if part.is_empty() { Ok(()) } else { self.sender.blocking_send(part).map_err(|_| Gone) }
    }
}

fn entries_of(
    source: &Source,
    shared: &Shared,
    partition: TopicPartition,
    wanted: &Range<Offset>,
    reader: &mut FrameReader,
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = match source {
        Source::Frames(_, entries) => entries.clone(),
        Source::Piece(file, piece) => {
            let entries = reader.entries(&shared.index.cache, file, partition, piece)?;
            let at = entries.partition_point(|entry| entry.next_offset() <= wanted.start);
            crate::index::select(&entries[at..], piece.end, usize::MAX)
        }
        Source::Memory(_) | Source::NotLocal { .. } | Source::Hole => Vec::new(),
    };
    // Batches come whole: the last one may reach past the end that was asked for.
    entries.truncate(entries.partition_point(|entry| entry.base_offset < wanted.end));
    Ok(entries)
}
