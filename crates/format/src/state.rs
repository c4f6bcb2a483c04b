//! What a partition's leader must know beside the records: recent batches of idempotent producers,
//! open transactions, the history of leader epochs. Journal checkpoints carry it, and so does the
//! state object that a manifest root names.
//!
//! ```text
//!  envelope "TIDESTAT" version 1 (see `object`)
//!  section 1, required: topic 16 │ partition u32 │ reserved u32 │ end offset u64
//!  section 2, required: table head │ per epoch: incarnation u32 │ epoch u32 │ start offset u64
//!  section 3, required: table head │ per producer:
//!     id i64 │ epoch i16 │ batches u8 │ flags u8 │ coordinator epoch i32 │ last timestamp i64
//!     │ transaction start u64 │ reserved u64
//!     then per batch: first sequence i32 │ records u32 │ base offset u64 │ timestamp i64
//!  table head: entry bytes u16 │ nested entry bytes u16 │ entries u32
//! ```
//!
//! A producer's flag 1 says that the transaction start is set.

use bytes::{BufMut, Bytes};
use tidelog_model::limits::PRODUCER_BATCHES_REMEMBERED;
use tidelog_model::{
    Incarnation, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicPartition,
};

use crate::cursor::{Cursor, TABLE_HEAD_BYTES, put_table, put_topic_partition};
use crate::object::{DecodeError, Kind, Object, ObjectWriter, SECTION_HEADER_BYTES};

const KIND: Kind = Kind { what: "partition state", magic: *b"TIDESTAT", version: 1 };

const PARTITION: u16 = 1;
const EPOCHS: u16 = 2;
const PRODUCERS: u16 = 3;
const KNOWN: &[u16] = &[PARTITION, EPOCHS, PRODUCERS];

const PARTITION_BYTES: usize = 32;
pub(crate) const EPOCH_BYTES: usize = 16;
const PRODUCER_BYTES: usize = 40;
const BATCH_BYTES: usize = 24;

const IN_TRANSACTION: u8 = 1;

/// One batch of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub first_sequence: Sequence,
    pub record_count: u32,
    pub base_offset: Offset,
    /// The batch's maximum timestamp, which is the time of append where the topic says so.
    pub timestamp: TimestampMs,
}

impl ProducerBatch {
    /// The sequence of the batch's last record.
    pub fn last_sequence(&self) -> Sequence {
        self.first_sequence.advance(self.record_count.saturating_sub(1))
    }
}

/// What is remembered of one producer in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    /// Timestamp of the producer's newest batch or marker; producers are forgotten by age.
    pub last_timestamp: TimestampMs,
    /// Epoch of the transaction coordinator that wrote the last marker; -1 before the first.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub transaction_start: Option<Offset>,
    /// The newest batches, oldest first, at most [`PRODUCER_BATCHES_REMEMBERED`].
    pub batches: Vec<ProducerBatch>,
}

/// Where a leader epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EpochEntry {
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// The state of a partition right before `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// First offset that the state does not account for.
    pub end: Offset,
    pub producers: Vec<ProducerEntry>,
    /// The whole history of epochs, oldest first.
    pub epochs: Vec<EpochEntry>,
}

impl PartitionState {
    /// The state's bytes, marked with the partition it belongs to.
    ///
    /// A producer's batches beyond the newest [`PRODUCER_BATCHES_REMEMBERED`] are left out.
    pub fn encode(&self, of: TopicPartition) -> Bytes {
        let batches: usize = self.producers.iter().map(|p| remembered(p).len()).sum();
        let capacity = 3 * SECTION_HEADER_BYTES
            + 2 * TABLE_HEAD_BYTES
            + PARTITION_BYTES
            + EPOCH_BYTES * self.epochs.len()
            + PRODUCER_BYTES * self.producers.len()
            + BATCH_BYTES * batches;
        let mut writer = ObjectWriter::new(KIND, capacity);
        writer.required(PARTITION, |out| {
            put_topic_partition(out, of);
            out.put_u32(0);
            out.put_u64(self.end.0);
        });
        writer.required(EPOCHS, |out| put_epochs(out, &self.epochs));
        writer.required(PRODUCERS, |out| {
            put_table(out, PRODUCER_BYTES, BATCH_BYTES, self.producers.len());
            for producer in &self.producers {
                put_producer(out, producer);
            }
        });
        writer.finish()
    }

    /// Decodes the state of partition `of`; another partition's is refused.
    pub fn decode(bytes: &[u8], of: TopicPartition) -> Result<Self, DecodeError> {
        let (found, state) = Self::decode_any(bytes)?;
        if found != of {
            return Err(DecodeError::OtherPartition { what: KIND.what, expected: of, found });
        }
        Ok(state)
    }

