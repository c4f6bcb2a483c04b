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
    let first = r#"{"version":1,"name":"web","partitions":4,"config":{"segment.bytes":"1048576"},"created":1700000000000}"#;
    assert_eq!(Topic::decode(first.as_bytes()).unwrap(), topic);
    let topic = Topic { replication_factor: 3, ..topic };
    let stored = r#"{"version":2,"name":"web","partitions":4,"replication_factor":3,"config":{"segment.bytes":"1048576"},"created":1700000000000}"#;
    assert_eq!(topic.isr_floor(), 2);
    check(topic.clone(), stored);
    let mut topic = topic;
    topic.set_config(&TopicConfig::default().with([("min.insync.replicas", "1")]).unwrap());
    assert_eq!(topic.isr_floor(), 1);
    let set = r#"{"version":2,"name":"web","partitions":4,"replication_factor":3,"config":{"min.insync.replicas":"1"},"created":1700000000000}"#;
    check(topic, set);

    let owner = TopicNameOwner { topic: TopicId::from_bytes([7; 16]) };
    check(owner, &format!(r#"{{"version":1,"topic":"{ID}"}}"#));

    let leader = Leader { node: NodeId(1), directory, boot: 3 };
    let partition = Partition { epoch: LeaderEpoch(8), ..Partition::default() }.led_by(leader);
    let led = format!(
        r#""epoch":9,"leader":{{"node":1,"directory":"{ID}","boot":3}},"replicas":[1],"isr":[{{"node":1,"directory":"{ID}"}}]"#
    );
    assert_eq!(Partition::decode(format!(r#"{{"version":1,{led}}}"#).as_bytes()).unwrap(), partition);
    check(partition.clone(), &format!(r#"{{"version":2,{led}}}"#));
    let (two, three) = (NodeId(2), NodeId(3));
    let moving = Partition {
        replicas: vec![NodeId(1), two, three],
        adding: vec![two],
        removing: vec![three],
        unclean_epoch: Some(LeaderEpoch(7)),
        ..partition
    };
    let led = led.replace(r#""replicas":[1]"#, r#""replicas":[1,2,3]"#);
    check(moving, &format!(r#"{{"version":2,{led},"adding":[2],"removing":[3],"unclean_epoch":7}}"#));

    let live = Live {
        node: NodeId(1),
        directory,
        boot: 3,
        address: "10.0.0.1:9441".to_owned(),
        rack: Some("a".to_owned()),
        software: "0.1.0".to_owned(),
        roles: vec![Role::Store, Role::Frontend],
        draining: false,
    };
    check(
        live,
        &format!(
            r#"{{"version":1,"node":1,"directory":"{ID}","boot":3,"address":"10.0.0.1:9441","rack":"a","software":"0.1.0","roles":["store","frontend"],"draining":false}}"#
        ),
    );
    let frontend = Frontend {
        address: "log.example:9440".to_owned(),
        http: "10.0.0.2:9444".to_owned(),
        rack: None,
        software: "0.1.0".to_owned(),
    };
    check(
        frontend,
        r#"{"version":1,"address":"log.example:9440","http":"10.0.0.2:9444","software":"0.1.0"}"#,
    );

    let drain = Drain { decommission: true, asked: created };
    check(drain, r#"{"version":1,"decommission":true,"asked":1700000000000}"#);

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
    let stranger = br#"{"version":2,"epoch":1,"leader":null,"replicas":[1],"isr":[],"removing":[2]}"#;
    assert!(Partition::decode(stranger).unwrap_err().to_string().contains("node 2"));
    let none = br#"{"version":2,"name":"web","partitions":4,"replication_factor":0,"config":{},"created":0}"#;
    assert!(Topic::decode(none).is_err());
    assert!(ProducerIds::decode(br#"{"version":1,"next":-1}"#).is_err());
}

#[test]
fn the_isr_floor_is_two_of_three_unless_it_is_set() {
    let topic = |replication_factor| {
        let topic = Topic::new("web".parse().unwrap(), 1, &TopicConfig::default(), TimestampMs(0));
        Topic { replication_factor, ..topic }
    };
    assert_eq!([1, 2, 3, 5].map(|factor| topic(factor).isr_floor()), [1, 1, 2, 2]);
}

#[test]
fn a_partition_stays_writable_while_its_replication_factor_is_raised() {
    let topic = Topic::new("web".parse().unwrap(), 1, &TopicConfig::default(), TimestampMs(0));
    let topic = Topic { replication_factor: 3, ..topic };
    let [one, two, three] = [1, 2, 3].map(NodeId);
    let settled = Partition { replicas: vec![one, two, three], ..Partition::default() };
    assert_eq!(settled.isr_floor(&topic), 2);
    let raised = Partition { adding: vec![two, three], ..settled.clone() };
    assert_eq!(raised.isr_floor(&topic), 1);
    let replaced = Partition { replicas: [1, 2, 3, 4].map(NodeId).into(), adding: vec![three], ..settled };
    assert_eq!(replaced.isr_floor(&topic), 2);
}
