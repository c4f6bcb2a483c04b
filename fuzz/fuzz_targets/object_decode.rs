//! Every object that uses the envelope takes any bytes. Length and checksum are made right first, so
//! that the fuzzer reaches what lies behind them. What can be read survives being written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidelog_format::checksum::crc32c;
use tidelog_format::descriptor::{ClusterDescriptor, PartitionDescriptor, Snapshot, TopicDescriptor};
use tidelog_format::manifest::{Group, Root};
use tidelog_format::pointer::Pointer;
use tidelog_format::state::PartitionState;
use tidelog_model::{PartitionId, TopicId, TopicPartition};

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    let length = bytes.len();
    if length >= 20 {
        bytes[12..16].copy_from_slice(&(length as u32).to_be_bytes());
        let checksum = crc32c(&bytes[..length - 4]);
        bytes[length - 4..].copy_from_slice(&checksum.to_be_bytes());
    }
    let topic = TopicId::from_bytes(*b"topic-0123456789");
    let tp = TopicPartition { topic, partition: PartitionId(7) };
    if let Ok((of, state)) = PartitionState::decode_any(&bytes) {
        assert_eq!(PartitionState::decode(&state.encode(of), of), Ok(state));
    }
    if let Ok(pointer) = Pointer::decode(&bytes) {
        assert_eq!(Pointer::decode(&pointer.encode()), Ok(pointer));
    }
    if let Ok(root) = Root::decode(&bytes) {
        assert_eq!(Root::decode(&root.encode()), Ok(root));
    }
    if let Ok(group) = Group::decode(&bytes) {
        assert_eq!(Group::decode(&group.encode()), Ok(group));
    }
    if let Ok(snapshot) = Snapshot::decode(&bytes) {
        assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    }
    let _ = ClusterDescriptor::decode(&bytes);
    let _ = TopicDescriptor::decode(&bytes, topic);
    let _ = PartitionDescriptor::decode(&bytes, tp);
});
