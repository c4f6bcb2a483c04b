//! Writes a segment as its batches pass by.
//!
//! The encoder copies nothing and holds no record: the caller uploads [`SegmentEncoder::header`],
//! then every batch that [`SegmentEncoder::push`] accepted, byte for byte and in that order, then
//! the tail that [`SegmentEncoder::finish`] returns. What the encoder keeps is the index.

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tidelog_model::{Offset, TimestampMs};

use super::footer::{FOOTER_BYTES, Footer};
use super::header::write_header;
use super::index::SegmentIndex;
use super::{
    AbortedTransaction, BLOCK_BYTES, BLOCK_BYTES_MAX, BlockEntry, HEADER_BYTES, INDEX_BYTES_MAX,
    SegmentEntry, SegmentIdentity,
};
use crate::batch::{self, BatchError, BatchHeader};
use crate::checksum::Crc32c;
use crate::state::EpochEntry;

/// Why a segment cannot be written from what was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// The batch is damaged. It must not reach the bucket.
    #[error("a batch for the segment is not sound: {0}")]
    Batch(#[from] BatchError),
    #[error("a batch at offset {found} does not follow what is in the segment, which ends at {expected}")]
    Order { expected: Offset, found: Offset },
    #[error("a segment needs at least one batch")]
    Empty,
    #[error("a segment's last offset {last} lies before its batches' end {end}")]
    Range { last: Offset, end: Offset },
    #[error("the segment's index would be larger than 64 MiB")]
    IndexTooLarge,
    #[error(
        "the epochs of a segment must ascend, start no later than its first offset, and not after its last"
    )]
    Epochs,
}

/// Whether offsets may be missing between batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// Every batch starts where the one before it ends.
    #[default]
    Refused,
    /// Compaction removed records, and batches with them.
    Allowed,
}

/// How a segment is written.
#[derive(Clone, Copy, Debug)]
pub struct SegmentOptions {
    /// A block is closed before it grows past this, unless a single batch is larger.
    pub block_bytes: usize,
    pub gaps: Gaps,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self { block_bytes: BLOCK_BYTES, gaps: Gaps::Refused }
    }
}

/// What is known of a segment only when it is complete.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The epochs that the segment spans; the first starts at or before the segment's first offset.
    /// When empty they are taken from the batches, all in the writer's incarnation.
    pub epochs: Vec<EpochEntry>,
    /// All aborted transactions that overlap the segment.
    pub aborted: Vec<AbortedTransaction>,
    /// The last offset covered, where that is more than the last batch's (after compaction).
    pub last_offset: Option<Offset>,
    /// When the segment is written.
    pub created: TimestampMs,
}

/// A finished segment.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The last bytes of the object: index and footer.
    pub tail: Bytes,
    pub entry: SegmentEntry,
}

/// Makes a segment of the batches that are pushed through it.
#[derive(Debug)]
pub struct SegmentEncoder {
    identity: SegmentIdentity,
    options: SegmentOptions,
    blocks: Vec<BlockEntry>,
    /// The block being filled and the checksum of what it has.
    open: Option<(BlockEntry, Crc32c)>,
    position: u64,
    next_offset: Offset,
    first_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    records: u64,
    batches: u64,
    /// Epochs as the batches show them.
    epochs: Vec<EpochEntry>,
}

impl SegmentEncoder {
    pub fn new(identity: SegmentIdentity, options: SegmentOptions) -> Self {
        let options =
            SegmentOptions { block_bytes: options.block_bytes.clamp(1, BLOCK_BYTES_MAX), ..options };
        Self {
            identity,
            options,
            blocks: Vec::new(),
            open: None,
            position: HEADER_BYTES as u64,
            next_offset: identity.first_offset,
            first_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            records: 0,
            batches: 0,
            epochs: Vec::new(),
        }
    }

    pub fn identity(&self) -> &SegmentIdentity {
        &self.identity
    }

    /// The first bytes of the object.
    pub fn header(&self) -> Bytes {
        write_header(&self.identity)
    }

    /// Bytes that the object has so far, without its tail.
    pub fn bytes(&self) -> u64 {
        self.position
    }

