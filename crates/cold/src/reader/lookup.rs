//! Finding a record by its timestamp.

use std::sync::Arc;

use tidelog_format::batch;
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::BlockEntry;
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_model::{Offset, TimestampMs, TopicPartition};

use super::ColdReader;
use super::segment::OpenSegment;
use crate::error::ColdError;

/// A record that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    pub offset: Offset,
    pub timestamp: TimestampMs,
}

impl ColdReader {
    /// The first record, from the log start on, whose timestamp is `timestamp` or later.
    pub async fn find_timestamp(
        &self,
        tp: TopicPartition,
        pointer: &Pointer,
        timestamp: TimestampMs,
    ) -> Result<Option<FoundRecord>, ColdError> {
        let inner = &self.inner;
        let mut from = pointer.log_start;
        while let Some(entry) = inner.manifests.find_timestamp(tp, pointer, timestamp, from).await? {
            let segment = inner.fetcher.segment(tp, entry).await?;
            for (number, block) in segment.index.blocks.iter().enumerate() {
                if block.max_timestamp < timestamp || block.last_offset < from {
                    continue;
                }
                if let Some(found) = self.find_in_block(&segment, number, block, timestamp, from).await? {
                    return Ok(Some(found).filter(|found| found.offset < pointer.tiered_end));
                }
            }
            // Records below the log start had it: the search goes on behind them.
            from = entry.next_offset().max(from);
        }
        Ok(None)
    }

    async fn find_in_block(
        &self,
        segment: &Arc<OpenSegment>,
        number: usize,
        block: &BlockEntry,
        timestamp: TimestampMs,
        from: Offset,
    ) -> Result<Option<FoundRecord>, ColdError> {
        let range = segment.range_of_block(u32::try_from(number).unwrap_or(u32::MAX));
        let _held = self.inner.readahead.demand(segment.len(range)).await;
        let bytes = self.inner.fetcher.range(segment, range).await?;
        let at = (block.position - segment.bytes(range).start) as usize;
        let content = bytes.slice(at..at + block.bytes as usize);
        let corrupt = |error: batch::BatchError| ColdError::Corrupt {
            key: segment.key.clone(),
            range: block.range(),
            detail: error.to_string(),
        };
        for batch in batch::split(content, BATCH_BYTES_MAX) {
            let batch = batch.map_err(corrupt)?;
            let header = batch.header();
            let outside = batch.max_timestamp() < timestamp || header.last_offset() < from;
            if outside || header.attributes.is_control() {
                continue;
            }
            for record in batch.records().map_err(corrupt)? {
                let record = record.map_err(corrupt)?;
                if record.timestamp >= timestamp && record.offset >= from {
                    return Ok(Some(FoundRecord { offset: record.offset, timestamp: record.timestamp }));
                }
            }
        }
        Ok(None)
    }
}
