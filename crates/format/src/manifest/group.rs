//! A node below the root: entries that were folded together.
//!
//! ```text
//!  envelope "TIDEGRUP" version 1 (see `object`)
//!  section 1, required (64 bytes): topic 16 │ partition u32 │ incarnation u32 │ epoch u32
//!     │ level u8 │ reserved 3 │ object id 16 │ first offset u64 │ created i64
//!  section 2, required: table of entries (see `entry`)
//! ```

use bytes::{BufMut, Bytes};
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TimestampMs, TopicPartition};

use super::entry::{ENTRY_BYTES, Entry, LEVEL_MAX, put_entries, read_entries};
use crate::cursor::put_topic_partition;
use crate::key::ObjectKey;
use crate::object::{DecodeError, Kind, Object, ObjectWriter};

const KIND: Kind = Kind { what: "manifest group", magic: *b"TIDEGRUP", version: 1 };

const GROUP: u16 = 1;
const ENTRIES: u16 = 2;
const KNOWN: &[u16] = &[GROUP, ENTRIES];
const GROUP_BYTES: usize = 64;
/// Envelope, section heads and table head.
const OVERHEAD_BYTES: usize = 16 + 2 * 8 + 8 + 4;

/// An inner node of the manifest tree. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub tp: TopicPartition,
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    pub id: ObjectId,
    pub level: u8,
    pub created: TimestampMs,
    pub entries: Vec<Entry>,
}

impl Group {
    pub fn first_offset(&self) -> Offset {
        self.entries.first().map_or(Offset::ZERO, |entry| entry.first_offset)
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey::Group {
            tp: self.tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            offset: self.first_offset(),
            id: self.id,
        }
    }

    /// Size of the encoded node.
    pub fn encoded_bytes(&self) -> usize {
        OVERHEAD_BYTES + GROUP_BYTES + self.entries.len() * ENTRY_BYTES
    }

    /// The entry by which the parent names this group; `None` for a group without entries.
    pub fn entry(&self) -> Option<Entry> {
        let (first, last) = (self.entries.first()?, self.entries.last()?);
        Some(Entry {
            level: self.level,
            first_offset: first.first_offset,
            last_offset: last.last_offset,
            first_timestamp: first.first_timestamp,
            max_timestamp: self.entries.iter().map(|e| e.max_timestamp).max()?,
            running_max_timestamp: last.running_max_timestamp,
            bytes: self.entries.iter().fold(0, |sum, e| sum.saturating_add(e.bytes)),
            id: self.id,
            incarnation: self.incarnation,
            epoch: self.epoch,
            tail_bytes: u32::try_from(self.encoded_bytes()).unwrap_or(u32::MAX),
            records: self.entries.iter().fold(0, |sum, e| sum.saturating_add(e.records)),
            created: self.created,
            segments: self.entries.iter().fold(0, |sum, e| sum.saturating_add(e.segments)),
        })
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ObjectWriter::new(KIND, self.encoded_bytes());
        writer.required(GROUP, |out| {
            put_topic_partition(out, self.tp);
            out.put_u32(self.incarnation.0);
            out.put_u32(self.epoch.0);
            out.put_u8(self.level);
            out.put_bytes(0, 3);
            out.put_slice(self.id.as_bytes());
            out.put_u64(self.first_offset().0);
            out.put_i64(self.created.0);
        });
        writer.required(ENTRIES, |out| put_entries(out, &self.entries));
        writer.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let object = Object::open(KIND, bytes, KNOWN)?;
        let mut head = object.required(GROUP)?;
        let tp = head.topic_partition()?;
        let incarnation = head.incarnation()?;
        let epoch = head.epoch()?;
        let level = head.u8()?;
        head.skip(3)?;
        let id = head.object_id()?;
        let first_offset = head.offset("the first offset")?;
        let created = head.timestamp()?;
        if level == 0 || level > LEVEL_MAX {
            return Err(head.invalid("the level", "is not between 1 and 8"));
        }
        let entries = read_entries(&mut object.required(ENTRIES)?, level)?;
        if entries.first().map(|entry| entry.first_offset) != Some(first_offset) {
            return Err(head.invalid("the first offset", "is not that of the first entry"));
        }
        Ok(Self { tp, incarnation, epoch, id, level, created, entries })
    }

    /// Decodes the group that `expected` names and checks that it is that one.
    pub fn decode_expected(bytes: &[u8], tp: TopicPartition, expected: &Entry) -> Result<Self, DecodeError> {
        let group = Self::decode(bytes)?;
        if group.tp != tp {
            return Err(DecodeError::OtherPartition { what: KIND.what, expected: tp, found: group.tp });
        }
        if group.entry().as_ref() != Some(expected) {
            let (field, reason) = ("the group", "is not the one that its parent describes");
            return Err(DecodeError::Invalid { what: KIND.what, field, reason });
        }
        Ok(group)
    }
}
