//! Batches as a whole: published bytes, round trips, damage, hostile claims.

mod damage;
mod round_trip;
mod vectors;

use bytes::{Bytes, BytesMut};
use tidelog_model::{Compression, TimestampMs};

use super::{Batch, BatchBuilder, BatchOptions, Record};

/// A batch of `count` records that compress well.
fn batch_of(count: u32, compression: Compression) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    for i in 0..count {
        let key = format!("key-{i}");
        let value = format!("value {i} value {i} value {i}");
        let header = [("source", Some(&b"test"[..]))];
        builder
            .push(TimestampMs(1000 + i64::from(i)), Some(key.as_bytes()), Some(value.as_bytes()), &header)
            .unwrap();
    }
    builder.finish()
}

fn records_of(bytes: &[u8]) -> Vec<Record> {
    let batch = Batch::parse(Bytes::copy_from_slice(bytes)).unwrap();
    batch.verify().unwrap();
    batch.records().unwrap().collect_all().unwrap()
}
