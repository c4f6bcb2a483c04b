//! What is in a bucket.

use serde::Serialize;
use tidelog_format::segment::SegmentEntry;
use tidelog_model::{
    ClusterId, Incarnation, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicName, TopicPartition,
};

use super::survey::{OpenRoot, Survey};
use super::{InspectError, Problem};
use crate::bucket::Bucket;
use crate::manifest::Manifests;

/// The cluster that wrote the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterListing {
    pub id: ClusterId,
    pub incarnation: Incarnation,
    pub created_ms: TimestampMs,
    pub software: String,
}

/// A partition, as its newest sound root describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartitionListing {
    pub partition: PartitionId,
    /// Key of the root; nothing when no sound one was found.
    pub root: Option<String>,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    pub sequence: u64,
    pub log_start_offset: Offset,
    pub tiered_end_offset: Offset,
    pub bytes: u64,
    pub segments: u64,
    pub records: u64,
    pub published_ms: TimestampMs,
    /// Segments, groups and state objects below the partition's prefix, named by the root or not.
    pub stored_objects: u64,
    pub stored_bytes: u64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicListing {
    pub id: TopicId,
    /// Nothing when the topic's descriptor is missing or damaged.
    pub name: Option<TopicName>,
    pub created_ms: Option<TimestampMs>,
    pub deleted_ms: Option<TimestampMs>,
    pub partitions: Vec<PartitionListing>,
}

/// The whole bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    pub cluster: Option<ClusterListing>,
    /// Highest incarnation of any object.
    pub incarnation: Option<Incarnation>,
    pub topics: Vec<TopicListing>,
    pub objects: u64,
    pub bytes: u64,
    /// Objects that are not Tidelog's.
    pub foreign_objects: u64,
    pub foreign_bytes: u64,
    pub problems: Vec<Problem>,
}

/// One segment of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentListing {
    pub key: String,
    pub first_offset: Offset,
    pub last_offset: Offset,
    pub first_timestamp_ms: TimestampMs,
    pub max_timestamp_ms: TimestampMs,
    pub records: u64,
    pub bytes: u64,
    pub created_ms: TimestampMs,
}

impl SegmentListing {
    fn new(tp: TopicPartition, segment: &SegmentEntry) -> Self {
        Self {
            key: segment.key(tp).to_string(),
            first_offset: segment.first_offset,
            last_offset: segment.last_offset,
            first_timestamp_ms: segment.first_timestamp,
            max_timestamp_ms: segment.max_timestamp,
            records: segment.records,
            bytes: segment.bytes,
            created_ms: segment.created,
        }
    }
}

/// Lists the topics, by name or id where `topic` is given, and their partitions.
pub async fn list(bucket: &Bucket, topic: Option<&str>) -> Result<Listing, InspectError> {
    let survey = Survey::take(bucket).await?;
    let selected = survey.select(topic)?;
    let mut problems = survey.problems.clone();
    let mut topics = Vec::with_capacity(selected.len());
    for id in selected {
        let descriptor = survey.topics.get(&id).and_then(Option::as_ref);
        let mut partitions = Vec::new();
        for (tp, keys) in survey.partitions.iter().filter(|(tp, _)| tp.topic == id) {
            let (root, found) = keys.newest_root(bucket, *tp).await?;
            problems.extend(found);
            let mut listing = root.map_or_else(|| unknown(*tp), |root| describe(&root));
            listing.stored_objects = keys.stored.objects;
            listing.stored_bytes = keys.stored.bytes;
            partitions.push(listing);
        }
        topics.push(TopicListing {
            id,
            name: descriptor.map(|d| d.name.clone()),
            created_ms: descriptor.map(|d| d.created),
            deleted_ms: descriptor.and_then(|d| d.deleted),
            partitions,
        });
    }
    Ok(Listing {
        cluster: survey.cluster.map(|cluster| ClusterListing {
            id: cluster.cluster,
            incarnation: cluster.incarnation,
            created_ms: cluster.created,
            software: cluster.software,
        }),
        incarnation: survey.incarnation,
        topics,
        objects: survey.all.objects,
        bytes: survey.all.bytes,
        foreign_objects: survey.foreign.objects,
        foreign_bytes: survey.foreign.bytes,
        problems,
    })
}

/// The segments of one partition, oldest first. `topic` is a name or an id.
pub async fn segments(
    bucket: &Bucket,
    topic: &str,
    partition: PartitionId,
) -> Result<Vec<SegmentListing>, InspectError> {
    let (tp, OpenRoot { root, bytes }) = open(bucket, topic, partition).await?;
    let manifests = Manifests::new(bucket.clone(), super::verify::NODE_CACHE_BYTES);
    let pointer = root.pointer(bytes);
    let mut next = Offset::ZERO;
    let mut segments = Vec::new();
    while let Some(segment) = manifests.find_offset(tp, &pointer, next).await? {
        next = segment.next_offset();
        segments.push(SegmentListing::new(tp, &segment));
    }
    Ok(segments)
}

/// A partition with its newest sound root. When there is none, the reason is the error.
pub(super) async fn open(
    bucket: &Bucket,
    topic: &str,
    partition: PartitionId,
) -> Result<(TopicPartition, OpenRoot), InspectError> {
    let (tp, keys) = Survey::of_partition(bucket, topic, partition).await?;
    let nothing = || InspectError::NoSuchPartition { topic: topic.to_owned(), partition };
    let keys = keys.ok_or_else(nothing)?;
    match keys.newest_root(bucket, tp).await? {
        (Some(root), _) => Ok((tp, root)),
        (None, problems) => {
            Err(problems.into_iter().next().map_or_else(nothing, |p| InspectError::Damaged(p.into())))
        }
    }
}

fn describe(open: &OpenRoot) -> PartitionListing {
    let root = &open.root;
    PartitionListing {
        partition: root.tp.partition,
        root: Some(root.key().to_string()),
        incarnation: root.incarnation,
        epoch: root.epoch,
        sequence: root.sequence,
        log_start_offset: root.log_start,
        tiered_end_offset: root.tiered_end,
        bytes: root.bytes,
        segments: root.segments,
        records: root.records,
        published_ms: root.published,
        stored_objects: 0,
        stored_bytes: 0,
    }
}

fn unknown(tp: TopicPartition) -> PartitionListing {
    PartitionListing {
        partition: tp.partition,
        root: None,
        incarnation: Incarnation(0),
        epoch: LeaderEpoch(0),
        sequence: 0,
        log_start_offset: Offset::ZERO,
        tiered_end_offset: Offset::ZERO,
        bytes: 0,
        segments: 0,
        records: 0,
        published_ms: TimestampMs::NONE,
        stored_objects: 0,
        stored_bytes: 0,
    }
}
