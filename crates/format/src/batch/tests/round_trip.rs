use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidelog_model::{
    Compression, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TimestampType,
};

use super::{batch_of, records_of};
use crate::batch::{
    Batch, BatchBuilder, BatchError, BatchOptions, HEADER_BYTES, RECORD_BYTES_SPREAD, assign, header,
    recompress, record_bytes, split, stamp_append_time, stamp_producer, verify,
};

#[derive(Clone, Debug)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let header = ("[a-zé]{0,9}", option::of(vec(any::<u8>(), 0..20)));
    let value =
        option::of(prop_oneof![vec(any::<u8>(), 0..300), (0..2000_usize).prop_map(|n| vec![b'x'; n])]);
    (any::<i64>(), option::of(vec(any::<u8>(), 0..80)), value, vec(header, 0..4))
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

fn build(records: &[Plain], compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for (i, r) in records.iter().enumerate() {
        let headers: Vec<_> = r.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
        let at = builder.push(TimestampMs(r.timestamp), r.key.as_deref(), r.value.as_deref(), &headers);
        assert_eq!(at, Ok(i as u32));
    }
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_codec_gives_back_what_went_in(records in vec(plain(), 1..30), codec in codec(), base in 0..1_u64 << 60) {
        let mut bytes = build(&records, codec);
        assign(&mut bytes, Offset(base), LeaderEpoch(3));
        let read = records_of(&bytes);
        prop_assert_eq!(header(&bytes).unwrap().compression(), codec);
        prop_assert_eq!(read.len(), records.len());
        for (i, (got, put)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(got.offset, Offset(base + i as u64));
            prop_assert_eq!(got.timestamp, TimestampMs(put.timestamp));
            prop_assert_eq!(got.key.as_deref(), put.key.as_deref());
            prop_assert_eq!(got.value.as_deref(), put.value.as_deref());
            let headers: Vec<_> =
                got.headers.iter().map(|h| (h.name().into_owned(), h.value.as_ref().map(|v| v.to_vec()))).collect();
            prop_assert_eq!(&headers, &put.headers);
        }
    }

    #[test]
    fn a_records_size_is_known_beforehand(first in plain(), second in plain()) {
        let bytes = |r: &Plain| {
            let headers: Vec<_> = r.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
            record_bytes(r.key.as_deref(), r.value.as_deref(), &headers)
        };
        let alone = build(std::slice::from_ref(&first), Compression::None).len();
        prop_assert_eq!(alone, HEADER_BYTES + bytes(&first));
        let both = build(&[first, second.clone()], Compression::None).len();
        prop_assert!((bytes(&second)..=bytes(&second) + RECORD_BYTES_SPREAD).contains(&(both - alone)));
    }

    #[test]
    fn recompressing_changes_the_codec_alone(records in vec(plain(), 1..20), from in codec(), to in codec()) {
        let mut bytes = build(&records, from);
        assign(&mut bytes, Offset(77), LeaderEpoch(3));
        let batch = Batch::parse(bytes.freeze()).unwrap();
        let again = recompress(&batch, to).unwrap();
        let (old, new) = (batch.header(), verify(&again).unwrap());
        prop_assert_eq!(new.compression(), to);
        prop_assert_eq!((new.base_offset, new.leader_epoch), (old.base_offset, old.leader_epoch));
        prop_assert_eq!(records_of(&again), records_of(batch.as_bytes()));
    }
}

#[test]
fn assigning_leaves_the_checksum_right() {
    let mut bytes = batch_of(3, Compression::Lz4);
    assign(&mut bytes, Offset::MAX - 3, LeaderEpoch(9));
    let header = verify(&bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset::MAX - 3, LeaderEpoch(9)));
    assert_eq!(header.next_offset(), Offset::MAX);
}

#[test]
fn append_time_is_every_records_time() {
    for codec in Compression::ALL {
        let mut bytes = batch_of(3, codec);
        stamp_append_time(&mut bytes, TimestampMs(99));
        let header = verify(&bytes).unwrap();
        assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((header.compression(), header.max_timestamp), (codec, TimestampMs(99)));
        assert!(records_of(&bytes).iter().all(|r| r.timestamp == TimestampMs(99)));
    }
}

#[test]
fn a_batch_can_be_numbered_anew() {
    let mut bytes = batch_of(3, Compression::Zstd);
    stamp_producer(&mut bytes, ProducerId(5), ProducerEpoch(1), Sequence(i32::MAX));
    let header = verify(&bytes).unwrap();
    header.check_produced().unwrap();
    assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(5), ProducerEpoch(1)));
    assert_eq!(header.last_sequence(), Sequence(1));
}

#[test]
fn a_builder_reuses_the_memory_it_is_given() {
    let options = BatchOptions { capacity: 1000, ..BatchOptions::default() };
    let mut buffer = BytesMut::with_capacity(4000);
    buffer.extend_from_slice(b"left over");
    let memory = buffer.as_ptr();
    let mut builder = BatchBuilder::with_buffer(options, buffer);
    builder.push(TimestampMs(1), None, Some(b"value"), &[]).unwrap();
    let bytes = builder.finish();
    assert_eq!(bytes.as_ptr(), memory);
    assert_eq!(records_of(&bytes)[0].value.as_deref(), Some(&b"value"[..]));
}

#[test]
fn records_share_the_batchs_memory() {
    let bytes = batch_of(1, Compression::None).freeze();
    let range = bytes.as_ptr_range();
    let record = Batch::parse(bytes).unwrap().records().unwrap().next().unwrap().unwrap();
    assert!(range.contains(&record.value.unwrap().as_ptr()));
}

#[test]
fn a_run_splits_into_its_batches() {
    let mut run = BytesMut::new();
    for codec in Compression::ALL {
        run.extend_from_slice(&batch_of(2, codec));
    }
    let run = run.freeze();
    let batches: Result<Vec<_>, _> = split(run.clone(), 1 << 20).collect();
    let codecs: Vec<_> = batches.unwrap().iter().map(|b| b.header().compression()).collect();
    assert_eq!(codecs, Compression::ALL);

    let cut: Vec<_> = split(run.slice(..run.len() - 1), 1 << 20).collect();
    assert_eq!(cut.len(), Compression::ALL.len());
    assert!(matches!(cut.last(), Some(Err(BatchError::Truncated { .. }))));

    let small: Vec<_> = split(run, 100).collect();
    assert!(matches!(small[..], [Err(BatchError::TooLarge { max: 100, .. })]));
    assert_eq!(split(Bytes::new(), 100).count(), 0);
}
