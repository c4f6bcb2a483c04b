//! Topics, offsets, storage, the cluster: requests with one answer each.

mod cluster;
mod spec;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidelog_model::{ClusterId, Offset, PartitionId, TimestampMs, TopicConfig, TopicId};
use tidelog_proto::v1;

use crate::client::Shared;
use crate::client::call::{Repeat, ask};
use crate::client::topic::{by_name, topic_id};
use crate::{Error, Isolation, StartAt};

pub use cluster::{ClusterStatus, Elected, NodeState, NodeStatus, PartitionState, PartitionStatus};
pub use spec::TopicSpec;

/// How long an offload may take: it uploads everything that is not in the bucket yet.
const OFFLOAD_TIMEOUT: Duration = Duration::from_hours(1);

/// Places in one request for offsets: with the longest names, a header stays below its 64 KiB.
const PLACES_MAX: usize = 200;

/// Manages a cluster. Requests are repeated after errors that pass, as long as repeating them is safe,
/// for [`crate::ClientOptions::request_timeout`].
#[derive(Clone, Debug)]
pub struct Admin {
    client: Arc<Shared>,
}

/// The cluster as a server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cluster {
    pub id: ClusterId,
    pub endpoints: Vec<Endpoint>,
    /// The server's software and version.
    pub software: String,
    pub server_time: TimestampMs,
}

/// A server that a client may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    pub node: u32,
    pub address: String,
    pub rack: String,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicSummary {
    pub id: TopicId,
    pub name: String,
    pub partitions: u32,
    /// How many replicas each partition is meant to have.
    pub replication_factor: u32,
    /// Settings that differ from the defaults.
    pub overrides: BTreeMap<String, String>,
    pub created: TimestampMs,
}

/// A topic with every setting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicDescription {
    pub topic: TopicSummary,
    pub settings: Vec<Setting>,
}

impl TopicDescription {
    /// The settings as one checked value; fails on settings that this version does not know.
    pub fn config(&self) -> Result<TopicConfig, Error> {
        // A default may depend on the topic; only what was set is a setting of its own.
        let set = self.settings.iter().filter(|setting| !setting.is_default);
        let settings = set.map(|setting| (&setting.name, &setting.value));
        Ok(TopicConfig::default().with(settings)?)
    }
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    pub name: String,
    pub value: String,
    pub is_default: bool,
}

/// An offset that was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundOffset {
    pub offset: Offset,
    /// The record's timestamp, when a timestamp was looked for and a record found.
    pub timestamp: Option<TimestampMs>,
}

/// Where a partition's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionStorage {
    pub partition: PartitionId,
    /// First offset that can be read.
    pub log_start: Offset,
    /// First offset that is in the hot tier.
    pub local_start: Offset,
    /// First offset that is not in the bucket.
    pub tiered_end: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
    pub local_bytes: u64,
    pub bucket_bytes: u64,
    pub segments: u64,
    /// Bytes that only the hot tier has, and the age of the oldest of them.
    pub untiered_bytes: u64,
    pub untiered_ms: u64,
}

/// What an offload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offloaded {
    pub partitions: u32,
}

/// What an eviction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted {
    pub partitions: u32,
}

impl Admin {
    pub(crate) fn new(client: Arc<Shared>) -> Self {
        Self { client }
    }

    fn within(&self) -> Duration {
        self.client.options.request_timeout
    }

    pub async fn cluster(&self) -> Result<Cluster, Error> {
        let link = &self.client.link;
        let answer = ask!(link, Metadata, v1::MetadataRequest {}, Repeat::Always, self.within())?;
        let id: [u8; 16] = answer.cluster_id[..]
            .try_into()
            .map_err(|_| Error::Protocol("an id that is not 16 bytes long"))?;
        let endpoint =
            |e: v1::metadata_response::Endpoint| Endpoint { node: e.node, address: e.address, rack: e.rack };
        Ok(Cluster {
            id: ClusterId::from_bytes(id),
            endpoints: answer.endpoints.into_iter().map(endpoint).collect(),
            software: answer.software,
            server_time: TimestampMs(answer.server_time_ms),
        })
    }

