//! Every key in the bucket, on one screen.
//!
//! ```text
//!  cluster/{incarnation}-{sequence}-{id}.cluster                        cluster descriptor
//!  topics/{topic}/{incarnation}-{sequence}-{id}.topic                   topic descriptor or tombstone
//!  snapshots/{kind}/{incarnation}-{sequence}-{id}.snapshot              consumer offsets, access rules
//!  data/{hh}/{topic}/{partition}/{incarnation}-{sequence}-{id}.partition          descriptor
//!  data/{hh}/{topic}/{partition}/root/{incarnation}-{epoch}-{sequence}-{id}.root
//!  data/{hh}/{topic}/{partition}/state/{incarnation}-{epoch}-{offset}-{id}.state
//!  data/{hh}/{topic}/{partition}/group/{offset}-{incarnation}-{epoch}-{id}.group
//!  data/{hh}/{topic}/{partition}/segment/{offset}-{incarnation}-{epoch}-{id}.segment
//! ```
//!
//! Ids (topic, object) are 32 lower-case hexadecimal digits, 32-bit numbers 10 decimal digits, 64-bit
//! numbers 20, so that keys sort as their numbers do: the newest descriptor or root of a listing is
//! its last, segments come in order of offsets. `{hh}` is the first byte of the CRC-32C of topic id
//! and partition: it spreads partitions over 256 prefixes, because stores limit requests per prefix,
//! and still leaves one prefix to list per partition. Incarnations can be listed below `cluster/`.
//! A key is never written twice: the random id is new for every upload.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, TopicId, TopicPartition};

use crate::checksum::Crc32c;

/// Longest key of the layout; what is longer is not ours.
pub const KEY_BYTES_MAX: usize = 192;

/// What kind of snapshot an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SnapshotKind {
    /// Consumer groups' committed offsets.
    ConsumerOffsets,
    /// Access rules.
    AccessRules,
}

impl SnapshotKind {
    pub const ALL: [Self; 2] = [Self::ConsumerOffsets, Self::AccessRules];

    pub fn name(self) -> &'static str {
        match self {
            Self::ConsumerOffsets => "consumer-offsets",
            Self::AccessRules => "access-rules",
        }
    }
}

/// The name of an object in the bucket, below the prefix that the bucket's URL gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    Cluster {
        incarnation: Incarnation,
        sequence: u64,
        id: ObjectId,
    },
    Topic {
        topic: TopicId,
        incarnation: Incarnation,
        sequence: u64,
        id: ObjectId,
    },
    Snapshot {
        kind: SnapshotKind,
        incarnation: Incarnation,
        sequence: u64,
        id: ObjectId,
    },
    Partition {
        tp: TopicPartition,
        incarnation: Incarnation,
        sequence: u64,
        id: ObjectId,
    },
    Root {
        tp: TopicPartition,
        incarnation: Incarnation,
        epoch: LeaderEpoch,
        sequence: u64,
        id: ObjectId,
    },
    /// `offset` is the end that the state describes.
    State {
        tp: TopicPartition,
        incarnation: Incarnation,
        epoch: LeaderEpoch,
        offset: Offset,
        id: ObjectId,
    },
    /// `offset` is the first that the group covers.
    Group {
        tp: TopicPartition,
        incarnation: Incarnation,
        epoch: LeaderEpoch,
        offset: Offset,
        id: ObjectId,
    },
    /// `offset` is the first that the segment covers.
    Segment {
        tp: TopicPartition,
        incarnation: Incarnation,
        epoch: LeaderEpoch,
        offset: Offset,
        id: ObjectId,
    },
}

/// A key that is not of this layout. Foreign objects are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is not a key of Tidelog's bucket layout")]
pub struct KeyError(pub String);

/// Below it: everything of every partition.
pub const DATA_PREFIX: &str = "data/";
/// Below it: cluster descriptors.
pub const CLUSTER_PREFIX: &str = "cluster/";
/// Below it: topic descriptors.
pub const TOPICS_PREFIX: &str = "topics/";

/// Below it: the descriptors of one topic.
pub fn topic_prefix(topic: TopicId) -> String {
    format!("{TOPICS_PREFIX}{topic}/")
}

