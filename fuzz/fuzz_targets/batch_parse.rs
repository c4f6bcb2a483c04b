//! Headers, splitting and checksums take any bytes.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_format::batch;

fuzz_target!(|data: &[u8]| {
    let _ = batch::verify(data);
    for parsed in batch::split(Bytes::copy_from_slice(data), 1 << 20).flatten() {
        let _ = parsed.header().check_produced();
        let _ = parsed.verify();
    }
});
