//! The Rust SDK of Tidelog: produce records to a cluster and consume them, now or years later.
//!
//! ```no_run
//! use futures::StreamExt;
//! use tidelog::{Client, ConsumerOptions, ProducerOptions, ProducerRecord, TopicSpec};
//!
//! # async fn example() -> Result<(), tidelog::Error> {
//! let client = Client::from_context().await?;
//! client.admin().create_topic(TopicSpec::new("greetings").partitions(4)).await?;
//!
//! let producer = client.producer(ProducerOptions::default()).await?;
//! let ticket = producer.send(ProducerRecord::new("greetings", "hello").key("world")).await?;
//! let delivery = ticket.await?;
//! println!("durable at {}/{}", delivery.partition, delivery.offset);
//! producer.close().await?;
//!
//! let options = ConsumerOptions { stop_at_end: true, ..ConsumerOptions::default() };
//! let mut consumer = client.consumer("greetings", options).await?;
//! while let Some(record) = consumer.next().await {
//!     println!("{:?}", record?.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Owns what a client does by itself: batching, partitioning, retries, reconnects, reading ahead. Knows
//! frames only through `tidelog-wire` and batches only through `tidelog-format`.
//!
//! Every future here may be dropped at any time without harm. Spans and events go to `tracing`, with
//! the names of OpenTelemetry's messaging conventions.

mod admin;
mod client;
mod consumer;
mod error;
mod producer;
mod time;

pub use admin::{
    Admin, Cluster, ClusterStatus, Elected, Endpoint, Evicted, FoundOffset, NodeState, NodeStatus, Offloaded,
    PartitionState, PartitionStatus, PartitionStorage, Setting, TopicDescription, TopicSpec, TopicSummary,
};
pub use client::{Client, ClientOptions, Context, DEFAULT_PORT};
pub use consumer::{ConsumedBatch, Consumer, ConsumerOptions, ConsumerRecord, Isolation, Progress, StartAt};
pub use error::{Error, ServerError, SettingProblem};
pub use producer::{Delivery, Producer, ProducerOptions, ProducerRecord, Ticket, murmur2, partition_of};

pub use tidelog_format::batch::{Batch, BatchError, Header, HeaderRef};
pub use tidelog_model::{
    Compression, DirectoryId, ErrorCode, LeaderEpoch, NodeId, Offset, PartitionId, ProducerId, TimestampMs,
    TopicConfig, TopicId,
};
pub use tidelog_wire::{Fingerprint, TransportChoice, TransportSettings, Trust, WireError};
