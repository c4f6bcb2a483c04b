//! Index and footer of a segment take any bytes, and so does a block. The checksums are made right
//! first, so that the fuzzer reaches what lies behind them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog_format::checksum::crc32c;
use tidelog_format::segment::{BlockEntry, FOOTER_BYTES, HEADER_BYTES, check_block, open_tail, read_header};
use tidelog_model::{Offset, TimestampMs};

fuzz_target!(|data: &[u8]| {
    let _ = read_header(data);
    let block = BlockEntry {
        first_offset: Offset(0),
        last_offset: Offset(1000),
        min_timestamp: TimestampMs(0),
        max_timestamp: TimestampMs(0),
        position: HEADER_BYTES as u64,
        bytes: data.len() as u32,
        crc: crc32c(data),
        batches: 1,
        records: 1,
    };
    let _ = check_block(&block, data);
    let mut tail = data.to_vec();
    let Some(index_bytes) = tail.len().checked_sub(FOOTER_BYTES).filter(|bytes| *bytes >= 20) else { return };
    let (index, footer) = tail.split_at_mut(index_bytes);
    index[12..16].copy_from_slice(&(index_bytes as u32).to_be_bytes());
    let checksum = crc32c(&index[..index_bytes - 4]);
    index[index_bytes - 4..].copy_from_slice(&checksum.to_be_bytes());
    let position = u64::from_be_bytes(footer[16..24].try_into().expect("eight bytes"));
    let size = position.saturating_add(data.len() as u64);
    footer[12..16].copy_from_slice(&(index_bytes as u32).to_be_bytes());
    footer[24..32].copy_from_slice(&size.to_be_bytes());
    let checksum = crc32c(&footer[..36]);
    footer[36..].copy_from_slice(&checksum.to_be_bytes());
    if let Ok(index) = open_tail(&tail, size) {
        let _ = index.block_at_offset(Offset(7));
        let _ = index.block_at_timestamp(TimestampMs(7));
        let _ = index.entry(size);
    }
});
