//! Records of any batch whose header is sound: the checksum is left out, so that the fuzzer reaches the
//! codecs and the records. What can be read survives another codec.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_format::batch::{Batch, recompress};
use tidelog_model::Compression;

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = Batch::parse(Bytes::copy_from_slice(data)) else { return };
    let Ok(records) = batch.records().and_then(|records| records.collect_all()) else { return };
    if let Ok(plain) = recompress(&batch, Compression::None) {
        let again = Batch::parse(plain.freeze()).expect("a whole batch");
        assert_eq!(again.records().expect("as many").collect_all().expect("the same"), records);
    }
});
