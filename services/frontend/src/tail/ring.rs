//! The newest batches of one partition, as they came from its store: without a gap, in order, a few.
//!
//! The hazard: an answer that came over the network is one allocation, and a single batch of it keeps
//! all of it. So an answer is kept, counted and dropped as a whole.

use std::collections::VecDeque;

use bytes::Bytes;
use tidelog_model::Offset;
use tokio::time::Instant;

use super::pieces::{Piece, Share};

/// What a chunk takes up beside its bytes, about.
const CHUNK_BYTES: usize = 256;

/// What one answer brought.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Names it among those of all partitions; those that came later have larger ones.
    pub id: u64,
    pub pieces: Vec<Piece>,
    /// What the whole answer takes up, whether or not the ring needed all of it.
    pub held_bytes: usize,
    pub came: Instant,
}

impl Chunk {
    /// What keeping all of an answer takes up.
    pub(super) fn cost(answer: &[Piece]) -> usize {
        let bytes: usize = answer.iter().map(|piece| piece.bytes.len()).sum();
        CHUNK_BYTES + size_of_val(answer) + bytes
    }

    fn base(&self) -> Offset {
        self.pieces[0].base
    }

    fn next(&self) -> Offset {
        self.pieces[self.pieces.len() - 1].next
    }
}

/// Batches that follow each other.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

/// How an answer relates to what is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It goes on from here: this many of its batches are new, the last ones.
    Extends(usize),
    /// Nothing in it is new.
    Known,
    /// It begins behind the end, or another leader wrote it, or there is nothing yet. What is here may
    /// not be before it in the log.
    Apart,
    /// Its batches have other bounds: what is here is not what the log is.
    Differs,
}

impl Ring {
    /// The offset after the last batch; `None` when there is none.
    pub(super) fn end(&self) -> Option<Offset> {
        self.chunks.back().map(Chunk::next)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn fit(&self, pieces: &[Piece]) -> Fit {
        let Some(last) = self.chunks.back().and_then(|chunk| chunk.pieces.last()) else { return Fit::Apart };
        let end = last.next;
        match pieces.iter().position(|piece| piece.next > end) {
            None => Fit::Known,
            // An unclean election may have put other records below, with the same bounds.
            Some(first) if pieces[first].base == end && pieces[first].epoch != last.epoch => Fit::Apart,
            Some(first) if pieces[first].base == end => Fit::Extends(pieces.len() - first),
            Some(first) if pieces[first].base > end => Fit::Apart,
            Some(_) => Fit::Differs,
        }
    }

    /// `chunk` begins where the ring ends, or is the first.
    pub(super) fn push(&mut self, chunk: Chunk) {
        debug_assert!(self.end().is_none_or(|end| end == chunk.base()), "a ring has no gaps");
        self.bytes += chunk.held_bytes;
        self.chunks.push_back(chunk);
    }

    /// Gives up the oldest.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.held_bytes;
        Some(chunk)
    }

    pub(super) fn oldest(&self) -> Option<&Chunk> {
        self.chunks.front()
    }

    /// Batches from the one that contains `from` on, all below `end`; `None` when it is not here.
    pub(super) fn read(&self, from: Offset, end: Offset, max_bytes: usize) -> Option<Vec<Bytes>> {
        let first = self.chunks.front()?;
        if from < first.base() || from >= end {
            return None;
        }
        let (mut share, mut held_bytes) = (Share::default(), 0);
        let begin = self.chunks.partition_point(|chunk| chunk.next() <= from);
        for chunk in self.chunks.range(begin..) {
            let before = share.bytes();
            let wanted = chunk.pieces.iter().skip_while(|piece| piece.next <= from);
            let mut wanted = wanted.take_while(|piece| piece.next <= end);
            let all = wanted.all(|piece| share.take(&piece.bytes, max_bytes));
            if share.bytes() > before {
                held_bytes += chunk.held_bytes;
            }
            if !all || share.bytes() == before {
                break;
            }
        }
        (share.bytes() > 0).then(|| share.into_batches(held_bytes))
    }
}