    /// Creates a topic; when this returns, every partition can be written to.
    pub async fn create_topic(&self, topic: impl Into<TopicSpec>) -> Result<TopicSummary, Error> {
        let spec = topic.into();
        let request = v1::CreateTopicRequest {
            name: spec.name,
            partitions: spec.partitions,
            config: spec.config,
            validate_only: false,
            replication_factor: spec.replication_factor,
        };
        let answer = ask!(&self.client.link, CreateTopic, request, Repeat::IfUnchanged, self.within())?;
        summary(answer.topic)
    }

    pub async fn delete_topic(&self, name: &str) -> Result<TopicId, Error> {
        let request = v1::DeleteTopicRequest { topic: Some(by_name(name)) };
        let answer = ask!(&self.client.link, DeleteTopic, request, Repeat::IfUnchanged, self.within())?;
        topic_id(&answer.id)
    }

    /// Changes settings; an empty value means the default.
    pub async fn alter_topic<K, V>(
        &self,
        name: &str,
        config: impl IntoIterator<Item = (K, V)>,
    ) -> Result<TopicSummary, Error>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let request = v1::AlterTopicRequest {
            topic: Some(by_name(name)),
            config: settings(config),
            ..v1::AlterTopicRequest::default()
        };
        // Setting the same values twice is as good as once.
        let answer = ask!(&self.client.link, AlterTopic, request, Repeat::Always, self.within())?;
        summary(answer.topic)
    }

    /// Gives a topic more partitions, up to this number altogether, while it is written to. Records with
    /// a key may go elsewhere from then on.
    pub async fn add_partitions(&self, name: &str, partitions: u32) -> Result<TopicSummary, Error> {
        let request = v1::AlterTopicRequest {
            topic: Some(by_name(name)),
            partitions,
            ..v1::AlterTopicRequest::default()
        };
        let answer = ask!(&self.client.link, AlterTopic, request, Repeat::IfUnchanged, self.within())?;
        summary(answer.topic)
    }

    /// Changes how many replicas each partition has. They are added and removed after this has returned,
    /// bit by bit; [`Admin::partitions`] shows how far that is.
    pub async fn set_replication_factor(&self, name: &str, replicas: u32) -> Result<TopicSummary, Error> {
        let request = v1::AlterTopicRequest {
            topic: Some(by_name(name)),
            replication_factor: replicas,
            ..v1::AlterTopicRequest::default()
        };
        let answer = ask!(&self.client.link, AlterTopic, request, Repeat::Always, self.within())?;
        summary(answer.topic)
    }

    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, Error> {
        let request = v1::DescribeTopicRequest { topic: Some(by_name(name)) };
        let answer = ask!(&self.client.link, DescribeTopic, request, Repeat::Always, self.within())?;
        let setting = |entry: v1::describe_topic_response::ConfigEntry| Setting {
            name: entry.name,
            value: entry.value,
            is_default: entry.is_default,
        };
        Ok(TopicDescription {
            topic: summary(answer.topic)?,
            settings: answer.config.into_iter().map(setting).collect(),
        })
    }

    /// Every topic whose name begins with `prefix`, in the order of their names.
    pub async fn list_topics(&self, prefix: &str) -> Result<Vec<TopicSummary>, Error> {
        let mut topics: Vec<TopicSummary> = Vec::new();
        loop {
            let after = topics.last().map(|topic| topic.name.clone()).unwrap_or_default();
            let request = v1::ListTopicsRequest { after: after.clone(), limit: 0, prefix: prefix.to_owned() };
            let page = ask!(&self.client.link, ListTopics, request, Repeat::Always, self.within())?;
            for topic in page.topics {
                topics.push(summary(Some(topic))?);
            }
            if !page.more {
                return Ok(topics);
            }
            if topics.last().is_none_or(|topic| topic.name <= after) {
                return Err(Error::Protocol("a page of topics that leads nowhere"));
            }
        }
    }

    /// The offset that `at` stands for, in each of these partitions, in their order.
    pub async fn list_offsets(
        &self,
        topic: &str,
        partitions: &[PartitionId],
        at: StartAt,
        isolation: Isolation,
    ) -> Result<Vec<Result<FoundOffset, Error>>, Error> {
        let mut found = Vec::with_capacity(partitions.len());
        for page in partitions.chunks(PLACES_MAX) {
            let place = |partition: &PartitionId| v1::list_offsets_request::Place {
                topic: Some(by_name(topic)),
                partition: partition.0,
                at: Some(at.to_proto()),
            };
            let request = v1::ListOffsetsRequest {
                places: page.iter().map(place).collect(),
                read_committed: isolation == Isolation::ReadCommitted,
            };
            let answer = ask!(&self.client.link, ListOffsets, request, Repeat::Always, self.within())?;
            if answer.results.len() != page.len() {
                return Err(Error::Protocol("another number of offsets than were asked for"));
            }
            found.extend(answer.results.into_iter().map(|result| match result.error {
                Some(error) => Err(error.into()),
                None => Ok(FoundOffset {
                    offset: Offset(result.offset),
                    timestamp: result.timestamp_ms.map(TimestampMs),
                }),
            }));
        }
        Ok(found)
    }

    /// Where the records of every partition are.
    pub async fn describe_storage(&self, topic: &str) -> Result<Vec<PartitionStorage>, Error> {
        let mut partitions: Vec<PartitionStorage> = Vec::new();
        loop {
            let first_partition = partitions.last().map_or(0, |last| last.partition.0 + 1);
            let request =
                v1::DescribeStorageRequest { topic: Some(by_name(topic)), first_partition, limit: 0 };
            let page = ask!(&self.client.link, DescribeStorage, request, Repeat::Always, self.within())?;
            for partition in page.partitions {
                partitions.push(storage(partition)?);
            }
            if !page.more {
                return Ok(partitions);
            }
            if partitions.last().is_none_or(|last| last.partition.0 < first_partition) {
                return Err(Error::Protocol("a page of partitions that leads nowhere"));
            }
        }
    }

    /// Uploads what is not in the bucket yet; returns when that is committed, or with the first failure.
    /// Whatever was not committed is tried again by the server itself.
    pub async fn offload(&self, topic: &str) -> Result<Offloaded, Error> {
        let request = v1::OffloadRequest { topic: Some(by_name(topic)) };
        let answer = ask!(&self.client.link, Offload, request, Repeat::Never, OFFLOAD_TIMEOUT)?;
        Ok(Offloaded { partitions: answer.partitions })
    }

    /// Drops the local copy of what is in the bucket.
    pub async fn evict(&self, topic: &str) -> Result<Evicted, Error> {
        let request = v1::EvictRequest { topic: Some(by_name(topic)) };
        let answer = ask!(&self.client.link, Evict, request, Repeat::Always, self.within())?;
        Ok(Evicted { partitions: answer.partitions })
    }
}

