//! Descriptors: what someone with nothing but the bucket must know of a cluster, its topics and its
//! partitions; and snapshots of what the cluster remembers beside its records.
//!
//! ```text
//!  envelopes of version 1 (see `object`)
//!  "TIDECLUS" section 1, required: cluster id 16 │ incarnation u32 │ reserved u32 │ sequence u64
//!     │ written i64 │ created i64 │ metadata revision u64 │ software string
//!  "TIDETOPC" section 1, required: topic 16 │ incarnation u32 │ partitions u32 │ sequence u64
//!     │ written i64 │ created i64 │ deleted i64 (-1: it exists) │ name string
//!     section 2, required, the configuration: table of pairs (see below), both parts UTF-8
//!  "TIDEPART" section 1, required: topic 16 │ partition u32 │ incarnation u32 │ epoch u32
//!     │ reserved u32 │ sequence u64 │ written i64 │ created i64
//!  "TIDESNAP" section 1, required: kind u16 │ reserved u16 │ incarnation u32 │ sequence u64
//!     │ taken i64 │ metadata revision u64
//!     section 2, required: table of pairs
//!  string: length u16 │ UTF-8        table of pairs: count u32 │ per pair: key length u16 │ key
//!     │ value length u32 │ value
//! ```
//!
//! A descriptor that changes is written again under a higher sequence; the highest (incarnation,
//! sequence) counts. A deleted topic keeps its last descriptor as a tombstone.

use bytes::{BufMut, Bytes, BytesMut};
use tidelog_model::{
    ClusterId, Incarnation, LeaderEpoch, ObjectId, TimestampMs, TopicId, TopicName, TopicPartition,
};

use crate::cursor::{Cursor, put_string, put_topic_partition};
use crate::key::{ObjectKey, SnapshotKind};
use crate::object::{DecodeError, Kind, Object, ObjectWriter};

const CLUSTER: Kind = Kind { what: "cluster descriptor", magic: *b"TIDECLUS", version: 1 };
const TOPIC: Kind = Kind { what: "topic descriptor", magic: *b"TIDETOPC", version: 1 };
const PARTITION: Kind = Kind { what: "partition descriptor", magic: *b"TIDEPART", version: 1 };
const SNAPSHOT: Kind = Kind { what: "snapshot", magic: *b"TIDESNAP", version: 1 };

const HEAD: u16 = 1;
const PAIRS: u16 = 2;

/// Longest string in a descriptor; what is longer is cut when it is written.
const STRING_BYTES_MAX: usize = 4096;
/// Most pairs of a topic's configuration.
const CONFIG_PAIRS_MAX: usize = 1024;

/// The cluster that owns the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescriptor {
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
    /// Counts the descriptor's versions.
    pub sequence: u64,
    pub written: TimestampMs,
    pub created: TimestampMs,
    /// The highest revision of the metadata store that was seen: a lower one later means that the
    /// store was restored from a backup.
    pub metadata_revision: u64,
    /// Name and version of the software that wrote this.
    pub software: String,
}

/// A topic, or the tombstone of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescriptor {
    pub topic: TopicId,
    pub name: TopicName,
    pub incarnation: Incarnation,
    /// Counts the descriptor's versions.
    pub sequence: u64,
    pub partitions: u32,
    pub written: TimestampMs,
    pub created: TimestampMs,
    /// When the topic was deleted.
    pub deleted: Option<TimestampMs>,
    /// The settings that differ from the defaults, in Kafka's names.
    pub config: Vec<(String, String)>,
}

/// A partition that has something in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescriptor {
    pub tp: TopicPartition,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// Counts the descriptor's versions.
    pub sequence: u64,
    pub written: TimestampMs,
    pub created: TimestampMs,
}

/// What the cluster remembered at one moment: pairs whose meaning the kind decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    pub kind: SnapshotKind,
    pub incarnation: Incarnation,
    /// Counts the snapshots of this kind.
    pub sequence: u64,
    pub taken: TimestampMs,
    pub metadata_revision: u64,
    pub pairs: Vec<(Bytes, Bytes)>,
}

