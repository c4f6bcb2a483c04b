//! Bytes written down from Kafka's published layout, by hand.

use bytes::Bytes;
use tidelog_model::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TimestampType,
};

use crate::batch::{BatchBuilder, BatchOptions, Header, HeaderRef, assign, header, verify};
use crate::checksum::crc32c;

use super::records_of;

/// Two records: ("a" = "1" at 256 ms, with the header "h" = "x" and the header "n" without a value),
/// and (no key, no value at 255 ms).
#[rustfmt::skip]
const TWO_RECORDS: [u8; 84] = [
    0, 0, 0, 0, 0, 0, 0, 0,             // base offset
    0, 0, 0, 72,                        // length
    0xff, 0xff, 0xff, 0xff,             // leader epoch -1
    2,                                  // magic
    0, 0, 0, 0,                         // crc, filled in below
    0, 0,                               // attributes
    0, 0, 0, 1,                         // last offset delta
    0, 0, 0, 0, 0, 0, 1, 0,             // base timestamp 256
    0, 0, 0, 0, 0, 0, 1, 0,             // max timestamp 256
    0, 0, 0, 0, 0, 0, 0, 9,             // producer id
    0, 3,                               // producer epoch
    0, 0, 0, 5,                         // base sequence
    0, 0, 0, 2,                         // record count
    30,                                 // length 15
        0,                              // attributes
        0, 0,                           // timestamp delta 0, offset delta 0
        2, b'a',                        // key
        2, b'1',                        // value
        4,                              // two headers
            2, b'h', 2, b'x',
            2, b'n', 1,                 // no value: -1
    12,                                 // length 6
        0,
        1, 2,                           // timestamp delta -1, offset delta 1
        1,                              // no key
        1,                              // no value
        0,                              // no headers
];

fn two_records() -> Vec<u8> {
    let mut bytes = TWO_RECORDS.to_vec();
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn encodes_exactly_kafkas_bytes() {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: Some((ProducerId(9), ProducerEpoch(3), Sequence(5))),
        ..BatchOptions::default()
    });
    let headers: [HeaderRef<'_>; 2] = [("h", Some(b"x")), ("n", None)];
    assert_eq!(builder.push(TimestampMs(256), Some(b"a"), Some(b"1"), &headers), Ok(0));
    assert_eq!(builder.push(TimestampMs(255), None, None, &[]), Ok(1));
    let expected = two_records();
    assert_eq!(builder.size_bytes(), expected.len());
    assert_eq!(builder.finish(), expected);
}

#[test]
fn reads_kafkas_bytes() {
    let mut bytes = two_records();
    assign(&mut bytes, Offset(1 << 40), LeaderEpoch(7));
    let header = verify(&bytes).unwrap();
    assert_eq!(header.base_offset, Offset(1 << 40));
    assert_eq!(header.next_offset(), Offset((1 << 40) + 2));
    assert_eq!(header.leader_epoch, LeaderEpoch(7));
    assert_eq!(header.producer_id, ProducerId(9));
    assert_eq!(header.last_sequence(), Sequence(6));
    assert_eq!(header.record_count, 2);
    assert_eq!(header.attributes.timestamp_type(), TimestampType::CreateTime);
    header.check_produced().unwrap();

    let records = records_of(&bytes);
    assert_eq!(records[0].offset, Offset(1 << 40));
    assert_eq!(records[0].key.as_deref(), Some(&b"a"[..]));
    let named = |key: &'static [u8], value: Option<&'static [u8]>| Header {
        key: Bytes::from_static(key),
        value: value.map(Bytes::from_static),
    };
    assert_eq!(records[0].headers, [named(b"h", Some(b"x")), named(b"n", None)]);
    assert_eq!(records[1].timestamp, TimestampMs(255));
    assert_eq!((&records[1].key, &records[1].value), (&None, &None));
}

#[test]
fn attribute_bits_are_kafkas() {
    let mut bytes = two_records();
    let bits = |bytes: &[u8]| header(bytes).unwrap().attributes;
    bytes[22] = 0b0011_1100;
    let attributes = bits(&bytes);
    assert_eq!(attributes.compression(), Compression::Zstd);
    assert_eq!(attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(attributes.is_transactional() && attributes.is_control() && !attributes.has_delete_horizon());
    bytes[22] = 0b0100_0001;
    assert_eq!(bits(&bytes).compression(), Compression::Gzip);
    assert!(bits(&bytes).has_delete_horizon());
}

#[test]
fn only_whole_numbered_plain_batches_may_be_produced() {
    let bytes = two_records();
    header(&bytes).unwrap().check_produced().unwrap();
    let refused = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        header(&bytes).unwrap().check_produced().unwrap_err().to_string()
    };
    assert!(refused(60, 0).contains("no record"));
    assert!(refused(60, 1).contains("differ in number"));
    assert!(refused(22, 0x20).contains("control"));
    assert!(refused(22, 0x40).contains("delete horizon"));
    assert!(refused(51, 0xff).contains("no epoch"));
    assert!(refused(53, 0xff).contains("no sequence"));
    let mut anonymous = bytes.clone();
    anonymous[43] = 0xff;
    header(&anonymous).unwrap().check_produced().unwrap();
    anonymous[22] = 0x10;
    assert!(header(&anonymous).unwrap().check_produced().is_err());
}