    /// Decodes a state and says whose it is.
    pub fn decode_any(bytes: &[u8]) -> Result<(TopicPartition, Self), DecodeError> {
        let object = Object::open(KIND, bytes, KNOWN)?;
        let mut partition = object.required(PARTITION)?;
        let found = partition.topic_partition()?;
        partition.skip(4)?;
        let end = partition.offset("the end offset")?;
        let epochs = read_epochs(&mut object.required(EPOCHS)?)?;
        let producers = read_producers(&mut object.required(PRODUCERS)?)?;
        Ok((found, Self { end, producers, epochs }))
    }
}

fn remembered(producer: &ProducerEntry) -> &[ProducerBatch] {
    let surplus = producer.batches.len().saturating_sub(PRODUCER_BATCHES_REMEMBERED);
    &producer.batches[surplus..]
}

fn put_producer(out: &mut impl BufMut, producer: &ProducerEntry) {
    let batches = remembered(producer);
    out.put_i64(producer.id.0);
    out.put_i16(producer.epoch.0);
    out.put_u8(u8::try_from(batches.len()).expect("at most five are remembered"));
    out.put_u8(if producer.transaction_start.is_some() { IN_TRANSACTION } else { 0 });
    out.put_i32(producer.coordinator_epoch);
    out.put_i64(producer.last_timestamp.0);
    out.put_u64(producer.transaction_start.map_or(0, |offset| offset.0));
    out.put_u64(0);
    for batch in batches {
        out.put_i32(batch.first_sequence.0);
        out.put_u32(batch.record_count);
        out.put_u64(batch.base_offset.0);
        out.put_i64(batch.timestamp.0);
    }
}

fn read_producers(cursor: &mut Cursor<'_>) -> Result<Vec<ProducerEntry>, DecodeError> {
    let table = cursor.table(PRODUCER_BYTES)?;
    if table.detail_bytes < BATCH_BYTES {
        return Err(cursor.invalid("batch size", "is smaller than this version's"));
    }
    let mut producers = Vec::with_capacity(table.count);
    for _ in 0..table.count {
        let mut entry = cursor.sub(table.entry_bytes)?;
        let id = ProducerId(entry.i64()?);
        let epoch = ProducerEpoch(entry.i16()?);
        let count = usize::from(entry.u8()?);
        let flags = entry.u8()?;
        let coordinator_epoch = entry.i32()?;
        let last_timestamp = entry.timestamp()?;
        let transaction_start = entry.offset("the transaction start")?;
        let transaction_start = (flags & IN_TRANSACTION != 0).then_some(transaction_start);
        if count > PRODUCER_BATCHES_REMEMBERED {
            return Err(entry.invalid("a producer", "has more than five batches"));
        }
        let mut batches = Vec::with_capacity(count);
        for _ in 0..count {
            let mut batch = cursor.sub(table.detail_bytes)?;
            batches.push(ProducerBatch {
                first_sequence: Sequence(batch.i32()?),
                record_count: batch.u32()?,
                base_offset: batch.offset("a batch's base offset")?,
                timestamp: batch.timestamp()?,
            });
        }
        producers.push(ProducerEntry {
            id,
            epoch,
            last_timestamp,
            coordinator_epoch,
            transaction_start,
            batches,
        });
    }
    Ok(producers)
}

/// Writes a table of epochs; segments have one too.
pub(crate) fn put_epochs(out: &mut impl BufMut, epochs: &[EpochEntry]) {
    put_table(out, EPOCH_BYTES, 0, epochs.len());
    for epoch in epochs {
        out.put_u32(epoch.incarnation.0);
        out.put_u32(epoch.epoch.0);
        out.put_u64(epoch.start.0);
    }
}

/// Reads a table of epochs and checks that epochs and offsets ascend.
pub(crate) fn read_epochs(cursor: &mut Cursor<'_>) -> Result<Vec<EpochEntry>, DecodeError> {
    let table = cursor.table(EPOCH_BYTES)?;
    let mut epochs: Vec<EpochEntry> = Vec::with_capacity(table.count);
    for _ in 0..table.count {
        let mut entry = cursor.sub(table.entry_bytes)?;
        let epoch = EpochEntry {
            incarnation: entry.incarnation()?,
            epoch: entry.epoch()?,
            start: entry.offset("an epoch's start")?,
        };
        if epochs.last().is_some_and(|last| {
            (last.incarnation, last.epoch) >= (epoch.incarnation, epoch.epoch) || last.start > epoch.start
        }) {
            return Err(cursor.invalid("the list of epochs", "does not ascend"));
        }
        epochs.push(epoch);
    }
    Ok(epochs)
}
