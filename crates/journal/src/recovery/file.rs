//! One file of a journal that is being opened.

use std::io;
use std::sync::Arc;

use tidelog_format::journal::{
    BLOCK_BYTES, CheckpointEnd, FileHeader, Footer, FormatError, FrameKind, GROUP_HEADER_BYTES, GroupHeader,
    PartitionCheckpoint, Trailer, align_up, decode_incarnation,
};
use tidelog_format::state::EpochEntry;

use super::Recovery;
use super::walk::{BadFrame, GoodFrame, Walk};
use crate::aligned::AlignedBuf;
use crate::config::JournalConfig;
use crate::disk::{self, Disk};
use crate::error::OpenError;
use crate::files::{self, Bin, JournalFile};
use crate::seal::seal;
use crate::writer::{GroupWriter, OpenFile};

/// Blocks are rewritten in parts of this size.
const REWRITE_BYTES: usize = 1024 * 1024;

/// A file with a sound header.
pub(super) struct Found {
    pub(super) file: Arc<JournalFile>,
    /// None when the file was not sealed, or its footer is damaged.
    pub(super) footer: Option<Footer>,
    /// Where the groups of the file before it end, if this file says so.
    pub(super) previous_end: Option<u64>,
}

impl Found {
    pub(super) fn open(config: &JournalConfig, sequence: u64, bin: &Arc<Bin>) -> Result<Self, OpenError> {
        let path = files::path_of(&config.dir, sequence);
        let io = |source| OpenError::Io { what: "opening", path: path.clone(), source };
        let disk = Disk::open(&path, config.direct).map_err(io)?;
        disk.drop_cache();
        let bytes = disk.bytes().map_err(io)?;
        let mut block = AlignedBuf::new(BLOCK_BYTES);
        disk.read_up_to_end(&mut block, 0).map_err(io)?;
        let corrupt =
            |reason: String| OpenError::Corrupt { path: path.clone(), position: 0, partition: None, reason };
        let header = match FileHeader::decode(&block) {
            Ok(header) if header.sequence == sequence => header,
            Ok(header) => return Err(corrupt(format!("it is file {} under a wrong name", header.sequence))),
            Err(FormatError::Version { found, supported }) => {
                return Err(OpenError::NewerFormat { path, found, supported });
            }
            Err(error) => return Err(corrupt(error.to_string())),
        };
        let footer = read_footer(&disk, &header, bytes).map_err(io)?;
        let file = JournalFile::new(&header, path.clone(), disk, bytes, bin);
        let previous_end = match &footer {
            Some(footer) => Some(footer.trailer.previous_end),
            None => {
                Walk::new(&file.disk, file.salt, bytes).group().map_err(io)?.map(|group| group.previous_end)
            }
        };
        // Zero: the file stands in for one that could not be read, and does not know.
        Ok(Self { file, footer, previous_end: previous_end.filter(|end| *end > 0) })
    }

    /// Puts an empty, sealed file in the place of one that cannot be read, which is kept beside it.
    pub(super) fn replace(config: &JournalConfig, sequence: u64, bin: &Arc<Bin>) -> Result<Self, OpenError> {
        let path = files::path_of(&config.dir, sequence);
        let io = |source| OpenError::Io { what: "replacing", path: path.clone(), source };
        std::fs::rename(&path, path.with_extension("wal.damaged")).map_err(io)?;
        Self::stand_in(config, sequence, bin)
    }

    /// An empty, sealed file for one that is missing.
    pub(super) fn stand_in(config: &JournalConfig, sequence: u64, bin: &Arc<Bin>) -> Result<Self, OpenError> {
        let path = files::path_of(&config.dir, sequence);
        let io = |source| OpenError::Io { what: "replacing", path: path.clone(), source };
        let unfinished = files::unfinished_path(&config.dir);
        let disk = Disk::create(&unfinished, config.direct).map_err(io)?;
        let bytes = 2 * BLOCK_BYTES as u64;
        let header = files::write_header(&disk, sequence, bytes).map_err(io)?;
        std::fs::rename(&unfinished, &path).map_err(io)?;
        let file = JournalFile::new(&header, path.clone(), disk, bytes, bin);
        let open = OpenFile::new(Arc::clone(&file), 0);
        let nothing = crate::index::Index::new(0);
        let footer = seal(&nothing, &open, &mut GroupWriter::new(BLOCK_BYTES)).map_err(io)?;
        disk::sync_dir(&config.dir).map_err(io)?;
        Ok(Self { file, footer: Some(footer), previous_end: None })
    }