fn settings<K: Into<String>, V: Into<String>>(
    config: impl IntoIterator<Item = (K, V)>,
) -> BTreeMap<String, String> {
    config.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn summary(topic: Option<v1::Topic>) -> Result<TopicSummary, Error> {
    let topic = topic.ok_or(Error::Protocol("an answer without its topic"))?;
    Ok(TopicSummary {
        id: topic_id(&topic.id)?,
        name: topic.name,
        partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        overrides: topic.config.into_iter().collect(),
        created: TimestampMs(topic.created_ms),
    })
}

fn storage(partition: v1::PartitionStorage) -> Result<PartitionStorage, Error> {
    if let Some(error) = partition.error {
        return Err(error.into());
    }
    Ok(PartitionStorage {
        partition: PartitionId(partition.partition),
        log_start: Offset(partition.log_start),
        local_start: Offset(partition.local_start),
        tiered_end: Offset(partition.tiered_end),
        last_stable: Offset(partition.last_stable),
        high_watermark: Offset(partition.high_watermark),
        log_end: Offset(partition.log_end),
        local_bytes: partition.local_bytes,
        bucket_bytes: partition.bucket_bytes,
        segments: partition.segments,
        untiered_bytes: partition.untiered_bytes,
        untiered_ms: partition.untiered_ms,
    })
}
