//! One entry of a node: a segment, or a group of them.
//!
//! ```text
//!   0 first offset u64 │ 8 last offset u64 │ 16 first timestamp i64 │ 24 max timestamp i64
//!  32 running max timestamp i64 │ 40 bytes u64 │ 48 object id 16 │ 64 incarnation u32 │ 68 epoch u32
//!  72 level u8 │ 73 flags u8 = 0 │ 74 reserved u16 │ 76 tail bytes or node bytes u32
//!  80 records u64 │ 88 created i64 │ 96 segments u32 │ 100 reserved u32
//! ```

use bytes::BufMut;
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TimestampMs, TopicPartition};

use crate::cursor::{Cursor, put_table};
use crate::key::ObjectKey;
use crate::object::DecodeError;
use crate::segment::SegmentEntry;

/// Size of an entry.
pub const ENTRY_BYTES: usize = 104;

/// Highest level of a group. Bounds how deep a lookup can go, whatever the bytes say.
pub const LEVEL_MAX: u8 = 8;

/// Most entries of a node that a reader accepts.
pub const NODE_ENTRIES_MAX: usize = 65_536;

/// A segment (level 0) or a group (its level is above that of all its entries).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub level: u8,
    pub first_offset: Offset,
    pub last_offset: Offset,
    /// Base timestamp of the first batch.
    pub first_timestamp: TimestampMs,
    /// Largest timestamp in it.
    pub max_timestamp: TimestampMs,
    /// Largest timestamp in it and in everything before it: never falls from entry to entry.
    pub running_max_timestamp: TimestampMs,
    /// Size of the segment, or of all segments in the group.
    pub bytes: u64,
    pub id: ObjectId,
    /// Incarnation and epoch of the leader that wrote the object.
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// A segment's index and footer, or the size of the group's node.
    pub tail_bytes: u32,
    pub records: u64,
    /// When the object was written, by the writer's clock.
    pub created: TimestampMs,
    /// How many segments it stands for: 1, or all in the group.
    pub segments: u32,
}

impl Entry {
    /// The entry of a segment that comes after everything with `running_max`.
    pub fn of_segment(segment: &SegmentEntry, running_max: TimestampMs) -> Self {
        Self {
            level: 0,
            first_offset: segment.first_offset,
            last_offset: segment.last_offset,
            first_timestamp: segment.first_timestamp,
            max_timestamp: segment.max_timestamp,
            running_max_timestamp: running_max.max(segment.max_timestamp),
            bytes: segment.bytes,
            id: segment.id,
            incarnation: segment.incarnation,
            epoch: segment.epoch,
            tail_bytes: segment.tail_bytes,
            records: segment.records,
            created: segment.created,
            segments: 1,
        }
    }

    pub fn is_segment(&self) -> bool {
        self.level == 0
    }

    /// The segment that this is, unless it is a group.
    pub fn segment(&self) -> Option<SegmentEntry> {
        self.is_segment().then_some(SegmentEntry {
            id: self.id,
            incarnation: self.incarnation,
            epoch: self.epoch,
            first_offset: self.first_offset,
            last_offset: self.last_offset,
            first_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            bytes: self.bytes,
            tail_bytes: self.tail_bytes,
            records: self.records,
            created: self.created,
        })
    }

    pub fn next_offset(&self) -> Offset {
        self.last_offset + 1
    }

    /// Size of the object that the entry names.
    pub fn object_bytes(&self) -> u64 {
        if self.is_segment() { self.bytes } else { self.tail_bytes.into() }
    }

    /// The key of the object that the entry names.
    pub fn key(&self, tp: TopicPartition) -> ObjectKey {
        let Self { incarnation, epoch, first_offset: offset, id, .. } = *self;
        if self.is_segment() {
            ObjectKey::Segment { tp, incarnation, epoch, offset, id }
        } else {
            ObjectKey::Group { tp, incarnation, epoch, offset, id }
        }
    }
}

pub(super) fn put_entries(out: &mut impl BufMut, entries: &[Entry]) {
    put_table(out, ENTRY_BYTES, 0, entries.len());
    for entry in entries {
        out.put_u64(entry.first_offset.0);
        out.put_u64(entry.last_offset.0);
        out.put_i64(entry.first_timestamp.0);
        out.put_i64(entry.max_timestamp.0);
        out.put_i64(entry.running_max_timestamp.0);
        out.put_u64(entry.bytes);
        out.put_slice(entry.id.as_bytes());
        out.put_u32(entry.incarnation.0);
        out.put_u32(entry.epoch.0);
        out.put_u8(entry.level);
        out.put_u8(0);
        out.put_u16(0);
        out.put_u32(entry.tail_bytes);
        out.put_u64(entry.records);
        out.put_i64(entry.created.0);
        out.put_u32(entry.segments);
        out.put_u32(0);
    }
}

/// Reads a node's entries and checks that offsets and running maxima ascend. Holes between entries
/// are not refused here: a reader steps over them, `verify` reports them.
pub(super) fn read_entries(cursor: &mut Cursor<'_>, below: u8) -> Result<Vec<Entry>, DecodeError> {
    let table = cursor.table(ENTRY_BYTES)?;
    if table.count > NODE_ENTRIES_MAX {
        return Err(cursor.invalid("the list of entries", "is longer than 65,536"));
    }
    let mut entries: Vec<Entry> = Vec::with_capacity(table.count);
    for _ in 0..table.count {
        let mut bytes = cursor.sub(table.entry_bytes)?;
        let entry = read_entry(&mut bytes)?;
        if entry.level >= below {
            return Err(cursor.invalid("an entry's level", "is not below its node's"));
        }
        if entry.first_offset > entry.last_offset {
            return Err(cursor.invalid("an entry's first offset", "is above its last"));
        }
        if entry.running_max_timestamp < entry.max_timestamp {
            return Err(cursor.invalid("an entry's running maximum", "is below its maximum"));
        }
        if let Some(last) = entries.last() {
            if entry.first_offset <= last.last_offset {
                return Err(cursor.invalid("the entries' offsets", "do not ascend"));
            }
            if entry.running_max_timestamp < last.running_max_timestamp {
                return Err(cursor.invalid("the entries' running maximum", "falls"));
            }
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_entry(bytes: &mut Cursor<'_>) -> Result<Entry, DecodeError> {
    let first_offset = bytes.offset("an entry's first offset")?;
    let last_offset = bytes.offset("an entry's last offset")?;
    let first_timestamp = bytes.timestamp()?;
    let max_timestamp = bytes.timestamp()?;
    let running_max_timestamp = bytes.timestamp()?;
    let size = bytes.u64()?;
    let id = bytes.object_id()?;
    let incarnation = bytes.incarnation()?;
    let epoch = bytes.epoch()?;
    let level = bytes.u8()?;
    if bytes.u8()? != 0 {
        return Err(bytes.invalid("an entry's flags", "are not known to this software"));
    }
    bytes.skip(2)?;
    let tail_bytes = bytes.u32()?;
    let records = bytes.u64()?;
    let created = bytes.timestamp()?;
    let segments = bytes.u32()?;
    Ok(Entry {
        level,
        first_offset,
        last_offset,
        first_timestamp,
        max_timestamp,
        running_max_timestamp,
        bytes: size,
        id,
        incarnation,
        epoch,
        tail_bytes,
        records,
        created,
        segments,
    })
}
