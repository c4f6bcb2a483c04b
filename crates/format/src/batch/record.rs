//! One record inside a batch, as it is written and as it is read.
//!
//! ```text
//! length        varint   of everything after it
//! attributes    i8       unused, 0
//! timestamp     varlong  less the batch's base timestamp
//! offset        varint   less the batch's base offset
//! key length    varint   -1 for none      key    bytes
//! value length  varint   -1 for none      value  bytes
//! header count  varint   then for each: key length varint, key, value length varint (-1 for none), value
//! ```

use std::borrow::Cow;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use tidelog_model::limits::HEADERS_PER_RECORD_MAX;
use tidelog_model::{Offset, TimestampMs, TimestampType};

use super::error::BatchError;
use super::header::BatchHeader;
use super::varint;

/// Fewest bytes that a record takes: seven fields of one byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// Room for the fields in front of a key: length, attributes, timestamp, offset, key length.
const HEAD_BYTES_MAX: usize = 5 + 1 + varint::VARINT_BYTES_MAX + 5 + 5;

/// A header as it is given to a builder: a name and an optional value.
pub type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

/// A record of a batch. Key, value and headers share the batch's (decompressed) memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: TimestampMs,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<Header>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("offset", &self.offset)
            .field("timestamp", &self.timestamp)
            .field("key_bytes", &self.key.as_ref().map(Bytes::len))
            .field("value_bytes", &self.value.as_ref().map(Bytes::len))
            .field("headers", &self.headers)
            .finish()
    }
}

/// A name and an optional value beside a record's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// UTF-8 by Kafka's definition, though nothing has checked it.
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Header {
    /// The name, with what is not UTF-8 replaced.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.key)
    }
}

/// What a record holds beside its position; the lengths fit the format (checked).
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: u32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [HeaderRef<'a>],
}

fn optional_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |b| varint::size(b.len() as i64) + b.len())
}

impl Fields<'_> {
    /// What the length field says: everything after it.
    pub(crate) fn body_bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(key, value)| optional_size(Some(key.as_bytes())) + optional_size(*value))
            .sum();
        1 + varint::size(self.timestamp_delta)
            + varint::size(i64::from(self.offset_delta))
            + optional_size(self.key)
            + optional_size(self.value)
            + varint::size(self.headers.len() as i64)
            + headers
    }

    /// Appends the record. `body_bytes` is what [`Fields::body_bytes`] gave; room has been reserved.
    pub(crate) fn write(&self, body_bytes: usize, out: &mut BytesMut) {
        let mut head = [0; HEAD_BYTES_MAX];
        let mut end = varint::put(&mut head, 0, body_bytes as i64);
        end += 1; // the attributes, always 0
        end = varint::put(&mut head, end, self.timestamp_delta);
        end = varint::put(&mut head, end, i64::from(self.offset_delta));
        end = varint::put(&mut head, end, self.key.map_or(-1, |k| k.len() as i64));
        out.extend_from_slice(&head[..end]);
        out.extend_from_slice(self.key.unwrap_or_default());
        put_optional(self.value, out);
        put_number(self.headers.len() as i64, out);
        for (key, value) in self.headers {
            put_optional(Some(key.as_bytes()), out);
            put_optional(*value, out);
        }
    }
}

