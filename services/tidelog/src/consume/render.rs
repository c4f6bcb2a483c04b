//! Records as text: the value and a newline, or a JSON object a line.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use tidelog::ConsumerRecord;
use tidelog_format::batch::{Header, Record};
use tidelog_model::{Offset, PartitionId, TimestampMs};

/// How records are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Rendering {
    /// The value's bytes as they are, and a newline.
    #[default]
    Value,
    /// One JSON object a line. What is not UTF-8 is {"base64": "…"}.
    Json,
}

/// A record, wherever it comes from.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub partition: PartitionId,
    pub offset: Offset,
    pub timestamp: TimestampMs,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [Header],
}

impl<'a> RecordView<'a> {
    /// A record out of a batch.
    pub fn of(partition: PartitionId, record: &'a Record) -> Self {
        Self {
            partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

impl<'a> From<&'a ConsumerRecord> for RecordView<'a> {
    fn from(record: &'a ConsumerRecord) -> Self {
        Self {
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &record.headers,
        }
    }
}

/// Collects rendered records, to be written in large pieces.
#[derive(Debug)]
pub struct Renderer {
    rendering: Rendering,
    topic: String,
    buffer: Vec<u8>,
}

impl Renderer {
    pub fn new(rendering: Rendering, topic: &str) -> Self {
        Self { rendering, topic: topic.to_owned(), buffer: Vec::new() }
    }

    pub fn record(&mut self, record: &RecordView<'_>) {
        match self.rendering {
            Rendering::Value => self.buffer.extend_from_slice(record.value.unwrap_or_default()),
            Rendering::Json => {
                let json = JsonRecord {
                    topic: &self.topic,
                    partition: record.partition,
                    offset: record.offset,
                    timestamp_ms: record.timestamp,
                    key: record.key.map(Lossless),
                    value: record.value.map(Lossless),
                    headers: record.headers.iter().map(JsonHeader::from).collect(),
                };
                serde_json::to_writer(&mut self.buffer, &json).expect("records are serialised into memory");
            }
        }
        self.buffer.push(b'\n');
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Writes out what was collected.
    pub fn write_to(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    topic: &'a str,
    partition: PartitionId,
    offset: Offset,
    timestamp_ms: TimestampMs,
    key: Option<Lossless<'a>>,
    value: Option<Lossless<'a>>,
    headers: Vec<JsonHeader<'a>>,
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    key: Lossless<'a>,
    value: Option<Lossless<'a>>,
}

impl<'a> From<&'a Header> for JsonHeader<'a> {
    fn from(header: &'a Header) -> Self {
        Self { key: Lossless(&header.key), value: header.value.as_deref().map(Lossless) }
    }
}

/// Bytes as text when they are UTF-8, and otherwise so that they can be told apart from text.
struct Lossless<'a>(&'a [u8]);

impl Serialize for Lossless<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &STANDARD.encode(self.0))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(key: Option<&'static [u8]>, value: Option<&'static [u8]>) -> Record {
        let headers =
            vec![Header { key: Bytes::from_static(b"h"), value: Some(Bytes::from_static(b"\xff")) }];
        Record {
            offset: Offset(7),
            timestamp: TimestampMs(12),
            key: key.map(Bytes::from_static),
            value: value.map(Bytes::from_static),
            headers,
        }
    }

    fn rendered(rendering: Rendering, record: &Record) -> Vec<u8> {
        let mut renderer = Renderer::new(rendering, "t");
        renderer.record(&RecordView::of(PartitionId(3), record));
        let mut out = Vec::new();
        renderer.write_to(&mut out).unwrap();
        assert_eq!(renderer.len(), 0);
        out
    }

    #[test]
    fn a_value_is_printed_byte_for_byte() {
        assert_eq!(rendered(Rendering::Value, &record(None, Some(b"\xff\x00 a\r"))), b"\xff\x00 a\r\n");
        assert_eq!(rendered(Rendering::Value, &record(None, Some(b""))), b"\n");
    }

    #[test]
    fn json_loses_nothing() {
        let text =
            String::from_utf8(rendered(Rendering::Json, &record(Some(b"k"), Some(b"\xff\n")))).unwrap();
        assert_eq!(
            text,
            r#"{"topic":"t","partition":3,"offset":7,"timestamp_ms":12,"key":"k","value":{"base64":"/wo="},"headers":[{"key":"h","value":{"base64":"/w=="}}]}"#
                .to_owned()
                + "\n"
        );
        let tombstone = String::from_utf8(rendered(Rendering::Json, &record(None, None))).unwrap();
        assert!(tombstone.contains(r#""key":null,"value":null"#), "{tombstone}");
    }
}
