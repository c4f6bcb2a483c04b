//! Keys of a bucket come from a listing, which anyone may have added to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog_format::key::ObjectKey;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<ObjectKey>() {
        assert_eq!(key.to_string(), text);
    }
});
