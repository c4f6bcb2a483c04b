use std::fmt;

use tidelog_model::{
    ClusterId, DirectoryId, Incarnation, LeaderEpoch, NodeId, ProducerId, TimestampMs, TopicConfig, TopicId,
};

use super::*;

/// The bytes as they were first written; they must be readable for ever.
#[allow(clippy::needless_pass_by_value)] // It reads better at the call.
fn check<V: Value + fmt::Debug + PartialEq>(value: V, stored: &str) {
    assert_eq!(std::str::from_utf8(&value.encode()).unwrap(), stored);
    assert_eq!(V::decode(stored.as_bytes()).unwrap(), value);
}

const ID: &str = "07070707-0707-0707-0707-070707070707";

#[test]
fn every_record_is_stored_in_these_bytes() {
    let created = TimestampMs(1_700_000_000_000);
    let cluster = Cluster { id: ClusterId::from_bytes([7; 16]), incarnation: Incarnation::FIRST, created };
    check(cluster, &format!(r#"{{"version":1,"id":"{ID}","incarnation":1,"created":1700000000000}}"#));

    let directory = DirectoryId::from_bytes([7; 16]);
    check(Node { directory, boot: 3 }, &format!(r#"{{"version":1,"directory":"{ID}","boot":3}}"#));

    let config = TopicConfig::default().with([("segment.bytes", "1048576")]).unwrap();
    let topic = Topic::new("web".parse().unwrap(), 4, &config, created);
    assert_eq!(topic.config(), config);
    let stored = r#"{"version":1,"name":"web","partitions":4,"config":{"segment.bytes":"1048576"},"created":1700000000000}"#;
    check(topic, stored);

    let owner = TopicNameOwner { topic: TopicId::from_bytes([7; 16]) };
    check(owner, &format!(r#"{{"version":1,"topic":"{ID}"}}"#));

    let leader = Leader { node: NodeId(1), directory, boot: 3 };
    let partition = Partition { epoch: LeaderEpoch(8), ..Partition::default() }.led_by(leader);
    check(
        partition,
        &format!(
            r#"{{"version":1,"epoch":9,"leader":{{"node":1,"directory":"{ID}","boot":3}},"replicas":[1],"isr":[{{"node":1,"directory":"{ID}"}}]}}"#
        ),
    );

    check(ProducerIds { next: ProducerId(1001) }, r#"{"version":1,"next":1001}"#);
}

#[test]
fn a_newer_version_is_refused_with_both_numbers() {
    let error = Node::decode(br#"{"version":2,"somewhere":"else"}"#).unwrap_err().at("node/1");
    assert_eq!(
        error.to_string(),
        "node/1: the node record has version 2, this program knows up to 1; use a newer one"
    );
}

#[test]
fn damaged_records_are_errors_not_panics() {
    for bytes in [&b""[..], b"{}", b"\xff\xfe", br#"{"version":1}"#, br#"{"version":"1"}"#, b"[1]"] {
        assert!(matches!(Node::decode(bytes), Err(ValueError::Damaged { .. })), "{bytes:?}");
    }
    let unknown = br#"{"version":1,"name":"web","partitions":4,"config":{"segmnt.bytes":"1"},"created":0}"#;
    assert!(Topic::decode(unknown).unwrap_err().to_string().contains("segmnt.bytes"));
    assert!(ProducerIds::decode(br#"{"version":1,"next":-1}"#).is_err());
}