/// Below it: the snapshots of one kind.
pub fn snapshot_prefix(kind: SnapshotKind) -> String {
    format!("snapshots/{}/", kind.name())
}

/// Below it: everything of one partition.
pub fn partition_prefix(tp: TopicPartition) -> String {
    format!("{DATA_PREFIX}{:02x}/{}/{:010}/", spread(tp), tp.topic, tp.partition.0)
}

/// Below it: the manifest roots of one partition, the newest last.
pub fn roots_prefix(tp: TopicPartition) -> String {
    partition_prefix(tp) + "root/"
}

/// Below it: the segments of one partition, in order of offsets.
pub fn segments_prefix(tp: TopicPartition) -> String {
    partition_prefix(tp) + "segment/"
}

/// The byte that spreads partitions over prefixes.
fn spread(tp: TopicPartition) -> u8 {
    let crc = Crc32c::new().with(tp.topic.as_bytes()).with(&tp.partition.0.to_be_bytes()).finish();
    crc.to_be_bytes()[0]
}

impl ObjectKey {
    pub fn id(&self) -> ObjectId {
        match self {
            Self::Cluster { id, .. }
            | Self::Topic { id, .. }
            | Self::Snapshot { id, .. }
            | Self::Partition { id, .. }
            | Self::Root { id, .. }
            | Self::State { id, .. }
            | Self::Group { id, .. }
            | Self::Segment { id, .. } => *id,
        }
    }

    pub fn incarnation(&self) -> Incarnation {
        match self {
            Self::Cluster { incarnation, .. }
            | Self::Topic { incarnation, .. }
            | Self::Snapshot { incarnation, .. }
            | Self::Partition { incarnation, .. }
            | Self::Root { incarnation, .. }
            | Self::State { incarnation, .. }
            | Self::Group { incarnation, .. }
            | Self::Segment { incarnation, .. } => *incarnation,
        }
    }

    /// The partition that the object belongs to, if it belongs to one.
    pub fn partition(&self) -> Option<TopicPartition> {
        match self {
            Self::Cluster { .. } | Self::Topic { .. } | Self::Snapshot { .. } => None,
            Self::Partition { tp, .. }
            | Self::Root { tp, .. }
            | Self::State { tp, .. }
            | Self::Group { tp, .. }
            | Self::Segment { tp, .. } => Some(*tp),
        }
    }

    /// The word at the end of the key, after its dot.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cluster { .. } => "cluster",
            Self::Topic { .. } => "topic",
            Self::Snapshot { .. } => "snapshot",
            Self::Partition { .. } => "partition",
            Self::Root { .. } => "root",
            Self::State { .. } => "state",
            Self::Group { .. } => "group",
            Self::Segment { .. } => "segment",
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match self {
            Self::Cluster { incarnation, sequence, id } => {
                write!(f, "{CLUSTER_PREFIX}{:010}-{sequence:020}-{id}.{kind}", incarnation.0)
            }
            Self::Topic { topic, incarnation, sequence, id } => {
                write!(f, "{}{:010}-{sequence:020}-{id}.{kind}", topic_prefix(*topic), incarnation.0)
            }
            Self::Snapshot { kind: of, incarnation, sequence, id } => {
                write!(f, "{}{:010}-{sequence:020}-{id}.{kind}", snapshot_prefix(*of), incarnation.0)
            }
            Self::Partition { tp, incarnation, sequence, id } => {
                write!(f, "{}{:010}-{sequence:020}-{id}.{kind}", partition_prefix(*tp), incarnation.0)
            }
            Self::Root { tp, incarnation, epoch, sequence, id } => {
                let (prefix, incarnation, epoch) = (partition_prefix(*tp), incarnation.0, epoch.0);
                write!(f, "{prefix}{kind}/{incarnation:010}-{epoch:010}-{sequence:020}-{id}.{kind}")
            }
            Self::State { tp, incarnation, epoch, offset, id } => {
                let (prefix, incarnation, epoch) = (partition_prefix(*tp), incarnation.0, epoch.0);
                write!(f, "{prefix}{kind}/{incarnation:010}-{epoch:010}-{:020}-{id}.{kind}", offset.0)
            }
            Self::Group { tp, incarnation, epoch, offset, id }
            | Self::Segment { tp, incarnation, epoch, offset, id } => {
                let (prefix, incarnation, epoch) = (partition_prefix(*tp), incarnation.0, epoch.0);
                write!(f, "{prefix}{kind}/{:020}-{incarnation:010}-{epoch:010}-{id}.{kind}", offset.0)
            }
        }
    }
}

