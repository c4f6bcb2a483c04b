//! A partition's batches, straight from the bucket.

use std::collections::VecDeque;

use bytes::Bytes;
use tidelog_format::batch;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{BlockEntry, check_block};
use tidelog_model::{Offset, PartitionId, TopicPartition};

use super::segment::{cut, open_segment, reads};
use super::verify::NODE_CACHE_BYTES;
use super::{InspectError, Problem, ProblemKind, list};
use crate::bucket::Bucket;
use crate::manifest::Manifests;

/// What is to be read.
#[derive(Clone, Debug)]
pub struct CatOptions {
    /// A topic's name or id.
    pub topic: String,
    pub partition: PartitionId,
    /// Where to start; the log start when there is nothing or it is later.
    pub from: Option<Offset>,
    /// Goes on behind blocks and segments that cannot be read, instead of ending with an error.
    pub skip_damaged: bool,
}

/// What comes next of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Whole batches.
    Batches(Bytes),
    /// What was passed over; it names the offsets.
    Skipped(Box<Problem>),
}

/// Reads the batches of one partition in order. Every byte is checked before it is given out.
#[derive(Debug)]
pub struct Cat {
    bucket: Bucket,
    manifests: Manifests,
    tp: TopicPartition,
    pointer: Pointer,
    next: Offset,
    /// The segment being read: its key and the runs of blocks that are still to be fetched.
    key: String,
    runs: VecDeque<Vec<BlockEntry>>,
    /// Blocks that were read, and those that could not be, not given out yet.
    ready: VecDeque<Piece>,
    skip_damaged: bool,
}

impl Cat {
    pub async fn open(bucket: &Bucket, options: &CatOptions) -> Result<Self, InspectError> {
        let (tp, open) = list::open(bucket, &options.topic, options.partition).await?;
        let log_start = open.root.log_start;
        Ok(Self {
            bucket: bucket.clone(),
            manifests: Manifests::new(bucket.clone(), NODE_CACHE_BYTES),
            tp,
            pointer: open.root.pointer(open.bytes),
            next: options.from.map_or(log_start, |from| from.max(log_start)),
            key: String::new(),
            runs: VecDeque::new(),
            ready: VecDeque::new(),
            skip_damaged: options.skip_damaged,
        })
    }

    /// Log start and tiered end: what can be read.
    pub fn offsets(&self) -> std::ops::Range<Offset> {
        self.pointer.log_start..self.pointer.tiered_end
    }

    /// The next run of whole batches; the first batch contains the offset that was asked for. What was
    /// skipped comes in its place.
    pub async fn next(&mut self) -> Result<Option<Piece>, InspectError> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return match piece {
                    Piece::Skipped(problem) if !self.skip_damaged => Err(InspectError::Damaged(problem)),
                    piece => Ok(Some(piece)),
                };
            }
            if let Some(run) = self.runs.pop_front() {
                self.fetch(&run).await?;
            } else if !self.next_segment().await? {
                return Ok(None);
            }
        }
    }

    async fn next_segment(&mut self) -> Result<bool, InspectError> {
        let Some(entry) = self.manifests.find_offset(self.tp, &self.pointer, self.next).await? else {
            return Ok(false);
        };
        let index = match open_segment(&self.bucket, self.tp, &entry).await? {
            Ok(index) => index,
            Err(problem) => {
                self.next = entry.next_offset();
                self.ready.push_back(Piece::Skipped(problem));
                return Ok(true);
            }
        };
        let start = index.block_at_offset(self.next).unwrap_or(index.blocks.len());
        self.key = entry.key(self.tp).to_string();
        self.runs = reads(&index.blocks[start..]).map(<[BlockEntry]>::to_vec).collect();
        if self.runs.is_empty() {
            // Nothing is left of the records that the segment covers.
            self.next = entry.next_offset();
        }
        Ok(true)
    }

    async fn fetch(&mut self, run: &[BlockEntry]) -> Result<(), InspectError> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(()) };
        let range = first.position..last.range().end;
        let bytes = match self.bucket.get_range(&self.key, range).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let problem = Problem::of_bucket(error)?;
                if run.len() == 1 {
                    self.skip(first, problem);
                } else {
                    // Some of them may be readable.
                    for block in run.iter().rev() {
                        self.runs.push_front(vec![*block]);
                    }
                }
                return Ok(());
            }
        };
        for block in run {
            let block_bytes = cut(run, &bytes, block);
            if let Err(error) = check_block(block, &block_bytes) {
                self.skip(block, Problem::new(ProblemKind::Damaged, error));
                continue;
            }
            let wanted = block_bytes.slice(before(&block_bytes, self.next)..);
            if !wanted.is_empty() {
                self.ready.push_back(Piece::Batches(wanted));
            }
            self.next = block.last_offset + 1;
        }
        Ok(())
    }

    fn skip(&mut self, block: &BlockEntry, problem: Problem) {
        let problem = problem.at(&self.key).of(self.tp).bytes(block.range());
        let problem = problem.offsets(block.first_offset.0, block.last_offset.0);
        self.ready.push_back(Piece::Skipped(Box::new(problem)));
        self.next = block.last_offset + 1;
    }
}

/// Bytes of the batches at the start of `run` that end before `offset`.
fn before(run: &[u8], offset: Offset) -> usize {
    let mut at = 0;
    while let Ok(header) = batch::header(&run[at..]) {
        if header.last_offset() >= offset {
            break;
        }
        at = (at + header.batch_bytes).min(run.len());
    }
    at
}