impl ClusterDescriptor {
    pub fn key(&self, id: ObjectId) -> ObjectKey {
        ObjectKey::Cluster { incarnation: self.incarnation, sequence: self.sequence, id }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ObjectWriter::new(CLUSTER, 128);
        writer.required(HEAD, |out| {
            out.put_slice(self.cluster.as_bytes());
            out.put_u32(self.incarnation.0);
            out.put_u32(0);
            out.put_u64(self.sequence);
            out.put_i64(self.written.0);
            out.put_i64(self.created.0);
            out.put_u64(self.metadata_revision);
            put_string(out, bounded(&self.software));
        });
        writer.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let object = Object::open(CLUSTER, bytes, &[HEAD])?;
        let mut head = object.required(HEAD)?;
        let cluster = ClusterId::from_bytes(head.array()?);
        let incarnation = head.incarnation()?;
        head.skip(4)?;
        Ok(Self {
            cluster,
            incarnation,
            sequence: head.u64()?,
            written: head.timestamp()?,
            created: head.timestamp()?,
            metadata_revision: head.u64()?,
            software: head.string("the software's name")?.to_owned(),
        })
    }
}

impl TopicDescriptor {
    pub fn key(&self, id: ObjectId) -> ObjectKey {
        let Self { topic, incarnation, sequence, .. } = *self;
        ObjectKey::Topic { topic, incarnation, sequence, id }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ObjectWriter::new(TOPIC, 512);
        writer.required(HEAD, |out| {
            out.put_slice(self.topic.as_bytes());
            out.put_u32(self.incarnation.0);
            out.put_u32(self.partitions);
            out.put_u64(self.sequence);
            out.put_i64(self.written.0);
            out.put_i64(self.created.0);
            out.put_i64(self.deleted.unwrap_or(TimestampMs::NONE).0);
            put_string(out, self.name.as_str());
        });
        writer.required(PAIRS, |out| {
            let pairs = self.config.iter().take(CONFIG_PAIRS_MAX);
            put_pairs(out, pairs.map(|(key, value)| (bounded(key).as_bytes(), bounded(value).as_bytes())));
        });
        writer.finish()
    }

    /// Decodes the descriptor of `topic`; another topic's is refused.
    pub fn decode(bytes: &[u8], topic: TopicId) -> Result<Self, DecodeError> {
        let object = Object::open(TOPIC, bytes, &[HEAD, PAIRS])?;
        let mut head = object.required(HEAD)?;
        let found = TopicId::from_bytes(head.array()?);
        if found != topic {
            return Err(DecodeError::OtherTopic { what: TOPIC.what, expected: topic, found });
        }
        let incarnation = head.incarnation()?;
        let partitions = head.u32()?;
        let sequence = head.u64()?;
        let written = head.timestamp()?;
        let created = head.timestamp()?;
        let deleted = Some(head.timestamp()?).filter(|at| at.0 >= 0);
        let name = head.string("the name")?;
        let name = TopicName::new(name).map_err(|_| head.invalid("the name", "is no topic name"))?;
        let mut config = Vec::new();
        let mut pairs = object.required(PAIRS)?;
        for _ in 0..pairs.u32()? {
            if config.len() == CONFIG_PAIRS_MAX {
                return Err(pairs.invalid("the configuration", "has more than 1,024 settings"));
            }
            let (key, value) = read_pair(&mut pairs)?;
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
            let (Some(key), Some(value)) = (text(key), text(value)) else {
                return Err(pairs.invalid("the configuration", "is not UTF-8"));
            };
            config.push((key, value));
        }
        Ok(Self { topic, name, incarnation, sequence, partitions, written, created, deleted, config })
    }
}

