//! A partition's cold pointer: the one mutable cell that says which manifest root is current. It
//! lives in the metadata store; everything else about the cold tier lives in the bucket.
//!
//! ```text
//!  envelope "TIDEPNTR" version 1 (see `object`)
//!  section 1, required (76 bytes):
//!     incarnation u32 │ epoch u32 │ sequence u64 │ root id 16 │ root bytes u32
//!     │ log start offset u64 │ tiered end offset u64 │ bytes u64 │ segments u64 │ records u64
//! ```

use bytes::{BufMut, Bytes};
use tidelog_model::{Incarnation, LeaderEpoch, ObjectId, Offset, TopicPartition};

use crate::key::ObjectKey;
use crate::object::{DecodeError, Kind, Object, ObjectWriter, SECTION_HEADER_BYTES};

const KIND: Kind = Kind { what: "cold pointer", magic: *b"TIDEPNTR", version: 1 };

const ROOT: u16 = 1;
const KNOWN: &[u16] = &[ROOT];
const ROOT_BYTES: usize = 76;

/// Names the current manifest root of a partition and repeats what is asked of it most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The incarnation and leader epoch under which the root was written; part of its key.
    pub incarnation: Incarnation,
    pub epoch: LeaderEpoch,
    /// Counts the partition's roots, from 1.
    pub sequence: u64,
    pub root: ObjectId,
    /// Size of the root object.
    pub root_bytes: u32,
    pub log_start: Offset,
    /// First offset that is not in the bucket.
    pub tiered_end: Offset,
    /// Bytes of all segments.
    pub bytes: u64,
    pub segments: u64,
    pub records: u64,
}

impl Pointer {
    /// The root's key in the bucket.
    pub fn root_key(&self, tp: TopicPartition) -> ObjectKey {
        ObjectKey::Root {
            tp,
            incarnation: self.incarnation,
            epoch: self.epoch,
            sequence: self.sequence,
            id: self.root,
        }
    }

    pub fn encode(&self) -> Bytes {
        let mut writer = ObjectWriter::new(KIND, SECTION_HEADER_BYTES + ROOT_BYTES);
        writer.required(ROOT, |out| {
            out.put_u32(self.incarnation.0);
            out.put_u32(self.epoch.0);
            out.put_u64(self.sequence);
            out.put_slice(self.root.as_bytes());
            out.put_u32(self.root_bytes);
            out.put_u64(self.log_start.0);
            out.put_u64(self.tiered_end.0);
            out.put_u64(self.bytes);
            out.put_u64(self.segments);
            out.put_u64(self.records);
        });
        writer.finish()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let object = Object::open(KIND, bytes, KNOWN)?;
        let mut root = object.required(ROOT)?;
        let pointer = Self {
            incarnation: root.incarnation()?,
            epoch: root.epoch()?,
            sequence: root.u64()?,
            root: root.object_id()?,
            root_bytes: root.u32()?,
            log_start: root.offset("the log start offset")?,
            tiered_end: root.offset("the tiered end offset")?,
            bytes: root.u64()?,
            segments: root.u64()?,
            records: root.u64()?,
        };
        if pointer.log_start > pointer.tiered_end {
            return Err(root.invalid("the log start offset", "is above the tiered end offset"));
        }
        Ok(pointer)
    }
}
