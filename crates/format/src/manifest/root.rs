//! The root of a partition's manifest: what a pointer names.
//!
//! ```text
//!  envelope "TIDEROOT" version 1 (see `object`)
//!  section 1, required (108 bytes): topic 16 │ partition u32 │ incarnation u32 │ epoch u32
//!     │ reserved u32 │ sequence u64 │ object id 16 │ log start offset u64 │ tiered end offset u64
//!     │ bytes u64 │ segments u64 │ records u64 │ published i64 │ reserved u32
//!  section 2, required: table of entries (see `entry`)
//!  section 3, optional, the predecessor (36 bytes): incarnation u32 │ epoch u32 │ sequence u64
//!     │ object id 16 │ bytes u32
//!  section 4, required, the state object (36 bytes): incarnation u32 │ epoch u32 │ offset u64
//!     │ object id 16 │ bytes u32
//! ```
//!
//! Sections from 5 on are free for what comes later (objects that are retired, for one). A writer
//! that does not know an optional section carries it over to the next root.

use bytes::{BufMut, Bytes};
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TimestampMs, TopicPartition};

use super::entry::{ENTRY_BYTES, Entry, LEVEL_MAX, put_entries, read_entries};
use crate::cursor::{Cursor, put_topic_partition};
use crate::key::ObjectKey;
use crate::object::{DecodeError, Kind, Object, ObjectWriter, Section};
use crate::pointer::Pointer;

const KIND: Kind = Kind { what: "manifest root", magic: *b"TIDEROOT", version: 1 };

const ROOT: u16 = 1;
const ENTRIES: u16 = 2;
const PREDECESSOR: u16 = 3;
const STATE: u16 = 4;
const KNOWN: &[u16] = &[ROOT, ENTRIES, PREDECESSOR, STATE];
const FIXED_BYTES: usize = 256;

/// Names an earlier root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootRef {
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    pub sequence: u64,
    pub id: ObjectId,
    /// Size of the object.
    pub bytes: u32,
}

impl RootRef {
    pub fn key(&self, tp: TopicPartition) -> ObjectKey {
        let Self { incarnation, epoch, sequence, id, .. } = *self;
        ObjectKey::Root { tp, incarnation, epoch, sequence, id }
    }
}

impl From<&Pointer> for RootRef {
    fn from(pointer: &Pointer) -> Self {
        Self {
            incarnation: pointer.incarnation,
            epoch: pointer.epoch,
            sequence: pointer.sequence,
            id: pointer.root,
            bytes: pointer.root_bytes,
        }
    }
}

/// Names the state object at the tiered end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateRef {
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// The end that the state describes.
    pub offset: Offset,
    pub id: ObjectId,
    /// Size of the object.
    pub bytes: u32,
}

impl StateRef {
    pub fn key(&self, tp: TopicPartition) -> ObjectKey {
        let Self { incarnation, epoch, offset, id, .. } = *self;
        ObjectKey::State { tp, incarnation, epoch, offset, id }
    }
}

/// The root of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    pub tp: TopicPartition,
    /// Incarnation and epoch of the leader that wrote the root.
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// Counts the partition's roots, from 1.
    pub sequence: u64,
    pub id: ObjectId,
    pub log_start: Offset,
    pub tiered_end: Offset,
    /// Sums over all segments that are listed.
    pub bytes: u64,
    pub segments: u64,
    pub records: u64,
    /// When the root was written, by the writer's clock.
    pub published: TimestampMs,
    pub predecessor: Option<RootRef>,
    pub state: StateRef,
    pub entries: Vec<Entry>,
    /// Optional sections of newer software.
    pub extra: Vec<Section>,
}

impl Root {
    pub fn key(&self) -> ObjectKey {
        ObjectKey::Root {
            tp: self.tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            sequence: self.sequence,
            id: self.id,
        }
    }

    /// The pointer that makes this root current; `root_bytes` is the size of its encoding.
    pub fn pointer(&self, root_bytes: u32) -> Pointer {
        Pointer {
            incarnation: self.incarnation,
            epoch: self.epoch,
            sequence: self.sequence,
            root: self.id,
            root_bytes,
            log_start: self.log_start,
            tiered_end: self.tiered_end,
            bytes: self.bytes,
            segments: self.segments,
            records: self.records,
        }
    }

