//! Lays a group out in an aligned buffer and writes it; a group larger than the buffer goes in parts.

use std::io;

use tidelog_format::journal::{
    BLOCK_BYTES, FRAME_HEADER_BYTES, FrameHeader, GROUP_HEADER_BYTES, GroupHeader, align_up,
};

use super::OpenFile;
use crate::aligned::AlignedBuf;
use crate::append::Append;
use crate::disk::Disk;

/// The one buffer that everything goes through on its way to the disk.
pub(crate) struct GroupWriter {
    buffer: AlignedBuf,
}

impl GroupWriter {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { buffer: AlignedBuf::new(bytes) }
    }

    /// Writes a group of `bytes` at the end of the open file, without syncing. Adds the frames and
    /// their positions to `placed`; returns what the group takes up.
    pub(crate) fn write<'a>(
        &mut self,
        open: &OpenFile,
        bytes: u64,
        frames: u32,
        appends: impl Iterator<Item = &'a Append>,
        placed: &mut Vec<(FrameHeader, u64)>,
    ) -> io::Result<u64> {
        let salt = open.file.salt;
        let header = GroupHeader { bytes, frames, durable: open.durable, previous_end: open.previous_end };
        let mut head = [0; GROUP_HEADER_BYTES];
        header.encode(salt, open.position, &mut head);
        let mut sink = Sink::new(&mut self.buffer, &open.file.disk, open.position);
        sink.put(&head)?;
        for append in appends {
            let position = sink.position();
            let mut head = [0; FRAME_HEADER_BYTES];
            append.header.encode(salt, position, &append.payload, &mut head);
            sink.put(&head)?;
            sink.put(&append.payload)?;
            placed.push((append.header, position));
        }
        debug_assert_eq!(sink.position(), open.position + bytes);
        sink.finish()?;
        Ok(align_up(bytes))
    }

    /// Writes bytes at a block's boundary, padded with zeros to whole blocks.
    pub(crate) fn write_padded(&mut self, disk: &Disk, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut sink = Sink::new(&mut self.buffer, disk, position);
        sink.put(bytes)?;
        sink.finish()
    }
}

/// A position in the file and the part of the buffer that is filled.
struct Sink<'a> {
    buffer: &'a mut AlignedBuf,
    disk: &'a Disk,
    /// Where the buffer's first byte goes.
    start: u64,
    filled: usize,
}

impl<'a> Sink<'a> {
    fn new(buffer: &'a mut AlignedBuf, disk: &'a Disk, start: u64) -> Self {
        Self { buffer, disk, start, filled: 0 }
    }

    fn position(&self) -> u64 {
        self.start + self.filled as u64
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.filled == self.buffer.len() {
                self.disk.write(self.buffer, self.start)?;
                self.start += self.filled as u64;
                self.filled = 0;
            }
            let part = bytes.len().min(self.buffer.len() - self.filled);
            self.buffer[self.filled..self.filled + part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        let padded = self.filled.next_multiple_of(BLOCK_BYTES);
        self.buffer[self.filled..padded].fill(0);
        self.disk.write(&self.buffer[..padded], self.start)
    }
}
