//! What a consumer gives.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::batch::{Batch, Header, Record};
use tidelog_model::{Offset, PartitionId, TimestampMs};

use crate::Error;

/// A record that was read. It shares the memory of its batch: a record that is kept for long keeps
/// that memory too, so copy what is small and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerRecord {
    pub partition: PartitionId,
    pub offset: Offset,
    pub timestamp: TimestampMs,
    pub key: Option<Bytes>,
    /// `None` is a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

impl ConsumerRecord {
    pub(super) fn new(partition: PartitionId, record: Record) -> Self {
        let Record { offset, timestamp, key, value, headers } = record;
        Self { partition, offset, timestamp, key, value, headers }
    }
}

/// A batch that was read; its checksum was right.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConsumedBatch {
    pub topic: Arc<str>,
    pub partition: PartitionId,
    /// As it is stored. It may begin before the offset that was asked for.
    pub batch: Batch,
    /// Records below it were not asked for.
    pub first_wanted: Offset,
    /// The end of what could be read when the batch was sent.
    pub high_watermark: Offset,
}

impl ConsumedBatch {
    /// The records that were asked for. A transaction marker has none.
    pub fn records(&self) -> Result<impl Iterator<Item = Result<ConsumerRecord, Error>> + use<>, Error> {
        let (partition, first_wanted) = (self.partition, self.first_wanted);
        let (topic, offset) = (Arc::clone(&self.topic), self.batch.base_offset());
        let damaged = move |error| {
            let topic = topic.to_string();
            Error::Damaged { topic, partition: partition.0, offset, error }
        };
        let is_control = self.batch.header().attributes.is_control();
        let records = if is_control { None } else { Some(self.batch.records().map_err(&damaged)?) };
        let wanted = move |record: &Result<ConsumerRecord, Error>| {
            record.as_ref().map_or(true, |record| record.offset >= first_wanted)
        };
        Ok(records
            .into_iter()
            .flatten()
            .map(move |record| record.map(|r| ConsumerRecord::new(partition, r)).map_err(&damaged))
            .filter(wanted))
    }

    pub fn next_offset(&self) -> Offset {
        self.batch.next_offset()
    }
}
