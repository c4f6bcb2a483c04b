//! The calls that the processes of a cluster make to each other, as traits and the types they carry.
//!
//! A frontend speaks to a store only through [`PartitionStore`] and [`Topics`]: in one process the
//! store itself stands behind them, between processes a client of the internal protocol does. Knows
//! nothing of sockets, disks or buckets.

mod ack;
mod control;
mod error;
mod partition;
mod topics;

pub use ack::{Ack, AckSender, AckSink, Produced};
pub use control::{
    HAND_OVER_HOLD, HandOver, LogReport, LogReports, PartitionBytes, Ping, Pong, RESIGNED_MAX, StoreControl,
};
pub use error::StoreError;
pub use partition::{
    Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec, PartitionDescription, PartitionStore,
};
pub use topics::{CreateTopic, TopicInfo, TopicRef, Topics};
