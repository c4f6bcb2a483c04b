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
    /// Blocks that are fetched and not given out yet.
    ready: VecDeque<Bytes>,
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
        })
    }

    /// Log start and tiered end: what can be read.
    pub fn offsets(&self) -> std::ops::Range<Offset> {
        self.pointer.log_start..self.pointer.tiered_end
    }

    /// The next run of whole batches; the first batch contains the offset that was asked for.
    pub async fn next(&mut self) -> Result<Option<Bytes>, InspectError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
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
        let index = open_segment(&self.bucket, self.tp, &entry).await?.map_err(InspectError::Damaged)?;
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
        let bytes = self.bucket.get_range(&self.key, range).await?;
        for block in run {
            let block_bytes = cut(run, &bytes, block);
            check_block(block, &block_bytes).map_err(|error| {
                let problem = Problem::new(ProblemKind::Damaged, error).at(&self.key).of(self.tp);
                let problem = problem.bytes(block.range());
                let problem = problem.offsets(block.first_offset.0, block.last_offset.0);
                InspectError::Damaged(Box::new(problem))
            })?;
            let wanted = block_bytes.slice(before(&block_bytes, self.next)..);
            if !wanted.is_empty() {
                self.ready.push_back(wanted);
            }
            self.next = block.last_offset + 1;
        }
        Ok(())
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
