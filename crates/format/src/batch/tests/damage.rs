//! Damaged and hostile batches: found, named, and never believed about their sizes.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use tidelog_model::limits::{BATCH_BYTES_MAX, BATCH_DECOMPRESSED_BYTES_MAX, RECORDS_PER_BATCH_MAX};
use tidelog_model::{Compression, ErrorCode, TimestampMs};

use super::batch_of;
use crate::batch::codec::{compress, decompress_within, expanded_max};
use crate::batch::header::at;
use crate::batch::patch::seal;
use crate::batch::{Batch, BatchBuilder, BatchError, BatchOptions, HEADER_BYTES, header, verify};

/// A batch that says it holds `count` records under `codec` and goes on with `data`; all else is right.
fn crafted(codec: Compression, count: u32, data: &[u8]) -> Bytes {
    let mut bytes = batch_of(1, Compression::None);
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(data);
    bytes[at::ATTRIBUTES + 1] = codec as u8;
    bytes[at::RECORD_COUNT..HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
    let last_delta = count.saturating_sub(1).to_be_bytes();
    bytes[at::LAST_OFFSET_DELTA..at::BASE_TIMESTAMP].copy_from_slice(&last_delta);
    crate::batch::patch::set_length(&mut bytes);
    seal(&mut bytes);
    bytes.freeze()
}

fn read_all(bytes: Bytes) -> Result<usize, BatchError> {
    let batch = Batch::parse(bytes)?;
    batch.verify()?;
    batch.records()?.collect_all().map(|records| records.len())
}

#[test]
fn every_flipped_bit_under_the_checksum_is_found() {
    for codec in Compression::ALL {
        let good = batch_of(2, codec);
        for i in at::CRC..good.len() {
            for bit in 0..8 {
                let mut bytes = good.clone();
                bytes[i] ^= 1 << bit;
                let error = verify(&bytes).expect_err("damage went unnoticed");
                assert!(error.has_no_side_effects());
            }
        }
    }
}

#[test]
fn every_cut_is_found() {
    for codec in Compression::ALL {
        let good = batch_of(2, codec).freeze();
        for length in 0..good.len() {
            let cut = good.slice(..length);
            assert!(matches!(Batch::parse(cut), Err(BatchError::Truncated { .. })), "{codec} {length}");
        }
        let mut longer = BytesMut::from(&good[..]);
        longer.put_u8(0);
        assert_eq!(verify(&longer), Err(BatchError::TrailingBytes { extra: 1 }));
    }
}

#[test]
fn impossible_headers_are_refused() {
    let good = batch_of(2, Compression::None);
    let with = |at: usize, field: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + field.len()].copy_from_slice(field);
        header(&bytes).unwrap_err()
    };
    assert_eq!(with(at::MAGIC, &[1]), BatchError::UnsupportedMagic(1));
    assert_eq!(with(at::MAGIC, &[1]).code(), ErrorCode::UnsupportedVersion);
    assert_eq!(with(at::ATTRIBUTES + 1, &[5]), BatchError::UnknownCodec(5));
    assert_eq!(with(at::ATTRIBUTES + 1, &[7]).code(), ErrorCode::UnsupportedCompressionType);
    assert!(matches!(with(at::LENGTH, &i32::MAX.to_be_bytes()), BatchError::TooLarge { .. }));
    for length in [i32::MIN, -1, 0, 48] {
        assert!(matches!(with(at::LENGTH, &length.to_be_bytes()), BatchError::Header(_)));
    }
    assert!(matches!(with(at::BASE_OFFSET, &(-1_i64).to_be_bytes()), BatchError::Header(_)));
    assert!(matches!(with(at::BASE_OFFSET, &i64::MAX.to_be_bytes()), BatchError::Header(_)));
    assert!(matches!(with(at::LAST_OFFSET_DELTA, &(-1_i32).to_be_bytes()), BatchError::Header(_)));
    assert!(matches!(with(at::RECORD_COUNT, &(-1_i32).to_be_bytes()), BatchError::Header(_)));
    assert!(matches!(with(at::RECORD_COUNT, &3_i32.to_be_bytes()), BatchError::Header(_)));
    assert_eq!(with(at::RECORD_COUNT, &i32::MAX.to_be_bytes()), BatchError::TooManyRecords);
}

#[test]
fn false_counts_and_lengths_are_refused() {
    // More records than the bytes could hold.
    assert!(matches!(
        read_all(crafted(Compression::None, RECORDS_PER_BATCH_MAX as u32, &[0; 100])),
        Err(BatchError::Header(_))
    ));
    let record = |bytes: &[u8]| read_all(crafted(Compression::None, 1, bytes)).unwrap_err();
    // A record that claims 2 GiB.
    let huge = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    let claims = |reason: &'static str| BatchError::Record { index: 0, reason };
    assert_eq!(record(&[&huge[..], &[0; 9]].concat()), claims("its length is wrong"));
    // A key of 2 GiB, a value of -2 bytes, a thousand million headers.
    assert_eq!(record(&[&[24, 0, 0, 0], &huge[..], &[0; 4]].concat()), claims("a length passes its end"));
    assert_eq!(record(&[12, 0, 0, 0, 1, 3, 0]), claims("a length is negative"));
    assert_eq!(record(&[&[20, 0, 0, 0, 1, 1], &huge[..]].concat()), claims("it claims too many headers"));
    // An offset past the batch's last, bytes that nothing accounts for.
    assert_eq!(record(&[12, 0, 0, 2, 1, 1, 0]), claims("its offset lies outside the batch"));
    assert_eq!(record(&[14, 0, 0, 0, 1, 1, 0, 0]), claims("bytes are left over"));
    assert_eq!(record(&[12, 0, 0, 0, 1, 1, 0, 9, 9]), BatchError::TrailingBytes { extra: 2 });
}

