//! Objects that earlier versions wrote stay readable for ever, and the same values give the same
//! bytes. The files are added, never changed.

mod samples;

use tidelog_format::descriptor::{ClusterDescriptor, PartitionDescriptor, Snapshot, TopicDescriptor};
use tidelog_format::manifest::{Group, Root};
use tidelog_format::pointer::Pointer;
use tidelog_format::segment::{check_block, open_tail, read_header};
use tidelog_format::state::PartitionState;

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("golden/objects/", $name, ".v1.bin")).as_slice()
    };
}

#[test]
fn partition_state_reads_and_writes_as_ever() {
    let bytes = golden!("state");
    assert_eq!(PartitionState::decode(bytes, samples::tp()).unwrap(), samples::state());
    assert_eq!(samples::state().encode(samples::tp()), bytes);
}

#[test]
fn pointer_reads_and_writes_as_ever() {
    let bytes = golden!("pointer");
    assert_eq!(Pointer::decode(bytes).unwrap(), samples::pointer());
    assert_eq!(samples::pointer().encode(), bytes);
}

#[test]
fn manifest_root_reads_and_writes_as_ever() {
    let bytes = golden!("root");
    assert_eq!(Root::decode(bytes).unwrap(), samples::root());
    assert_eq!(samples::root().encode(), bytes);
}

#[test]
fn section_of_newer_software_survives_in_a_root() {
    let bytes = golden!("root-extra");
    let root = Root::decode(bytes).unwrap();
    assert_eq!(root, samples::root_of_newer_software());
    assert_eq!(root.encode(), bytes);
}

#[test]
fn manifest_group_reads_and_writes_as_ever() {
    let bytes = golden!("group");
    assert_eq!(Group::decode(bytes).unwrap(), samples::group());
    assert_eq!(samples::group().encode(), bytes);
}

#[test]
fn descriptors_read_and_write_as_ever() {
    let bytes = golden!("cluster");
    assert_eq!(ClusterDescriptor::decode(bytes).unwrap(), samples::cluster());
    assert_eq!(samples::cluster().encode(), bytes);
    for (bytes, sample) in
        [(golden!("topic"), samples::topic_descriptor()), (golden!("topic-deleted"), samples::tombstone())]
    {
        assert_eq!(TopicDescriptor::decode(bytes, samples::topic()).unwrap(), sample);
        assert_eq!(sample.encode(), bytes);
    }
    let bytes = golden!("partition");
    let sample = samples::partition_descriptor();
    assert_eq!(PartitionDescriptor::decode(bytes, samples::tp()).unwrap(), sample);
    assert_eq!(sample.encode(), bytes);
}

#[test]
fn snapshot_reads_and_writes_as_ever() {
    let bytes = golden!("snapshot");
    assert_eq!(Snapshot::decode(bytes).unwrap(), samples::snapshot());
    assert_eq!(samples::snapshot().encode(), bytes);
}

#[test]
fn segment_reads_and_writes_as_ever() {
    let bytes = golden!("segment");
    let (sample, finished) = samples::segment();
    assert_eq!(sample, bytes);
    let identity = samples::segment_identity(500);
    assert_eq!(read_header(bytes).unwrap(), identity);
    let tail = &bytes[bytes.len() - finished.entry.tail_bytes as usize..];
    let index = open_tail(tail, bytes.len() as u64).unwrap();
    index.check(samples::tp(), &finished.entry).unwrap();
    assert_eq!(index.identity, identity);
    assert_eq!(index.blocks.len(), 3);
    assert_eq!(index.epochs, samples::epochs()[1..]);
    for block in &index.blocks {
        let range = block.range();
        check_block(block, &bytes[range.start as usize..range.end as usize]).unwrap();
    }
}
