//! Steps through the groups and frames of a file, believing nothing.

use std::io;

use tidelog_format::batch::BatchHeader;
use tidelog_format::journal::{
    BLOCK_BYTES, FRAME_HEADER_BYTES, FrameHeader, GROUP_HEADER_BYTES, GroupHeader, Salt, align_up,
};

use crate::aligned::AlignedBuf;
use crate::disk::Disk;

/// What is read at once; a larger frame makes the buffer grow to its size.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// A part of a file in memory.
struct Window {
    buffer: AlignedBuf,
    start: u64,
    filled: usize,
}

impl Window {
    fn new(limit: u64) -> Self {
        let bytes = WINDOW_BYTES.min(align_up(limit) as usize);
        Self { buffer: AlignedBuf::new(bytes), start: 0, filled: 0 }
    }

    /// `count` bytes at `position`, which the caller has bounded by the file's size.
    fn bytes(&mut self, disk: &Disk, position: u64, count: usize) -> io::Result<&[u8]> {
        let end = position + count as u64;
        if position < self.start || end > self.start + self.filled as u64 {
            let block = BLOCK_BYTES as u64;
            let start = position / block * block;
            let needed = (align_up(end) - start) as usize;
            if needed > self.buffer.len() {
                self.buffer = AlignedBuf::new(needed);
            }
            self.filled = 0;
            disk.read_up_to_end(&mut self.buffer, start)?;
            self.start = start;
            self.filled = self.buffer.len();
        }
        let at = (position - self.start) as usize;
        Ok(&self.buffer[at..at + count])
    }
}

/// A frame whose every byte was checked.
pub(super) struct GoodFrame<'a> {
    pub(super) position: u64,
    pub(super) header: FrameHeader,
    pub(super) batch: Option<BatchHeader>,
    pub(super) payload: &'a [u8],
}

/// A frame that is not what was written.
#[derive(Debug)]
pub(super) struct BadFrame {
    pub(super) position: u64,
    /// What the frame was, if only the records of its batch are damaged.
    pub(super) known: Option<FrameHeader>,
    pub(super) reason: String,
}

/// A walk through one file.
pub(super) struct Walk<'a> {
    disk: &'a Disk,
    salt: Salt,
    /// Nothing lies beyond.
    limit: u64,
    window: Window,
    /// Where the next group begins.
    pub(super) position: u64,
    group: Option<Group>,
}

/// The group that is being stepped through.
#[derive(Clone, Copy, Debug)]
struct Group {
    end: u64,
    next_frame: u64,
    frames_left: u32,
}

impl<'a> Walk<'a> {
    pub(super) fn new(disk: &'a Disk, salt: Salt, limit: u64) -> Self {
        let position = BLOCK_BYTES as u64;
        Self { disk, salt, limit, window: Window::new(limit), position, group: None }
    }

    /// Enters the group at the walk's position; `None` if there is none.
    pub(super) fn group(&mut self) -> io::Result<Option<GroupHeader>> {
        let header = self.group_at(self.position)?;
        self.group = header.map(|header| Group {
            end: self.position + header.bytes,
            next_frame: self.position + GROUP_HEADER_BYTES as u64,
            frames_left: header.frames,
        });
        if let Some(header) = &header {
            self.position += header.padded_bytes();
        }
        Ok(header)
    }

    fn group_at(&mut self, position: u64) -> io::Result<Option<GroupHeader>> {
        if position + GROUP_HEADER_BYTES as u64 > self.limit {
            return Ok(None);
        }
        let bytes = self.window.bytes(self.disk, position, GROUP_HEADER_BYTES)?;
        let header = GroupHeader::decode(bytes, self.salt, position).ok();
        Ok(header.filter(|header| position + header.bytes <= align_up(self.limit)))
    }

    /// The next frame of the group; `None` after its last.
    pub(super) fn frame(&mut self) -> io::Result<Option<Result<GoodFrame<'_>, BadFrame>>> {
        let Some(group) = &mut self.group else { return Ok(None) };
        let position = group.next_frame;
        if group.frames_left == 0 {
            return Ok(None);
        }
        let bad = |reason: &str| BadFrame { position, known: None, reason: reason.to_owned() };
        let room = group.end - position;
        if room < FRAME_HEADER_BYTES as u64 {
            self.group = None;
            return Ok(Some(Err(bad("the group is shorter than its frames"))));
        }
        let head = self.window.bytes(self.disk, position, FRAME_HEADER_BYTES)?;
        let header = match FrameHeader::peek(head) {
            Ok(header) if header.bytes() <= room => header,
            Ok(_) => return Ok(Some(Err(bad("the frame is longer than its group")))),
            Err(error) => return Ok(Some(Err(bad(&error.to_string())))),
        };
        let bytes = self.window.bytes(self.disk, position, header.bytes() as usize)?;
        match FrameHeader::verify(bytes, self.salt, position) {
            Ok((header, batch, payload)) => {
                group.next_frame += header.bytes();
                group.frames_left -= 1;
                Ok(Some(Ok(GoodFrame { position, header, batch, payload })))
            }
            Err(error) => {
                let known = FrameHeader::decode(bytes, self.salt, position).ok().map(|(header, _)| header);
                if let Some(header) = &known {
                    // Its length is certain: the walk can go on behind it.
                    group.next_frame += header.bytes();
                    group.frames_left -= 1;
                }
                Ok(Some(Err(BadFrame { position, known, reason: error.to_string() })))
            }
        }
    }

    /// The first group behind `after` that was written when everything up to `proof` was durable.
    pub(super) fn later_group(&mut self, after: u64, proof: u64) -> io::Result<Option<u64>> {
        let mut position = align_up(after + 1);
        while position < self.limit {
            if let Some(header) = self.group_at(position)?
                && header.durable > proof
            {
                return Ok(Some(position));
            }
            position += BLOCK_BYTES as u64;
        }
        Ok(None)
    }
}
