//! The operations of a history.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidelog_model::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence};

use super::{FaultId, TransactionId, Value};

/// What a client did. Answers stand beside the questions and are there only when the outcome is ok.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// The topic has these rules from now on. Without it a topic keeps everything.
    Topic(TopicRules),
    Produce(Produce),
    Poll(Poll),
    /// A read of all there is, from the log start to the end, after everything else.
    FinalDrain(Poll),
    ListOffsets(ListOffsets),
    /// "You have read everything": asked at the start, said at the end.
    CaughtUp(Place),
    /// The marks of a log as somebody was told them.
    Marks {
        log: Log,
        marks: Marks,
    },
    /// The consumer's next poll of the log begins here.
    Seek(Place),
    Assign(Assign),
    Begin {
        transaction: TransactionId,
        transactional_id: Box<str>,
    },
    Commit {
        transaction: TransactionId,
    },
    Abort {
        transaction: TransactionId,
    },
    CommitOffsets(CommitOffsets),
    /// A group's committed offsets as they were told; no offset where none is committed.
    FetchOffsets {
        group: Box<str>,
        offsets: Vec<(Log, Option<Offset>)>,
    },
    /// Everything below the offset is to go.
    DeleteRecords(Place),
    FaultStart {
        fault: FaultId,
        what: Box<str>,
    },
    FaultHeal {
        fault: FaultId,
    },
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub topic: TopicName,
    pub partition: PartitionId,
}

impl Log {
    #[must_use]
    pub fn new(topic: &TopicName, partition: u32) -> Self {
        Self { topic: topic.clone(), partition: PartitionId(partition) }
    }
}

/// A topic's name, shared by all operations on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(pub Arc<str>);

impl From<&str> for TopicName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for TopicName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self(name.into()))
    }
}

/// A place in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub log: Log,
    pub offset: Offset,
}

/// What may happen to a topic's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRules {
    pub topic: TopicName,
    pub partitions: u32,
    /// Old records go by themselves.
    pub retention: bool,
    /// A record may go once there is a later one with its key.
    pub compaction: bool,
}

/// One record written. A client that promises no order between its records gives each a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Produce {
    pub log: Log,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Value>,
    pub value: Value,
    /// Where it is; absent too where the protocol does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// Present when the producer is idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Producer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
}

/// Under which identity an idempotent producer wrote, as far as the client knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Producer {
    pub id: ProducerId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<ProducerEpoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<Sequence>,
}

/// A stretch of a log that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    pub log: Log,
    /// The reader's position before it.
    pub from: Offset,
    /// And after it: what the reader was not given of `from..next` is not there for it.
    pub next: Offset,
    pub isolation: Isolation,
    #[serde(default, skip_serializing_if = "Source::is_unknown")]
    pub source: Source,
    /// The transaction that consumes what was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<(Offset, Value)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<Box<Marks>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// Where a reader's records came from, as far as it knows. Every source has to agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// The replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

impl Source {
    fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Hot,
    Cold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Quic,
    Tcp,
    Kafka,
    /// The bucket alone, without a server.
    Bucket,
}

/// A log's bounds, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_start: Option<Offset>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_stable: Option<Offset>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_watermark: Option<Offset>,
}

/// A question for the latest offset (the high watermark, or the last stable offset for read-committed),
/// which is answered linearizably, or for the earliest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListOffsets {
    pub log: Log,
    pub latest: bool,
    pub isolation: Isolation,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
}

/// What a consumer reads from now on. Its positions begin anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assign {
    /// Absent when the consumer chose for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Box<str>>,
    #[serde(default)]
    pub generation: u32,
    pub logs: Vec<Log>,
}

/// A group's positions, kept for it by the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommitOffsets {
    pub group: Box<str>,
    #[serde(default)]
    pub generation: u32,
    /// They count when this transaction commits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction: Option<TransactionId>,
    /// Somebody means them to go back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    pub offsets: Vec<(Log, Offset)>,
}