impl PartitionDescriptor {
    pub fn key(&self, id: ObjectId) -> ObjectKey {
        let Self { tp, incarnation, sequence, .. } = *self;
        ObjectKey::Partition { tp, incarnation, sequence, id }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ObjectWriter::new(PARTITION, 128);
        writer.required(HEAD, |out| {
            put_topic_partition(out, self.tp);
            out.put_u32(self.incarnation.0);
            out.put_u32(self.epoch.0);
            out.put_u32(0);
            out.put_u64(self.sequence);
            out.put_i64(self.written.0);
            out.put_i64(self.created.0);
        });
        writer.finish()
    }

    /// Decodes the descriptor of partition `tp`; another partition's is refused.
    pub fn decode(bytes: &[u8], tp: TopicPartition) -> Result<Self, DecodeError> {
        let object = Object::open(PARTITION, bytes, &[HEAD])?;
        let mut head = object.required(HEAD)?;
        let found = head.topic_partition()?;
        if found != tp {
            return Err(DecodeError::OtherPartition { what: PARTITION.what, expected: tp, found });
        }
        let incarnation = head.incarnation()?;
        let epoch = head.epoch()?;
        head.skip(4)?;
        let sequence = head.u64()?;
        let written = head.timestamp()?;
        let created = head.timestamp()?;
        Ok(Self { tp, incarnation, epoch, sequence, written, created })
    }
}

impl Snapshot {
    pub fn key(&self, id: ObjectId) -> ObjectKey {
        let Self { kind, incarnation, sequence, .. } = *self;
        ObjectKey::Snapshot { kind, incarnation, sequence, id }
    }

    /// The snapshot's bytes. Keys must be shorter than 64 KiB.
    pub fn encode(&self) -> Bytes {
        let size: usize = self.pairs.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
        let mut writer = ObjectWriter::new(SNAPSHOT, 64 + size);
        writer.required(HEAD, |out| {
            out.put_u16(kind_code(self.kind));
            out.put_u16(0);
            out.put_u32(self.incarnation.0);
            out.put_u64(self.sequence);
            out.put_i64(self.taken.0);
            out.put_u64(self.metadata_revision);
        });
        writer.required(PAIRS, |out| {
            put_pairs(out, self.pairs.iter().map(|(key, value)| (&key[..], &value[..])));
        });
        writer.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let object = Object::open(SNAPSHOT, bytes, &[HEAD, PAIRS])?;
        let mut head = object.required(HEAD)?;
        let code = head.u16()?;
        let kind = SnapshotKind::ALL.into_iter().find(|kind| kind_code(*kind) == code);
        let kind = kind.ok_or_else(|| head.invalid("the kind", "is not known"))?;
        head.skip(2)?;
        let incarnation = head.incarnation()?;
        let sequence = head.u64()?;
        let taken = head.timestamp()?;
        let metadata_revision = head.u64()?;
        let mut list = object.required(PAIRS)?;
        let mut pairs = Vec::new();
        for _ in 0..list.u32()? {
            let (key, value) = read_pair(&mut list)?;
            pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        }
        Ok(Self { kind, incarnation, sequence, taken, metadata_revision, pairs })
    }
}

fn kind_code(kind: SnapshotKind) -> u16 {
    match kind {
        SnapshotKind::ConsumerOffsets => 1,
        SnapshotKind::AccessRules => 2,
    }
}

/// At most [`STRING_BYTES_MAX`] bytes of `text`, cut between characters.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(STRING_BYTES_MAX)]
}

fn put_pairs<'a>(out: &mut BytesMut, pairs: impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])>) {
    out.put_u32(u32::try_from(pairs.len()).expect("fewer than 2^32 pairs"));
    for (key, value) in pairs {
        out.put_u16(u16::try_from(key.len()).expect("keys are short"));
        out.put_slice(key);
        out.put_u32(u32::try_from(value.len()).expect("values are shorter than 4 GiB"));
        out.put_slice(value);
    }
}

fn read_pair<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a [u8], &'a [u8]), DecodeError> {
    let key_bytes = usize::from(cursor.u16()?);
    let key = cursor.take(key_bytes)?;
    let value_bytes = cursor.u32()? as usize;
    Ok((key, cursor.take(value_bytes)?))
}
