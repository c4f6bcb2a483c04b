//! Headers, frames, footers and payloads of journal files take any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog_format::journal::{
    BLOCK_BYTES, ExtentSlot, FileHeader, Footer, FrameHeader, GroupHeader, PartitionCheckpoint, Salt, Trailer, read_entries,
};
use tidelog_model::{PartitionId, TopicId, TopicPartition};

const SALT: Salt = Salt([0; 16]);

fuzz_target!(|data: &[u8]| {
    let _ = FileHeader::decode(data);
    let _ = ExtentSlot::decode(data);
    let _ = GroupHeader::decode(data, SALT, 0);
    let _ = FrameHeader::decode(data, SALT, 0);
    let _ = FrameHeader::verify(data, SALT, 0);
    let tp = TopicPartition { topic: TopicId::from_bytes([0; 16]), partition: PartitionId(0) };
    let _ = PartitionCheckpoint::decode(data, tp);
    // A trailer whose directory is the rest of the input.
    let file_bytes = (data.len() as u64).next_multiple_of(BLOCK_BYTES as u64);
    if let Ok(trailer) = Trailer::peek(data, file_bytes) {
        let position = file_bytes.saturating_sub(BLOCK_BYTES as u64);
        if let Ok(footer) = Footer::decode(data, &data[data.len().min(trailer.footer as usize)..], SALT, position) {
            for span in &footer.spans {
                let _ = read_entries(span, SALT, data);
            }
        }
    }
});