#[test]
fn a_batch_without_records_reads_as_none() {
    assert_eq!(read_all(crafted(Compression::None, 0, &[])), Ok(0));
}

#[test]
fn no_codec_expands_past_its_bound() {
    const MAX: usize = 1 << 20;
    for codec in &Compression::ALL[1..] {
        let expand = |bytes: usize| {
            let mut packed = BytesMut::new();
            compress(*codec, &vec![0; bytes], &mut packed).unwrap();
            decompress_within(*codec, &packed.freeze(), MAX)
        };
        assert_eq!(expand(MAX).unwrap().len(), MAX, "{codec}");
        assert_eq!(expand(MAX + 1), Err(BatchError::Expands { codec: *codec, max: MAX }));
        assert_eq!(expand(MAX * 8), Err(BatchError::Expands { codec: *codec, max: MAX }));
    }
}

#[test]
fn the_bound_allows_any_honest_batch() {
    assert_eq!(expanded_max(0), BATCH_BYTES_MAX);
    assert_eq!(expanded_max(20_000), 40_000_000);
    assert_eq!(expanded_max(usize::MAX), BATCH_DECOMPRESSED_BYTES_MAX);
    // A megabyte of zeros packs into some fifty bytes of zstd, and is honest.
    let zstd = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(zstd);
    builder.push(TimestampMs(0), None, Some(&vec![0; 1 << 20]), &[]).unwrap();
    assert_eq!(read_all(builder.finish().freeze()), Ok(1));
}

#[test]
fn a_bomb_inside_a_batch_is_refused() {
    let mut bomb = BytesMut::new();
    compress(Compression::Zstd, &vec![0; BATCH_BYTES_MAX + 1], &mut bomb).unwrap();
    assert!(bomb.len() < 10_000);
    let error = read_all(crafted(Compression::Zstd, 1, &bomb)).unwrap_err();
    assert_eq!(error, BatchError::Expands { codec: Compression::Zstd, max: BATCH_BYTES_MAX });
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
}

#[test]
fn snappy_is_read_framed_raw_and_concatenated() {
    let records = &batch_of(3, Compression::None)[HEADER_BYTES..];
    let raw = snap::raw::Encoder::new().compress_vec(records).unwrap();
    assert_eq!(read_all(crafted(Compression::Snappy, 3, &raw)), Ok(3));
    let (a, b) = records.split_at(40);
    let mut twice = BytesMut::new();
    compress(Compression::Snappy, a, &mut twice).unwrap();
    compress(Compression::Snappy, b, &mut twice).unwrap();
    assert_eq!(read_all(crafted(Compression::Snappy, 3, &twice)), Ok(3));
}

#[test]
fn snappy_claims_are_not_believed() {
    // A raw block that claims 30 MiB in six bytes.
    let claim = [0x80, 0x80, 0x80, 0x0f, 0x00, 0x61];
    let error = read_all(crafted(Compression::Snappy, 1, &claim)).unwrap_err();
    assert!(error.to_string().contains("cannot have"), "{error}");
    // A framed block longer than what is there.
    let mut framed = BytesMut::new();
    compress(Compression::Snappy, b"", &mut framed).unwrap();
    framed.put_u32(u32::MAX);
    assert!(matches!(read_all(crafted(Compression::Snappy, 1, &framed)), Err(BatchError::Codec { .. })));
}

#[test]
fn a_record_that_no_batch_can_hold_is_refused_and_leaves_the_builder_usable() {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let large = vec![0; BATCH_BYTES_MAX];
    assert!(matches!(
        builder.push(TimestampMs(1), None, Some(&large), &[]),
        Err(BatchError::TooLarge { .. })
    ));
    assert_eq!(builder.push(TimestampMs(2), None, Some(b"small"), &[]), Ok(0));
    let batch = Batch::parse(builder.finish().freeze()).unwrap();
    assert_eq!((batch.header().base_timestamp, batch.max_timestamp()), (TimestampMs(2), TimestampMs(2)));
    assert_eq!(read_all(batch.into_bytes()), Ok(1));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), codec in 0..5_u8, count in 0..50_u32) {
        let _ = read_all(Bytes::from(bytes.clone()));
        let _ = read_all(crafted(Compression::from_code(codec).unwrap(), count, &bytes));
    }

    #[test]
    fn damage_that_the_checksum_was_fitted_to_never_panics(
        codec in 0..5_u8,
        edits in vec((HEADER_BYTES..400_usize, any::<u8>()), 1..6),
    ) {
        let mut bytes = batch_of(5, Compression::from_code(codec).unwrap());
        for (at, value) in edits {
            let at = at % (bytes.len() - HEADER_BYTES) + HEADER_BYTES;
            bytes[at] = value;
        }
        seal(&mut bytes);
        let _ = read_all(bytes.freeze());
    }
}
