//! The calls that the processes of a cluster make to each other, as traits and the types they carry.
//!
//! A frontend speaks to a store only through [`PartitionStore`] and [`Topics`], and to a cluster's
//! controller through [`ClusterAdmin`]: in one process the part itself stands behind them, between
//! processes a client of the internal protocol does. Knows nothing of sockets, disks or buckets.

mod ack;
mod cluster;
mod control;
mod error;
mod partition;
mod topics;

pub use ack::{Ack, AckSender, AckSink, Produced};
pub use cluster::{
    ClusterAdmin, ClusterStatus, Elected, NODES_PER_PAGE_MAX, NodeState, NodeStatus,
    PARTITIONS_PER_COMMAND_MAX, PARTITIONS_PER_PAGE_MAX, Page, PartitionQuery, PartitionState,
    PartitionStatus, Reassignment, UNREADABLE_SHOWN_MAX,
};
pub use control::{
    HAND_OVER_HOLD, HandOver, LogReport, LogReports, PartitionBytes, Ping, Pong, RESIGNED_MAX, StoreControl,
};
pub use error::StoreError;
pub use partition::{
    Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec, PartitionDescription, PartitionStore,
};
pub use topics::{CreateTopic, NewTopic, TopicInfo, TopicRef, Topics, check_replication_factor};