    pub(super) fn sequence(&self) -> u64 {
        self.file.sequence
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(&self.file.disk, self.file.salt, self.file.bytes())
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { what: "reading", path: self.file.path.clone(), source }
    }

    /// The file holds no group. `surely` spares looking beyond its first block.
    pub(super) fn is_unused(&self, surely: bool) -> Result<bool, OpenError> {
        let mut walk = self.walk();
        let first = walk.position;
        if walk.group().map_err(|error| self.io(error))?.is_some() {
            return Ok(false);
        }
        Ok(surely || walk.later_group(first, first).map_err(|error| self.io(error))?.is_none())
    }

    /// The file begins with a complete checkpoint.
    pub(super) fn has_checkpoint(&self) -> Result<bool, OpenError> {
        if let Some(footer) = &self.footer {
            return Ok(footer.trailer.has_checkpoint);
        }
        let mut walk = self.walk();
        let mut partitions = 0;
        while walk.group().map_err(|error| self.io(error))?.is_some() {
            while let Some(frame) = walk.frame().map_err(|error| self.io(error))? {
                match frame {
                    Ok(frame) if frame.header.kind == FrameKind::Checkpoint => partitions += 1,
                    Ok(frame) if frame.header.kind == FrameKind::CheckpointEnd => {
                        let end = CheckpointEnd::decode(frame.payload).map(|end| end.partitions);
                        return Ok(end == Ok(partitions));
                    }
                    Ok(_) | Err(_) => return Ok(false),
                }
            }
        }
        Ok(false)
    }

    /// The file holds something beside a checkpoint.
    pub(super) fn has_batches(&self) -> Result<bool, OpenError> {
        let mut walk = self.walk();
        while walk.group().map_err(|error| self.io(error))?.is_some() {
            while let Some(Ok(frame)) = walk.frame().map_err(|error| self.io(error))? {
                if !matches!(frame.header.kind, FrameKind::Checkpoint | FrameKind::CheckpointEnd) {
                    return Ok(true);
                }
            }
        }
        Ok(self.footer.as_ref().is_some_and(|footer| !footer.spans.is_empty()))
    }
}

fn read_footer(disk: &Disk, header: &FileHeader, bytes: u64) -> io::Result<Option<Footer>> {
    let block = BLOCK_BYTES as u64;
    if !bytes.is_multiple_of(block) || bytes < 2 * block {
        return Ok(None);
    }
    let position = bytes - block;
    let mut trailer_block = AlignedBuf::new(BLOCK_BYTES);
    disk.read_up_to_end(&mut trailer_block, position)?;
    let Ok(trailer) = Trailer::peek(&trailer_block, bytes) else { return Ok(None) };
    let mut directory = AlignedBuf::new(trailer.directory_bytes());
    disk.read_up_to_end(&mut directory, trailer.footer)?;
    let footer = Footer::decode(&trailer_block, &directory, header.salt, position).ok();
    Ok(footer.filter(|footer| footer.trailer.sequence == header.sequence))
}

/// How far a walk got.
struct Walked {
    /// Where the file's groups end.
    end: u64,
    /// The largest position known durable.
    durable: u64,
    /// The last group is incomplete: where it begins, and what is left of it.
    cut: Option<(u64, GroupHeader)>,
}

/// What a walk does with the frames.
struct Visit {
    /// The owner of the state hears of them; of the checkpoint only if it is this file's.
    replays: bool,
    replays_checkpoint: bool,
    /// Present when the file's index is made anew.
    open: Option<OpenFile>,
}