/// What a record takes as the only one of its batch. In a later place it takes up to
/// [`RECORD_BYTES_SPREAD`] more: its timestamp and its offset are then further from the batch's.
pub fn record_bytes(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[HeaderRef<'_>]) -> usize {
    let body = Fields { timestamp_delta: 0, offset_delta: 0, key, value, headers }.body_bytes();
    varint::size(body as i64) + body
}

/// How much larger than [`record_bytes`] says a record can be: nine bytes more of a timestamp, four of
/// an offset, one of its length.
pub const RECORD_BYTES_SPREAD: usize = 14;

fn put_number(value: i64, out: &mut BytesMut) {
    let mut number = [0; varint::VARINT_BYTES_MAX];
    let end = varint::put(&mut number, 0, value);
    out.extend_from_slice(&number[..end]);
}

fn put_optional(bytes: Option<&[u8]>, out: &mut BytesMut) {
    put_number(bytes.map_or(-1, |b| b.len() as i64), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}

/// The records of one batch, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    header: BatchHeader,
    /// What has not been read yet, decompressed.
    rest: Bytes,
    index: u32,
}

impl Records {
    /// `data` is what follows the header, decompressed.
    pub(crate) fn new(header: BatchHeader, data: Bytes) -> Result<Self, BatchError> {
        if data.len() / RECORD_BYTES_MIN < header.record_count as usize {
            return Err(BatchError::Header("it is too small for its record count"));
        }
        Ok(Self { header, rest: data, index: 0 })
    }

    /// Every record as one list.
    pub fn collect_all(self) -> Result<Vec<Record>, BatchError> {
        self.collect()
    }

    fn read(&mut self) -> Result<Record, &'static str> {
        let mut rest = &self.rest[..];
        let body_bytes = varint::take_i32(&mut rest)
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= rest.len())
            .ok_or("its length is wrong")?;
        let record = self.read_body(&rest[..body_bytes])?;
        let read = self.rest.len() - rest.len() + body_bytes;
        self.rest.advance(read);
        Ok(record)
    }

    fn read_body(&self, body: &[u8]) -> Result<Record, &'static str> {
        let (_attributes, mut rest) = body.split_first().ok_or("it is empty")?;
        let timestamp_delta = varint::take(&mut rest).ok_or("its timestamp is cut short")?;
        let offset_delta = varint::take_i32(&mut rest)
            .and_then(|delta| u32::try_from(delta).ok())
            .filter(|delta| *delta <= self.header.last_offset_delta)
            .ok_or("its offset lies outside the batch")?;
        let key = self.take_optional(&mut rest)?;
        let value = self.take_optional(&mut rest)?;
        let headers = self.take_headers(&mut rest)?;
        if !rest.is_empty() {
            return Err("bytes are left over");
        }
        let timestamp = match self.header.attributes.timestamp_type() {
            TimestampType::CreateTime => {
                TimestampMs(self.header.base_timestamp.0.wrapping_add(timestamp_delta))
            }
            TimestampType::LogAppendTime => self.header.max_timestamp,
        };
        let offset = self.header.base_offset + u64::from(offset_delta);
        Ok(Record { offset, timestamp, key, value, headers })
    }

    /// Takes a length and as many bytes off the front of `rest`, as a part of the batch's memory.
    fn take_optional(&self, rest: &mut &[u8]) -> Result<Option<Bytes>, &'static str> {
        let length = match varint::take_i32(rest).ok_or("a length is cut short")? {
            -1 => return Ok(None),
            length => usize::try_from(length).map_err(|_| "a length is negative")?,
        };
        let (taken, after) = rest.split_at_checked(length).ok_or("a length passes its end")?;
        *rest = after;
        Ok(Some(self.rest.slice_ref(taken)))
    }

    fn take_headers(&self, rest: &mut &[u8]) -> Result<Vec<Header>, &'static str> {
        let count = varint::take_i32(rest)
            .and_then(|count| usize::try_from(count).ok())
            .ok_or("its header count is wrong")?;
        // A header takes two bytes at least, so that a count cannot claim more than is there.
        if count > HEADERS_PER_RECORD_MAX || count > rest.len() / 2 {
            return Err("it claims too many headers");
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let key = self.take_optional(rest)?.ok_or("a header has no name")?;
            let value = self.take_optional(rest)?;
            headers.push(Header { key, value });
        }
        Ok(headers)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.header.record_count {
            if self.rest.is_empty() {
                return None;
            }
            let extra = self.rest.len();
            self.rest = Bytes::new();
            return Some(Err(BatchError::TrailingBytes { extra }));
        }
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(reason) => {
                let index = self.index;
                self.index = self.header.record_count;
                self.rest = Bytes::new();
                Some(Err(BatchError::Record { index, reason }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A damaged batch yields fewer records than it claims, and one with bytes left over yields an error more.
        (0, Some((self.header.record_count - self.index) as usize + 1))
    }
}
