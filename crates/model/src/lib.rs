//! Tidelog's vocabulary: the types that every other crate speaks in.
//!
//! Owns ids, offsets, epochs, limits, the topic configuration and the error codes with what each
//! lets a caller do next. Knows nothing of bytes on a wire or a disk, of clocks, or of any I/O.

pub mod config;
pub mod error;
pub mod id;
pub mod limits;
pub mod offset;
pub mod producer;
pub mod time;

pub use config::{CleanupPolicy, Compression, CompressionType, ConfigError, TimestampType, TopicConfig};
pub use error::ErrorCode;
pub use id::{
    ClusterId, DirectoryId, FrontendId, NodeId, ObjectId, PartitionId, TopicId, TopicName, TopicNameError,
    TopicPartition,
};
pub use offset::{Incarnation, LeaderEpoch, Offset};
pub use producer::{ProducerEpoch, ProducerId, Sequence};
pub use time::{Clock, SharedClock, TimestampMs};