impl Recovery<'_> {
    /// Takes a file into the journal. Returns where its groups end.
    pub(super) fn take_in(
        &mut self,
        found: &Found,
        successor_says: Option<u64>,
        replays: bool,
        begin: Option<u64>,
    ) -> Result<u64, OpenError> {
        self.files.add(Arc::clone(&found.file));
        let replays_checkpoint = begin == Some(found.sequence());
        let mut visit = Visit { replays, replays_checkpoint, open: None };
        if let Some(footer) = &found.footer {
            if replays {
                self.walk(found, &mut visit, Some(footer.trailer.data_end))?;
            }
            // After the checkpoint: the file's truncations are younger.
            self.index.load(found.sequence(), &footer.spans, &footer.truncations);
            if found.file.trailer().is_none() {
                found.file.seal(footer.trailer);
            }
            return Ok(footer.trailer.data_end);
        }
        let mut open = OpenFile::new(Arc::clone(&found.file), found.previous_end.unwrap_or(0));
        open.has_checkpoint = found.has_checkpoint()?;
        visit.open = Some(open);
        let walked = self.walk(found, &mut visit, successor_says)?;
        if successor_says.is_none() {
            self.secure(found, &walked)?;
        } else {
            self.report.reindexed.push(found.file.path.clone());
        }
        let Some(mut open) = visit.open else { return Ok(walked.end) };
        open.position = walked.end;
        let mut groups = GroupWriter::new(REWRITE_BYTES);
        let io = |source| OpenError::Io { what: "sealing", path: found.file.path.clone(), source };
        let footer = seal(self.index, &open, &mut groups).map_err(io)?;
        self.index.seal(found.sequence(), &footer);
        Ok(walked.end)
    }

    /// Goes through a file up to `known_end`, or up to where it turns out to end.
    fn walk(
        &mut self,
        found: &Found,
        visit: &mut Visit,
        known_end: Option<u64>,
    ) -> Result<Walked, OpenError> {
        let io = |error| found.io(error);
        let mut walk = found.walk();
        let mut durable = walk.position;
        loop {
            let group_at = walk.position;
            if known_end.is_some_and(|end| group_at >= end) {
                return Ok(Walked { end: group_at, durable: group_at, cut: None });
            }
            let Some(group) = walk.group().map_err(io)? else {
                let next = match known_end {
                    Some(end) => Some(walk.later_group(group_at, 0).map_err(io)?.unwrap_or(end).min(end)),
                    None => walk.later_group(group_at, group_at).map_err(io)?,
                };
                let Some(next) = next else { return Ok(Walked { end: group_at, durable, cut: None }) };
                let reason = "a commit group that was durable is not there".to_owned();
                self.damaged(&found.file, group_at, None, reason)?;
                walk.position = next;
                continue;
            };
            durable = durable.max(group.durable);
            if let Some((bad, good)) = self.frames(found, visit, &mut walk, group, group_at, known_end)? {
                let left = GroupHeader { bytes: bad.position - group_at, frames: good, ..group };
                let cut = (good > 0).then_some((group_at, left));
                let end = if good > 0 { group_at + left.padded_bytes() } else { group_at };
                self.report.torn = Some((found.file.path.clone(), bad.position));
                return Ok(Walked { end, durable, cut });
            }
        }
    }

    /// Goes through a group's frames. Returns the frame at which the file turns out to be torn, and
    /// how many good ones the group has before it.
    fn frames(
        &mut self,
        found: &Found,
        visit: &mut Visit,
        walk: &mut Walk<'_>,
        group: GroupHeader,
        group_at: u64,
        known_end: Option<u64>,
    ) -> Result<Option<(BadFrame, u32)>, OpenError> {
        let io = |error| found.io(error);
        let mut good = 0;
        let mut is_durable = known_end.is_some();
        while let Some(frame) = walk.frame().map_err(io)? {
            let bad = match frame {
                Ok(frame) => {
                    good += 1;
                    self.visit(found, visit, &frame)?;
                    continue;
                }
                Err(bad) => bad,
            };
            let behind = group_at + group.padded_bytes() - 1;
            is_durable = is_durable || walk.later_group(behind, bad.position).map_err(io)?.is_some();
            if !is_durable {
                return Ok(Some((bad, good)));
            }
            let what = bad.known.filter(|header| header.kind == FrameKind::Batch);
            let what = what.map(|header| (header.partition, header.base_offset, header.next_offset()));
            let is_certain = bad.known.is_some();
            self.damaged(&found.file, bad.position, what, bad.reason)?;
            if !is_certain {
                // Its length may be wrong: what follows it in the group cannot be found.
                return Ok(None);
            }
        }
        Ok(None)
    }

    fn visit(&mut self, found: &Found, visit: &mut Visit, frame: &GoodFrame<'_>) -> Result<(), OpenError> {
        let header = &frame.header;
        if let Some(open) = &mut visit.open {
            let added = self.index.publish(header, found.sequence(), frame.position, None);
            open.account(header, added);
        }
        if visit.replays {
            self.report.replayed_frames += 1;
            self.tell(frame, visit.replays_checkpoint).map_err(|error| OpenError::Corrupt {
                path: found.file.path.clone(),
                position: frame.position,
                partition: Some((header.partition, header.base_offset)),
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    fn tell(&mut self, frame: &GoodFrame<'_>, checkpoint: bool) -> Result<(), FormatError> {
        let header = &frame.header;
        match header.kind {
            FrameKind::Batch => {
                if let Some(batch) = frame.batch.as_ref().filter(|_| !header.copy) {
                    self.replay.batch(header, batch);
                }
            }
            FrameKind::Truncate => self.replay.truncate(header.partition, header.epoch, header.base_offset),
            FrameKind::EpochStart => {
                let incarnation = decode_incarnation(frame.payload)?;
                let entry = EpochEntry { incarnation, epoch: header.epoch, start: header.base_offset };
                self.replay.epoch_start(header.partition, entry);
            }
            FrameKind::Trim => {
                self.index.raise_floor(header.partition, header.base_offset);
                self.replay.trim(header.partition, header.base_offset);
            }
            FrameKind::Checkpoint if checkpoint => {
                let state = PartitionCheckpoint::decode(frame.payload, header.partition)?;
                self.index.raise_floor(header.partition, state.log_start);
                self.index.raise_end(header.partition, state.state.end);
                self.replay.checkpoint(header.partition, state);
            }
            FrameKind::Checkpoint | FrameKind::CheckpointEnd => {}
        }
        Ok(())
    }

    /// Makes durable what the newest file holds above its last durable mark, by writing it again.
    fn secure(&mut self, found: &Found, walked: &Walked) -> Result<(), OpenError> {
        let io =
            |source| OpenError::Io { what: "rewriting the end of", path: found.file.path.clone(), source };
        let disk = &found.file.disk;
        let mut buffer = AlignedBuf::new(REWRITE_BYTES);
        let mut position = walked.durable.min(walked.end);
        while position < walked.end {
            let part = (walked.end - position).min(REWRITE_BYTES as u64) as usize;
            disk.read_up_to_end(&mut buffer[..part], position).map_err(io)?;
            if let Some((group_at, left)) = walked.cut {
                shorten(&mut buffer[..part], position, group_at, &left, found);
            }
            disk.write(&buffer[..part], position).map_err(io)?;
            self.report.secured_bytes += part as u64;
            position += part as u64;
        }
        disk.sync().map_err(io)
    }
}

/// Patches blocks that are written again: the last group ends where its good frames end.
fn shorten(blocks: &mut [u8], start: u64, group_at: u64, left: &GroupHeader, found: &Found) {
    let end = start + blocks.len() as u64;
    if (start..end).contains(&group_at) {
        let at = (group_at - start) as usize;
        let head =
            blocks[at..].first_chunk_mut::<GROUP_HEADER_BYTES>().expect("a block holds a group header");
        left.encode(found.file.salt, group_at, head);
    }
    let frames_end = group_at + left.bytes;
    if (start..end).contains(&frames_end) {
        let at = (frames_end - start) as usize;
        let padding = ((align_up(frames_end) - frames_end) as usize).min(blocks.len() - at);
        blocks[at..at + padding].fill(0);
    }
}
