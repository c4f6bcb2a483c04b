//! A segment that is open: its index, and how its blocks are grouped into ranges to fetch.
//!
//! Ranges depend on nothing but the segment and the configured size, wherever a reader starts: two
//! readers of the same records want the same ranges, and share them.

use std::ops::Range;

use bytes::Bytes;
use tidelog_format::segment::{BlockEntry, BlockError, SegmentEntry, SegmentIndex, check_block};
use tidelog_model::{Offset, TopicPartition};

use crate::cache::RangeKey;

#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) key: String,
    pub(crate) entry: SegmentEntry,
    pub(crate) index: SegmentIndex,
    /// The first block of each range.
    starts: Vec<u32>,
}

impl OpenSegment {
    pub(crate) fn new(
        tp: TopicPartition,
        entry: SegmentEntry,
        index: SegmentIndex,
        range_bytes: u64,
    ) -> Self {
        let starts = group(&index.blocks, range_bytes);
        Self { key: entry.key(tp).to_string(), entry, index, starts }
    }

    pub(crate) fn ranges(&self) -> usize {
        self.starts.len()
    }

    /// The range that holds `offset`, or the first behind it.
    pub(crate) fn range_at(&self, offset: Offset) -> Option<usize> {
        let block = u32::try_from(self.index.block_at_offset(offset)?).ok()?;
        Some(self.range_of_block(block))
    }

    pub(crate) fn range_of_block(&self, block: u32) -> usize {
        self.starts.partition_point(|start| *start <= block).saturating_sub(1)
    }

    pub(crate) fn blocks(&self, range: usize) -> &[BlockEntry] {
        let start = self.starts[range] as usize;
        let end = self.starts.get(range + 1).map_or(self.index.blocks.len(), |end| *end as usize);
        &self.index.blocks[start..end]
    }

    /// Where the range lies in the object.
    pub(crate) fn bytes(&self, range: usize) -> Range<u64> {
        let blocks = self.blocks(range);
        let first = blocks.first().map_or(0, |block| block.position);
        first..blocks.last().map_or(0, |block| block.range().end)
    }

    pub(crate) fn len(&self, range: usize) -> usize {
        let bytes = self.bytes(range);
        usize::try_from(bytes.end - bytes.start).unwrap_or(usize::MAX)
    }

    pub(crate) fn cache_key(&self, range: usize) -> RangeKey {
        RangeKey { segment: self.entry.id, block: self.starts[range] }
    }

    /// Checks all blocks of a range; names the one that is damaged.
    pub(crate) fn check(&self, range: usize, bytes: &Bytes) -> Result<(), (Range<u64>, BlockError)> {
        let base = self.bytes(range).start;
        for block in self.blocks(range) {
            let at = usize::try_from(block.position - base).unwrap_or(usize::MAX);
            let content = bytes.get(at..at.saturating_add(block.bytes as usize)).unwrap_or_default();
            check_block(block, content).map_err(|error| (block.range(), error))?;
        }
        Ok(())
    }

    /// Memory that the index takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>()
            + self.key.len()
            + self.starts.len() * size_of::<u32>()
            + self.index.blocks.len() * size_of::<BlockEntry>()
            + self.index.aborted.len() * size_of::<tidelog_format::segment::AbortedTransaction>()
            + self.index.epochs.len() * size_of::<tidelog_format::state::EpochEntry>()
    }
}

/// Groups neighbouring blocks up to `range_bytes`; a larger block is alone.
fn group(blocks: &[BlockEntry], range_bytes: u64) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut start = 0;
    for (number, block) in blocks.iter().enumerate() {
        if starts.is_empty() || block.range().end - start > range_bytes {
            start = block.position;
            starts.push(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }
    starts
}
