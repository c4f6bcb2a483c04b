//! Lines out of chunks, byte for byte.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tidelog_model::limits::BATCH_BYTES_MAX;
use tokio::sync::mpsc;

/// How much is read at a time.
const CHUNK_BYTES: usize = 1024 * 1024;
/// How many chunks are read ahead of what is sent.
const CHUNKS_AHEAD: usize = 4;
/// A longer line cannot be a record.
pub const LINE_BYTES_MAX: usize = BATCH_BYTES_MAX;

/// Reads on a thread of its own: standard input blocks, and cannot be read otherwise.
pub fn read_ahead(mut from: impl Read + Send + 'static) -> io::Result<mpsc::Receiver<io::Result<Bytes>>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        loop {
            let chunk = read_chunk(&mut from);
            let last = !matches!(&chunk, Ok(chunk) if !chunk.is_empty());
            // The receiver is gone when the command has ended.
            if matches!(&chunk, Ok(chunk) if chunk.is_empty()) || sender.blocking_send(chunk).is_err() || last
            {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Whatever is there, up to a chunk: a slow typist's line is not held back.
fn read_chunk(from: &mut impl Read) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
    loop {
        match from.read(&mut chunk) {
            Ok(count) => {
                chunk.truncate(count);
                return Ok(chunk.freeze());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Cuts chunks into lines. A line ends before its `\n`; the last one may have none.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of a line whose end has not come.
    begun: BytesMut,
    chunk: Bytes,
}

/// A line longer than any record can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// Takes the next chunk; all lines of the one before must have been taken.
    pub fn feed(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "lines are left");
        self.chunk = chunk;
    }

    /// The next whole line, if the chunk has one.
    pub fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
            let rest = std::mem::take(&mut self.chunk);
            self.extend(&rest)?;
            return Ok(None);
        };
        let line = self.chunk.split_to(end + 1).slice(..end);
        if self.begun.is_empty() {
            return Ok(Some(line));
        }
        self.extend(&line)?;
        Ok(Some(self.begun.split().freeze()))
    }

    /// What stands after the last newline; nothing when the input ends with one.
    pub fn last(&mut self) -> Option<Bytes> {
        Some(self.begun.split().freeze()).filter(|line| !line.is_empty())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.begun.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(TooLong);
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.feed(Bytes::copy_from_slice(chunk));
            while let Some(line) = lines.next().unwrap() {
                found.push(line.to_vec());
            }
        }
        found.extend(lines.last().map(|line| line.to_vec()));
        found
    }

    #[test]
    fn lines_are_the_same_wherever_the_input_is_cut() {
        let input = b"one\n\n\xff\xfe\r\ntwo three\n\nlast without end";
        let expected: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        for cut in 0..=input.len() {
            let (a, b) = input.split_at(cut);
            for cut in 0..=b.len() {
                let (b, c) = b.split_at(cut);
                assert_eq!(lines_of(&[a, b, c]), expected);
            }
        }
    }

    #[test]
    fn a_final_newline_ends_the_last_line_and_begins_none() {
        assert_eq!(lines_of(&[b"a\n"]), [b"a"]);
        assert_eq!(lines_of(&[b"\n"]), [b""]);
        assert_eq!(lines_of(&[b"\n\n"]), [b"", b""]);
        assert!(lines_of(&[b""]).is_empty());
    }

    #[test]
    fn a_line_without_end_is_not_collected_for_ever() {
        let mut lines = Lines::default();
        let chunk = Bytes::from(vec![b'x'; LINE_BYTES_MAX]);
        lines.feed(chunk.clone());
        assert_eq!(lines.next(), Ok(None));
        lines.feed(chunk);
        assert_eq!(lines.next(), Err(TooLong));
    }

    #[test]
    fn input_is_read_to_its_end_in_order() {
        let input: Vec<u8> = (0..3 * CHUNK_BYTES).map(|i| (i % 251) as u8).collect();
        let mut chunks = read_ahead(io::Cursor::new(input.clone())).unwrap();
        let mut read = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            read.extend_from_slice(&chunk.unwrap());
        }
        assert!(read == input);
    }
}
