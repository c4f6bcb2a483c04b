//! Reads big-endian fields from bytes that anyone may have written.
//!
//! Nothing here allocates before the bytes that justify it were seen, and nothing panics.

use tidelog_model::{
    Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, TimestampMs, TopicId, TopicPartition,
};

use crate::object::DecodeError;

/// A position in a slice, with the name of what is being read for error messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

macro_rules! integers {
    ($($name:ident),+) => {
        $( pub(crate) fn $name(&mut self) -> Result<$name, DecodeError> {
            self.array().map($name::from_be_bytes)
        } )+
    };
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    integers!(u8, u16, u32, u64, i16, i32, i64);

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes.split_at_checked(count) {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(head)
            }
            None => Err(DecodeError::Truncated { what: self.what, needed: count, have: self.bytes.len() }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let have = self.bytes.len();
        match self.bytes.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(*head)
            }
            None => Err(DecodeError::Truncated { what: self.what, needed: N, have }),
        }
    }

    pub(crate) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        self.take(count).map(|_| ())
    }

    pub(crate) fn offset(&mut self, field: &'static str) -> Result<Offset, DecodeError> {
        let offset = Offset(self.u64()?);
        if offset > Offset::MAX {
            return Err(self.invalid(field, "is larger than any offset"));
        }
        Ok(offset)
    }

    pub(crate) fn timestamp(&mut self) -> Result<TimestampMs, DecodeError> {
        self.i64().map(TimestampMs)
    }

    pub(crate) fn incarnation(&mut self) -> Result<Incarnation, DecodeError> {
        self.u32().map(Incarnation)
    }

    pub(crate) fn epoch(&mut self) -> Result<LeaderEpoch, DecodeError> {
        self.u32().map(LeaderEpoch)
    }

    pub(crate) fn object_id(&mut self) -> Result<ObjectId, DecodeError> {
        self.array().map(ObjectId::from_bytes)
    }

    pub(crate) fn topic_partition(&mut self) -> Result<TopicPartition, DecodeError> {
        let topic = TopicId::from_bytes(self.array()?);
        let partition = PartitionId(self.u32()?);
        Ok(TopicPartition { topic, partition })
    }

    /// A string with its length before it (u16).
    pub(crate) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.invalid(field, "is not UTF-8"))
    }

    /// The head of a table: entries of one size, which may be larger than this version knows. The
    /// count is checked against the bytes that are there.
    pub(crate) fn table(&mut self, entry_bytes_min: usize) -> Result<Table, DecodeError> {
        let entry_bytes = usize::from(self.u16()?);
        let detail_bytes = usize::from(self.u16()?);
        let count = self.u32()? as usize;
        if entry_bytes < entry_bytes_min {
            return Err(self.invalid("entry size", "is smaller than this version's"));
        }
        let needed = entry_bytes.saturating_mul(count);
        if needed > self.bytes.len() {
            return Err(DecodeError::Truncated { what: self.what, needed, have: self.bytes.len() });
        }
        Ok(Table { entry_bytes, detail_bytes, count })
    }

    /// The next `bytes` bytes as a cursor of their own.
    pub(crate) fn sub(&mut self, bytes: usize) -> Result<Cursor<'a>, DecodeError> {
        Ok(Cursor { what: self.what, bytes: self.take(bytes)? })
    }

    pub(crate) fn invalid(&self, field: &'static str, reason: &'static str) -> DecodeError {
        DecodeError::Invalid { what: self.what, field, reason }
    }
}

/// The head of a table, as [`Cursor::table`] read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) entry_bytes: usize,
    /// Size of the entries nested in each entry; 0 in tables without any.
    pub(crate) detail_bytes: usize,
    pub(crate) count: usize,
}

/// Bytes of a table's head.
pub(crate) const TABLE_HEAD_BYTES: usize = 8;

/// Writes a table's head.
pub(crate) fn put_table(out: &mut impl bytes::BufMut, entry_bytes: usize, detail_bytes: usize, count: usize) {
    out.put_u16(u16::try_from(entry_bytes).expect("entries are small"));
    out.put_u16(u16::try_from(detail_bytes).expect("entries are small"));
    out.put_u32(u32::try_from(count).expect("tables have fewer than 2^32 entries"));
}

/// Writes a topic and partition (20 bytes).
pub(crate) fn put_topic_partition(out: &mut impl bytes::BufMut, tp: TopicPartition) {
    out.put_slice(tp.topic.as_bytes());
    out.put_u32(tp.partition.0);
}

/// Writes a string of at most 65,535 bytes with its length before it.
pub(crate) fn put_string(out: &mut impl bytes::BufMut, text: &str) {
    out.put_u16(u16::try_from(text.len()).expect("the owner of the string bounds it"));
    out.put_slice(text.as_bytes());
}
