//! Reads one segment from end to end and says all that is wrong with it.

use bytes::Bytes;
use tidelog_format::batch;
use tidelog_format::object::DecodeError;
use tidelog_format::segment::{
    BlockEntry, HEADER_BYTES, INDEX_BYTES_MAX, SegmentEntry, SegmentIndex, check_block, open_tail,
    read_header,
};
use tidelog_model::{TimestampMs, TopicPartition};

use super::{InspectError, Problem, ProblemKind};
use crate::bucket::Bucket;

/// Blocks are fetched together up to this size.
const READ_BYTES: u64 = 8 * 1024 * 1024;

/// What reading a segment gave.
#[derive(Debug, Default)]
pub(super) struct SegmentCheck {
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) problems: Vec<Problem>,
}

/// The index of a segment, checked against what the manifest says, or what is wrong with it.
pub(super) async fn open_segment(
    bucket: &Bucket,
    tp: TopicPartition,
    entry: &SegmentEntry,
) -> Result<Result<SegmentIndex, Box<Problem>>, InspectError> {
    let key = entry.key(tp);
    let whole = |problem: Problem| {
        Box::new(problem.at(key).of(tp).offsets(entry.first_offset.0, entry.last_offset.0))
    };
    let tail_bytes = u64::from(entry.tail_bytes);
    if tail_bytes > entry.bytes || tail_bytes > INDEX_BYTES_MAX as u64 + 1024 {
        let what = "the manifest says that the segment's index is larger than it can be";
        return Ok(Err(whole(Problem::new(ProblemKind::Damaged, what))));
    }
    let range = entry.bytes - tail_bytes..entry.bytes;
    let tail = match bucket.get_tail(&key.to_string(), tail_bytes, entry.bytes).await {
        Ok(tail) => tail,
        Err(error) => return Ok(Err(whole(Problem::of_bucket(error)?))),
    };
    let index = open_tail(&tail, entry.bytes).and_then(|index| index.check(tp, entry).map(|()| index));
    Ok(index.map_err(|error| whole(Problem::of_decoding(&error).bytes(range))))
}

/// Runs of neighbouring blocks that are fetched with one read each.
pub(super) fn reads(blocks: &[BlockEntry]) -> impl Iterator<Item = &[BlockEntry]> {
    let mut rest = blocks;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let within = |block: &&BlockEntry| block.range().end - first.position <= READ_BYTES;
        let count = rest.iter().take_while(within).count().max(1);
        let (run, after) = rest.split_at(count);
        rest = after;
        Some(run)
    })
}

/// The bytes of one block, cut from what [`reads`] fetched together.
pub(super) fn cut(run: &[BlockEntry], bytes: &Bytes, block: &BlockEntry) -> Bytes {
    let start = run.first().map_or(0, |first| (block.position - first.position) as usize);
    let start = start.min(bytes.len());
    bytes.slice(start..bytes.len().min(start + block.bytes as usize))
}

/// Checks every byte of the segment that `entry` names.
pub(super) async fn check_segment(
    bucket: &Bucket,
    tp: TopicPartition,
    entry: &SegmentEntry,
) -> Result<SegmentCheck, InspectError> {
    let mut check = SegmentCheck::default();
    let index = match open_segment(bucket, tp, entry).await? {
        Ok(index) => index,
        Err(problem) => {
            check.problems.push(*problem);
            return Ok(check);
        }
    };
    check.bytes += u64::from(entry.tail_bytes);
    check_header(bucket, tp, entry, &mut check).await?;
    let key = entry.key(tp).to_string();
    for run in reads(&index.blocks) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
        let range = first.position..last.range().end;
        match bucket.get_range(&key, range.clone()).await {
            Ok(bytes) => {
                for block in run {
                    check_one_block(tp, &key, block, &cut(run, &bytes, block), &mut check);
                }
            }
            Err(error) => {
                let problem = Problem::of_bucket(error)?.at(&key).of(tp).bytes(range);
                check.problems.push(problem.offsets(first.first_offset.0, last.last_offset.0));
            }
        }
    }
    if check.problems.is_empty() {
        check_sums(tp, &key, &index, &mut check);
    }
    Ok(check)
}

async fn check_header(
    bucket: &Bucket,
    tp: TopicPartition,
    entry: &SegmentEntry,
    check: &mut SegmentCheck,
) -> Result<(), InspectError> {
    let key = entry.key(tp);
    let range = 0..HEADER_BYTES as u64;
    let problem = match bucket.get_range(&key.to_string(), range.clone()).await {
        Ok(bytes) => match read_header(&bytes) {
            Ok(found) if found == entry.identity(tp) => {
                check.bytes += HEADER_BYTES as u64;
                return Ok(());
            }
            Ok(found) => Problem::of_decoding(&other_segment(tp, found.tp)),
            Err(error) => Problem::of_decoding(&error),
        },
        Err(error) => Problem::of_bucket(error)?,
    };
    // The blocks are still readable: the header only says whose they are.
    check.problems.push(problem.at(key).of(tp).bytes(range));
    Ok(())
}

fn other_segment(expected: TopicPartition, found: TopicPartition) -> DecodeError {
    if expected == found {
        let (field, reason) = ("it", "belongs to another segment");
        DecodeError::Invalid { what: "segment header", field, reason }
    } else {
        DecodeError::OtherPartition { what: "segment header", expected, found }
    }
}

fn check_one_block(
    tp: TopicPartition,
    key: &str,
    block: &BlockEntry,
    bytes: &Bytes,
    check: &mut SegmentCheck,
) {
    let result = check_block(block, bytes).map_err(|error| error.to_string());
    let result = result.and_then(|()| check_batches(block, bytes));
    match result {
        Ok(()) => {
            check.bytes += u64::from(block.bytes);
            check.batches += u64::from(block.batches);
            check.records += u64::from(block.records);
        }
        Err(what) => {
            let problem = Problem::new(ProblemKind::Damaged, what).at(key).of(tp).bytes(block.range());
            check.problems.push(problem.offsets(block.first_offset.0, block.last_offset.0));
        }
    }
}

/// Every batch's own checksum, and the sums that the index keeps of the block.
fn check_batches(block: &BlockEntry, bytes: &Bytes) -> Result<(), String> {
    let (mut batches, mut records) = (0_u32, 0_u32);
    let (mut least, mut most) = (TimestampMs(i64::MAX), TimestampMs(i64::MIN));
    for found in batch::split(bytes.clone(), tidelog_model::limits::BATCH_BYTES_MAX) {
        let found = found.map_err(|error| error.to_string())?;
        found.verify().map_err(|error| format!("the batch at offset {}: {error}", found.base_offset()))?;
        let header = found.header();
        batches += 1;
        records = records.saturating_add(header.record_count);
        least = least.min(header.base_timestamp);
        most = most.max(header.max_timestamp);
    }
    let stated = (block.batches, block.records, block.min_timestamp, block.max_timestamp);
    if stated == (batches, records, least, most) {
        Ok(())
    } else {
        Err(format!("the block at {} holds other batches than its index says", block.position))
    }
}

fn check_sums(tp: TopicPartition, key: &str, index: &SegmentIndex, check: &mut SegmentCheck) {
    let most = index.blocks.iter().map(|block| block.max_timestamp).max().unwrap_or(TimestampMs::NONE);
    if (index.batches, index.records) != (check.batches, check.records) || index.max_timestamp < most {
        let what = "the segment's sums are not those of its blocks";
        check.problems.push(Problem::new(ProblemKind::Damaged, what).at(key).of(tp));
    }
}