    pub fn encode(&self) -> Bytes {
        let capacity = FIXED_BYTES + self.entries.len() * ENTRY_BYTES;
        let mut writer = ObjectWriter::new(KIND, capacity);
        writer.required(ROOT, |out| {
            put_topic_partition(out, self.tp);
            out.put_u32(self.incarnation.0);
            out.put_u32(self.epoch.0);
            out.put_u32(0);
            out.put_u64(self.sequence);
            out.put_slice(self.id.as_bytes());
            out.put_u64(self.log_start.0);
            out.put_u64(self.tiered_end.0);
            out.put_u64(self.bytes);
            out.put_u64(self.segments);
            out.put_u64(self.records);
            out.put_i64(self.published.0);
            out.put_u32(0);
        });
        writer.required(ENTRIES, |out| put_entries(out, &self.entries));
        if let Some(predecessor) = &self.predecessor {
            writer.optional(PREDECESSOR, |out| {
                out.put_u32(predecessor.incarnation.0);
                out.put_u32(predecessor.epoch.0);
                out.put_u64(predecessor.sequence);
                out.put_slice(predecessor.id.as_bytes());
                out.put_u32(predecessor.bytes);
            });
        }
        writer.required(STATE, |out| {
            out.put_u32(self.state.incarnation.0);
            out.put_u32(self.state.epoch.0);
            out.put_u64(self.state.offset.0);
            out.put_slice(self.state.id.as_bytes());
            out.put_u32(self.state.bytes);
        });
        writer.extra(&self.extra);
        writer.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let object = Object::open(KIND, bytes, KNOWN)?;
        let mut head = object.required(ROOT)?;
        let tp = head.topic_partition()?;
        let incarnation = head.incarnation()?;
        let epoch = head.epoch()?;
        head.skip(4)?;
        let root = Self {
            tp,
            incarnation,
            epoch,
            sequence: head.u64()?,
            id: head.object_id()?,
            log_start: head.offset("the log start offset")?,
            tiered_end: head.offset("the tiered end offset")?,
            bytes: head.u64()?,
            segments: head.u64()?,
            records: head.u64()?,
            published: head.timestamp()?,
            predecessor: object.optional(PREDECESSOR).map(read_root_ref).transpose()?,
            state: read_state_ref(object.required(STATE)?)?,
            entries: read_entries(&mut object.required(ENTRIES)?, LEVEL_MAX + 1)?,
            extra: object.extra(KNOWN),
        };
        if root.log_start > root.tiered_end {
            return Err(head.invalid("the log start offset", "is above the tiered end offset"));
        }
        if root.entries.last().is_some_and(|last| last.next_offset() != root.tiered_end) {
            return Err(head.invalid("the tiered end offset", "is not where the last entry ends"));
        }
        if root.state.offset != root.tiered_end {
            return Err(head.invalid("the state object", "does not describe the tiered end"));
        }
        Ok(root)
    }

    /// Decodes the root that `pointer` names and checks that it is that one.
    pub fn decode_expected(bytes: &[u8], tp: TopicPartition, pointer: &Pointer) -> Result<Self, DecodeError> {
        let root = Self::decode(bytes)?;
        if root.tp != tp {
            return Err(DecodeError::OtherPartition { what: KIND.what, expected: tp, found: root.tp });
        }
        if root.pointer(pointer.root_bytes) != *pointer {
            let (field, reason) = ("the root", "is not the one that the pointer describes");
            return Err(DecodeError::Invalid { what: KIND.what, field, reason });
        }
        Ok(root)
    }
}

fn read_root_ref(mut cursor: Cursor<'_>) -> Result<RootRef, DecodeError> {
    Ok(RootRef {
        incarnation: cursor.incarnation()?,
        epoch: cursor.epoch()?,
        sequence: cursor.u64()?,
        id: cursor.object_id()?,
        bytes: cursor.u32()?,
    })
}

fn read_state_ref(mut cursor: Cursor<'_>) -> Result<StateRef, DecodeError> {
    Ok(StateRef {
        incarnation: cursor.incarnation()?,
        epoch: cursor.epoch()?,
        offset: cursor.offset("the state's offset")?,
        id: cursor.object_id()?,
        bytes: cursor.u32()?,
    })
}