    /// The offset that the next batch must have.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    pub fn is_empty(&self) -> bool {
        self.batches == 0
    }

    /// Takes one whole batch, checksum included; its bytes are the next of the object. After an
    /// error nothing has changed.
    pub fn push(&mut self, batch: &[u8]) -> Result<BatchHeader, SegmentError> {
        let header = batch::verify(batch)?;
        let in_order = match self.options.gaps {
            Gaps::Refused => header.base_offset == self.next_offset,
            Gaps::Allowed => header.base_offset >= self.next_offset,
        };
        if !in_order {
            return Err(SegmentError::Order { expected: self.next_offset, found: header.base_offset });
        }
        if SegmentIndex::encoded_bytes(self.blocks.len() + 2, self.epochs.len() + 1, 0) > INDEX_BYTES_MAX {
            return Err(SegmentError::IndexTooLarge);
        }
        self.note_epoch(&header);
        if self.open.is_some_and(|(block, _)| block.bytes as usize + batch.len() > self.options.block_bytes) {
            self.close_block();
        }
        self.extend_block(&header, batch);
        if self.batches == 0 {
            self.first_timestamp = header.base_timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.records += u64::from(header.record_count);
        self.batches += 1;
        self.position += batch.len() as u64;
        self.next_offset = header.next_offset();
        Ok(header)
    }

    fn note_epoch(&mut self, header: &BatchHeader) {
        let start = match self.epochs.last() {
            Some(last) if last.epoch == header.leader_epoch => return,
            Some(_) => header.base_offset,
            None => self.identity.first_offset,
        };
        let (incarnation, epoch) = (self.identity.incarnation, header.leader_epoch);
        self.epochs.push(EpochEntry { incarnation, epoch, start });
    }

    fn extend_block(&mut self, header: &BatchHeader, batch: &[u8]) {
        let (mut block, mut crc) = self.open.unwrap_or((
            BlockEntry {
                first_offset: header.base_offset,
                last_offset: header.last_offset(),
                min_timestamp: header.base_timestamp,
                max_timestamp: header.max_timestamp,
                position: self.position,
                bytes: 0,
                crc: 0,
                batches: 0,
                records: 0,
            },
            Crc32c::new(),
        ));
        crc.update(batch);
        block.last_offset = header.last_offset();
        block.min_timestamp = block.min_timestamp.min(header.base_timestamp);
        block.max_timestamp = block.max_timestamp.max(header.max_timestamp);
        block.bytes += u32::try_from(batch.len()).expect("a batch has at most 32 MiB");
        block.batches += 1;
        block.records += header.record_count;
        self.open = Some((block, crc));
    }

    fn close_block(&mut self) {
        if let Some((mut block, crc)) = self.open.take() {
            block.crc = crc.finish();
            self.blocks.push(block);
        }
    }

    /// The object's last bytes and what the manifest records of it.
    pub fn finish(mut self, closing: Closing) -> Result<Finished, SegmentError> {
        self.close_block();
        if self.batches == 0 && closing.last_offset.is_none() {
            return Err(SegmentError::Empty);
        }
        let last_offset = closing.last_offset.unwrap_or_else(|| self.next_offset - 1);
        if last_offset + 1 < self.next_offset || last_offset < self.identity.first_offset {
            return Err(SegmentError::Range { last: last_offset, end: self.next_offset });
        }
        let epochs = if closing.epochs.is_empty() { self.epochs } else { closing.epochs };
        check_epochs(&epochs, &self.identity, last_offset)?;
        let index_bytes = SegmentIndex::encoded_bytes(self.blocks.len(), epochs.len(), closing.aborted.len());
        if index_bytes > INDEX_BYTES_MAX {
            return Err(SegmentError::IndexTooLarge);
        }
        let index = SegmentIndex {
            identity: self.identity,
            last_offset,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            records: self.records,
            batches: self.batches,
            created: closing.created,
            blocks_end: self.position,
            blocks: self.blocks,
            epochs,
            aborted: closing.aborted,
        };
        let encoded = index.write();
        debug_assert_eq!(encoded.len(), index_bytes);
        let footer = Footer {
            index_position: self.position,
            index_bytes: u32::try_from(encoded.len()).expect("at most 64 MiB"),
            segment_bytes: self.position + (encoded.len() + FOOTER_BYTES) as u64,
        };
        let mut tail = BytesMut::with_capacity(encoded.len() + FOOTER_BYTES);
        tail.extend_from_slice(&encoded);
        footer.write(&mut tail);
        Ok(Finished { tail: tail.freeze(), entry: index.entry(footer.segment_bytes) })
    }
}

fn check_epochs(epochs: &[EpochEntry], of: &SegmentIdentity, last: Offset) -> Result<(), SegmentError> {
    let ascending = epochs.windows(2).all(|pair| {
        (pair[0].incarnation, pair[0].epoch) < (pair[1].incarnation, pair[1].epoch)
            && pair[0].start <= pair[1].start
    });
    let within = epochs.last().is_none_or(|epoch| epoch.start <= last)
        && epochs.first().is_none_or(|epoch| epoch.start <= of.first_offset);
    if ascending && within { Ok(()) } else { Err(SegmentError::Epochs) }
}
