//! What is given to a producer, and where it ended up.

use tidelog_format::batch::HeaderRef;
use tidelog_model::{Offset, PartitionId, TimestampMs};

/// A record to be sent. It borrows everything: sending copies its bytes once, into the batch.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ProducerRecord<'a> {
    pub topic: &'a str,
    /// `None`: the key decides, and without a key the producer.
    pub partition: Option<PartitionId>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone: it deletes the key in a compacted topic.
    pub value: Option<&'a [u8]>,
    pub headers: &'a [HeaderRef<'a>],
    /// `None`: the time of sending.
    pub timestamp: Option<TimestampMs>,
}

impl<'a> ProducerRecord<'a> {
    pub fn new<V: AsRef<[u8]> + ?Sized>(topic: &'a str, value: &'a V) -> Self {
        Self { topic, value: Some(value.as_ref()), ..Self::default() }
    }

    pub fn tombstone<K: AsRef<[u8]> + ?Sized>(topic: &'a str, key: &'a K) -> Self {
        Self { topic, key: Some(key.as_ref()), ..Self::default() }
    }

    #[must_use]
    pub fn key<K: AsRef<[u8]> + ?Sized>(mut self, key: &'a K) -> Self {
        self.key = Some(key.as_ref());
        self
    }

    #[must_use]
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub fn headers(mut self, headers: &'a [HeaderRef<'a>]) -> Self {
        self.headers = headers;
        self
    }

    #[must_use]
    pub fn timestamp(mut self, timestamp: TimestampMs) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where an acknowledged record is. It is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivery {
    pub partition: PartitionId,
    pub offset: Offset,
    /// The server's time of append, where the topic stores that instead of the producer's time.
    pub append_time: Option<TimestampMs>,
}
