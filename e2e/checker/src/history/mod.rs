//! A history: what clients did, when, and what they were told.
//!
//! Times are nanoseconds of one monotonic clock, the same for every client of the history. An operation
//! takes effect, if it does, at some moment from its start on; by its end if its outcome is [`Ok`].
//! One of unknown outcome may take effect at any time after its start, or never.
//!
//! [`Ok`]: Outcome::Ok

mod display;
mod file;
mod op;

use serde::{Deserialize, Serialize};

pub use file::{FileError, Header, VERSION, Writer, read};
pub use op::{
    Assign, CommitOffsets, Isolation, ListOffsets, Log, Marks, Op, Place, Poll, Produce, Producer, Protocol,
    Source, Tier, TopicName, TopicRules,
};

/// Everything that was recorded, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub header: Header,
    pub events: Vec<Event>,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub start: u64,
    /// When the client learnt the outcome, or gave up.
    pub end: u64,
    pub client: ClientId,
    pub process: ProcessId,
    pub op: Op,
    pub outcome: Outcome,
    /// What the client was told, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Box<str>>,
}

/// One producer, consumer or administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u32);

/// A stretch of a client's life without an unknown outcome: the operations of one process have an
/// order, and what an operation of unknown outcome may still do is not held against a later process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// Stands for the bytes of one record's value. No two records of a history are written with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Value(pub u64);

impl Value {
    const FOREIGN: u64 = 1 << 63;

    /// Bytes that no client writes, told apart by some hash of them.
    #[must_use]
    pub fn foreign(hash: u64) -> Self {
        Self(hash | Self::FOREIGN)
    }

    #[must_use]
    pub fn is_foreign(self) -> bool {
        self.0 & Self::FOREIGN != 0
    }
}

/// One transaction, from its begin to its end; not the transactional id, under which many follow each
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransactionId(pub u64);

/// One fault, from its start until it is healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u32);

/// What a client knows of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Failed,
    /// It may have happened, or may happen yet. Every time-out is this.
    Unknown,
}
