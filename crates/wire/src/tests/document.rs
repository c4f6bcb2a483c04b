//! `docs/protocol.md` says what the code does: its tables and its example bytes are checked here.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use tidelog_format::batch::{BatchBuilder, BatchOptions};
use tidelog_model::{ErrorCode, TimestampMs};
use tidelog_proto::v1;

use crate::limits::{FRAME_TIMEOUT, HANDSHAKE_HEADER_BYTES_MAX, NAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::limits::{REPLY_HEADER_BYTES_MAX, REQUEST_HEADER_BYTES_MAX};
use crate::{FrameHead, FrameKind, Limits, TransportSettings};

const DOCUMENT: &str = include_str!("../../../../docs/protocol.md");
const INTERNAL_DOCUMENT: &str = include_str!("../../../../docs/internal-protocol.md");

/// The first of the kinds that only the processes of one cluster send each other.
const INTERNAL_KINDS: i32 = 0x50;

/// The cells of every table row.
fn rows() -> impl Iterator<Item = Vec<&'static str>> {
    rows_of(DOCUMENT)
}

fn rows_of(document: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    document
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

#[test]
fn every_error_code_is_in_the_table_with_its_flags() {
    for code in ErrorCode::ALL {
        let expected = [
            (*code as u32).to_string(),
            code.name().to_owned(),
            yes(code.is_retryable()).to_owned(),
            yes(code.has_no_side_effects()).to_owned(),
        ];
        assert!(rows().any(|row| row.len() == 5 && row[..4] == expected), "no row for {expected:?}");
    }
}

#[test]
fn every_kind_and_every_close_code_is_in_its_table() {
    for kind in (1..0x100).filter_map(|kind| FrameKind::try_from(kind).ok()) {
        let number = format!("`{:#04x}`", kind as i32);
        let name = kind.as_str_name().trim_start_matches("FRAME_KIND_");
        let document = if kind as i32 >= INTERNAL_KINDS { INTERNAL_DOCUMENT } else { DOCUMENT };
        let stated = rows_of(document).any(|row| row[0] == number && row[1] == name);
        assert!(stated, "no row for {number} {name}");
    }
    for code in (0..0x200).filter_map(|code| v1::CloseCode::try_from(code).ok()) {
        let number = format!("`{:#04x}`", code as i32);
        let name = code.as_str_name().trim_start_matches("CLOSE_CODE_");
        assert!(rows().any(|row| row[0] == number && row[1] == name), "no row for {number} {name}");
    }
}

#[test]
fn the_limits_are_those_of_the_code() {
    let grouped = |value: usize| {
        let digits = value.to_string();
        let mut text = String::new();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    };
    let limits = Limits::default();
    let expected = [
        ("header, client to server", grouped(REQUEST_HEADER_BYTES_MAX)),
        ("header, server to client", grouped(REPLY_HEADER_BYTES_MAX)),
        ("header before the handshake is done", grouped(HANDSHAKE_HEADER_BYTES_MAX)),
        ("payload", grouped(PAYLOAD_BYTES_MAX)),
        ("streams at once in a session", grouped(limits.streams)),
        ("sessions at once on a server", grouped(limits.connections)),
        ("TCP sockets at once on a server", grouped(limits.sockets)),
        ("handshake, from the first byte to `HELLO_REPLY`", limits.handshake_timeout.as_secs().to_string()),
        ("a frame that was begun", FRAME_TIMEOUT.as_secs().to_string()),
        ("idle connection", TransportSettings::default().idle_timeout.as_secs().to_string()),
        ("`client_id`, `software`", NAME_BYTES_MAX.to_string()),
    ];
    for (what, value) in expected {
        let stated = rows().find(|row| row[0] == what).map(|row| row[1]);
        assert!(stated.is_some_and(|stated| stated.starts_with(&value)), "{what}: {value}, not {stated:?}");
    }
}

fn frame(kind: FrameKind, header: &impl Message, payload: &[u8]) -> Vec<u8> {
    let header = header.encode_to_vec();
    let head = FrameHead {
        kind: kind as u8,
        header_bytes: header.len() as u32,
        payload_bytes: payload.len() as u32,
    };
    [&head.encode()[..], &header, payload].concat()
}

/// Sixteen bytes a line: head, header and payload each begin a line.
fn dump(name: &str, frame: &[u8]) -> String {
    let head = FrameHead::decode(frame[..8].try_into().unwrap());
    let header_end = 8 + head.header_bytes as usize;
    let mut text = String::new();
    for (part, what) in [
        (&frame[..8], format!("{name}: head")),
        (&frame[8..header_end], "header".to_owned()),
        (&frame[header_end..], "payload".to_owned()),
    ] {
        for (i, line) in part.chunks(16).enumerate() {
            let bytes: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let note = if i == 0 { what.as_str() } else { "" };
            text += format!("{:47}  {note}", bytes.join(" ")).trim_end();
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_example_bytes_are_what_is_sent() {
    let mut id = BytesMut::new();
    (0..16).for_each(|byte| id.put_u8(byte));
    let topic_id = id.freeze();
    let limits = v1::Limits {
        header_bytes_max: REQUEST_HEADER_BYTES_MAX as u32,
        payload_bytes_max: PAYLOAD_BYTES_MAX as u32,
        streams_max: 10_000,
        idle_timeout_ms: 30_000,
    };
    let hello = v1::Hello {
        version_min: 1,
        version_max: 1,
        client_id: "example".to_owned(),
        software: "doc/1".to_owned(),
        features: Vec::new(),
        credentials: Some(v1::hello::Credentials::Anonymous(v1::hello::Anonymous {})),
    };
    let reply = v1::HelloReply {
        version: 1,
        session_token: Bytes::new(),
        cluster_id: topic_id.clone(),
        software: "tidelog/0.1.0".to_owned(),
        features: Vec::new(),
        limits: Some(limits),
        server_time_ms: 1_700_000_000_000,
    };
    let mut batch = BatchBuilder::new(BatchOptions::default());
    batch.push(TimestampMs(1_700_000_000_000), None, Some(b"hello"), &[]).unwrap();
    let opened = v1::ProducerOpened { in_flight_bytes_max: 16 << 20, in_flight_batches_max: 4096 };
    let ack = v1::ProduceAck { base_offset: 42, ..v1::ProduceAck::default() };
    let open = v1::OpenProducer { timeout_ms: 30_000 };
    let produce = v1::Produce { topic_id, partition: 3, sequence: 0 };
    let frames = [
        dump("HELLO", &frame(FrameKind::Hello, &hello, &[])),
        dump("HELLO_REPLY", &frame(FrameKind::HelloReply, &reply, &[])),
        dump("OPEN_PRODUCER", &frame(FrameKind::OpenProducer, &open, &[]))
            + &dump("PRODUCE", &frame(FrameKind::Produce, &produce, &batch.finish())),
        dump("PRODUCER_OPENED", &frame(FrameKind::ProducerOpened, &opened, &[]))
            + &dump("PRODUCE_ACK", &frame(FrameKind::ProduceAck, &ack, &[])),
    ];
    let blocks: Vec<_> =
        DOCUMENT.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert_eq!(blocks, frames, "the document should say:\n{}", frames.join("\n"));
}
