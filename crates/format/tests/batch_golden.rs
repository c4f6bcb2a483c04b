//! Batches written by others and by earlier versions stay readable for ever. The files are added,
//! never changed; `tests/golden/batch/README.md` says where each came from.

use bytes::{Bytes, BytesMut};
use tidelog_format::batch::{Batch, BatchBuilder, BatchOptions, HeaderRef, Record, assign};
use tidelog_model::{Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

type Expected = (i64, Option<&'static [u8]>, Option<Vec<u8>>, Vec<HeaderRef<'static>>);

/// Every golden batch: the same five records from each writer, under each codec.
const GOLDEN: [(Compression, &[u8]); 10] = [
    (Compression::None, include_bytes!("golden/batch/kafka-python-none.bin")),
    (Compression::Gzip, include_bytes!("golden/batch/kafka-python-gzip.bin")),
    (Compression::Snappy, include_bytes!("golden/batch/kafka-python-snappy.bin")),
    (Compression::Lz4, include_bytes!("golden/batch/kafka-python-lz4.bin")),
    (Compression::Zstd, include_bytes!("golden/batch/kafka-python-zstd.bin")),
    (Compression::None, include_bytes!("golden/batch/tidelog-none.bin")),
    (Compression::Gzip, include_bytes!("golden/batch/tidelog-gzip.bin")),
    (Compression::Snappy, include_bytes!("golden/batch/tidelog-snappy.bin")),
    (Compression::Lz4, include_bytes!("golden/batch/tidelog-lz4.bin")),
    (Compression::Zstd, include_bytes!("golden/batch/tidelog-zstd.bin")),
];
const KAFKA_NONE: &[u8] = GOLDEN[0].1;
const TIDELOG_NONE: &[u8] = GOLDEN[5].1;
const TRANSACTIONAL: &[u8] = include_bytes!("golden/batch/kafka-python-transactional.bin");

fn expected() -> Vec<Expected> {
    let fox = b"the quick brown fox jumps over the lazy dog. ".repeat(64);
    let headers: Vec<HeaderRef<'static>> =
        vec![("reason", Some(b"deleted")), ("empty", Some(b"")), ("none", None)];
    vec![
        (1_700_000_000_000, Some(b"key-0"), Some(b"first".to_vec()), vec![]),
        (1_700_000_000_005, None, Some(b"no key".to_vec()), vec![]),
        (1_699_999_999_990, Some(b"tombstone"), None, headers),
        (1_700_000_000_007, Some(b""), Some(vec![]), vec![]),
        (1_700_000_001_000, Some(b"key-4"), Some(fox), vec![("hé", Some(b"\x00\x01\x02"))]),
    ]
}

fn assert_same(record: &Record, expected: &Expected, offset: u64) {
    assert_eq!(record.offset, Offset(offset));
    assert_eq!(record.timestamp, TimestampMs(expected.0));
    assert_eq!(record.key.as_deref(), expected.1);
    assert_eq!(record.value.as_deref(), expected.2.as_deref());
    let headers: Vec<_> =
        record.headers.iter().map(|h| (h.name().into_owned(), h.value.as_deref())).collect();
    let wanted: Vec<_> = expected.3.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    assert_eq!(headers, wanted);
}

fn build(compression: Compression) -> BytesMut {
    let producer = Some((ProducerId(4242), ProducerEpoch(7), Sequence(i32::MAX - 1)));
    let mut builder = BatchBuilder::new(BatchOptions { compression, producer, ..BatchOptions::default() });
    for (timestamp, key, value, headers) in expected() {
        builder.push(TimestampMs(timestamp), key, value.as_deref(), &headers).unwrap();
    }
    builder.finish()
}

#[test]
fn golden_batches_read_as_ever() {
    for (codec, bytes) in GOLDEN {
        let batch = Batch::parse(Bytes::from_static(bytes)).unwrap();
        batch.verify().unwrap();
        let header = batch.header();
        header.check_produced().unwrap();
        assert_eq!(header.compression(), codec);
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(4242), ProducerEpoch(7)));
        assert_eq!(header.base_sequence, Sequence(i32::MAX - 1));
        assert_eq!(header.last_sequence(), Sequence(2));
        let records = batch.records().unwrap().collect_all().unwrap();
        assert_eq!(records.len(), expected().len());
        for (i, (record, expected)) in records.iter().zip(expected()).enumerate() {
            assert_same(record, &expected, i as u64);
        }
    }
}

#[test]
fn a_golden_transactional_batch_reads_as_ever() {
    let batch = Batch::parse(Bytes::from_static(TRANSACTIONAL)).unwrap();
    batch.verify().unwrap();
    assert!(batch.header().attributes.is_transactional());
    assert!(!batch.header().is_idempotent());
}

#[test]
fn our_uncompressed_batch_is_kafkas_to_the_byte() {
    let mut ours = build(Compression::None);
    assert_eq!(ours, TIDELOG_NONE);
    assign(&mut ours, Offset(0), LeaderEpoch(0));
    assert_eq!(ours, KAFKA_NONE);
}