impl FromStr for ObjectKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // Only the canonical spelling is a key: what does not come back as it went in is foreign.
        (text.len() <= KEY_BYTES_MAX)
            .then(|| parse(text))
            .flatten()
            .filter(|key| key.to_string() == text)
            .ok_or_else(|| KeyError(text.chars().take(KEY_BYTES_MAX).collect()))
    }
}

fn parse(text: &str) -> Option<ObjectKey> {
    let (path, kind) = text.rsplit_once('.')?;
    let mut parts = path.split('/');
    let area = parts.next()?;
    let parts: Vec<&str> = parts.take(6).collect();
    match (area, parts.as_slice(), kind) {
        ("cluster", [name], "cluster") => {
            let (incarnation, sequence, id) = descriptor_name(name)?;
            Some(ObjectKey::Cluster { incarnation, sequence, id })
        }
        ("topics", [topic, name], "topic") => {
            let (incarnation, sequence, id) = descriptor_name(name)?;
            Some(ObjectKey::Topic { topic: topic.parse().ok()?, incarnation, sequence, id })
        }
        ("snapshots", [of, name], "snapshot") => {
            let kind = SnapshotKind::ALL.into_iter().find(|kind| kind.name() == *of)?;
            let (incarnation, sequence, id) = descriptor_name(name)?;
            Some(ObjectKey::Snapshot { kind, incarnation, sequence, id })
        }
        ("data", [_, topic, partition, name], "partition") => {
            let tp = topic_partition(topic, partition)?;
            let (incarnation, sequence, id) = descriptor_name(name)?;
            Some(ObjectKey::Partition { tp, incarnation, sequence, id })
        }
        ("data", [_, topic, partition, area, name], kind) if *area == kind => {
            partition_object(topic_partition(topic, partition)?, kind, name)
        }
        _ => None,
    }
}

fn topic_partition(topic: &str, partition: &str) -> Option<TopicPartition> {
    let topic: TopicId = topic.parse().ok()?;
    Some(TopicPartition { topic, partition: PartitionId(partition.parse().ok()?) })
}

fn descriptor_name(name: &str) -> Option<(Incarnation, u64, ObjectId)> {
    let (incarnation, rest) = name.split_once('-')?;
    let (sequence, id) = rest.split_once('-')?;
    Some((Incarnation(incarnation.parse().ok()?), sequence.parse().ok()?, id.parse().ok()?))
}

fn partition_object(tp: TopicPartition, kind: &str, name: &str) -> Option<ObjectKey> {
    let mut fields = name.splitn(4, '-');
    let (a, b, c, id) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let id: ObjectId = id.parse().ok()?;
    if matches!(kind, "root" | "state") {
        let (incarnation, epoch) = (Incarnation(a.parse().ok()?), LeaderEpoch(b.parse().ok()?));
        let number: u64 = c.parse().ok()?;
        return Some(match kind {
            "root" => ObjectKey::Root { tp, incarnation, epoch, sequence: number, id },
            _ => ObjectKey::State { tp, incarnation, epoch, offset: offset(number)?, id },
        });
    }
    let offset = offset(a.parse().ok()?)?;
    let (incarnation, epoch) = (Incarnation(b.parse().ok()?), LeaderEpoch(c.parse().ok()?));
    match kind {
        "group" => Some(ObjectKey::Group { tp, incarnation, epoch, offset, id }),
        "segment" => Some(ObjectKey::Segment { tp, incarnation, epoch, offset, id }),
        _ => None,
    }
}

fn offset(number: u64) -> Option<Offset> {
    Some(Offset(number)).filter(|offset| *offset <= Offset::MAX)
}
