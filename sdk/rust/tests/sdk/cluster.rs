//! An operator's requests, and what becomes of the answers.

use tidelog::{ErrorCode, LeaderEpoch, NodeId, NodeState, PartitionId, PartitionState, TopicSpec};
use tidelog_proto::v1::{self, request, response};

use crate::server::{Server, TOPIC};
use crate::{BOTH, client, within};

/// What was asked for, in order.
pub(crate) type Asked = Vec<request::Body>;

const NODES: u32 = 5;
const PARTITIONS: u32 = 7;
const PAGE: u32 = 3;

pub(crate) fn answer(asked: &mut Asked, body: request::Body) -> Result<response::Body, ErrorCode> {
    asked.push(body.clone());
    Ok(match body {
        request::Body::ClusterStatus(_) => response::Body::ClusterStatus(v1::ClusterStatusResponse {
            controller: 2,
            nodes: NODES,
            below_floor: 1,
            unreadable: 1,
            unreadable_shown: vec![v1::cluster_status_response::Unreadable {
                key: "topic/x".to_owned(),
                reason: "not JSON".to_owned(),
            }],
            ..v1::ClusterStatusResponse::default()
        }),
        request::Body::ListNodes(ask) => {
            let first = ask.after.map_or(1, |after| after + 1);
            let end = (first + PAGE).min(NODES + 1);
            let nodes = (first..end).map(node).collect();
            response::Body::ListNodes(v1::ListNodesResponse { nodes, more: end <= NODES })
        }
        request::Body::ListPartitions(ask) => {
            let first = ask.after.map_or(0, |after| after.partition + 1);
            let end = (first + PAGE).min(PARTITIONS);
            let partitions = (first..end).map(partition).collect();
            response::Body::ListPartitions(v1::ListPartitionsResponse { partitions, more: end < PARTITIONS })
        }
        request::Body::DrainNode(ask) if ask.node == 13 => return Err(ErrorCode::InvalidRequest),
        request::Body::DrainNode(_) => response::Body::DrainNode(v1::DrainNodeResponse {}),
        request::Body::UndrainNode(_) => response::Body::UndrainNode(v1::UndrainNodeResponse {}),
        request::Body::Reassign(_) => response::Body::Reassign(v1::ReassignResponse {}),
        request::Body::Rebalance(_) => response::Body::Rebalance(v1::RebalanceResponse { leaderships: 17 }),
        request::Body::ElectUnclean(ask) => {
            let elected = ask.partitions.iter().map(|lost| v1::elect_unclean_response::Elected {
                topic_id: vec![9; 16].into(),
                partition: lost.partition,
                node: 3,
                epoch: 8,
            });
            response::Body::ElectUnclean(v1::ElectUncleanResponse { elected: elected.collect() })
        }
        request::Body::CreateTopic(ask) => {
            let topic = topic(ask.partitions, ask.replication_factor);
            response::Body::CreateTopic(v1::CreateTopicResponse { topic: Some(topic) })
        }
        request::Body::AlterTopic(ask) => {
            let topic = topic(ask.partitions, ask.replication_factor);
            response::Body::AlterTopic(v1::AlterTopicResponse { topic: Some(topic) })
        }
        _ => return Err(ErrorCode::InvalidRequest),
    })
}

/// The third is in a state that this version does not know.
fn node(node: u32) -> v1::NodeStatus {
    let known = (node == 1).then(|| "known".to_owned());
    v1::NodeStatus {
        node,
        state: if node == 3 { 99 } else { v1::NodeState::Silent.into() },
        rack: known,
        directory: Some(vec![node as u8; 16].into()),
        boot: Some(4),
        draining: true,
        replicas: 30,
        leads: 10,
        ..v1::NodeStatus::default()
    }
}

fn partition(partition: u32) -> v1::PartitionStatus {
    v1::PartitionStatus {
        topic_id: vec![9; 16].into(),
        topic: TOPIC.to_owned(),
        partition,
        state: if partition == 3 { 99 } else { v1::PartitionState::Moving.into() },
        epoch: 4,
        leader: Some(1),
        replicas_wanted: 2,
        replicas: vec![1, 2, 3],
        isr: vec![1, 2],
        adding: vec![3],
        removing: vec![2],
        unclean_epoch: Some(3),
        bytes: 1 << 40,
    }
}

fn topic(partitions: u32, replication_factor: u32) -> v1::Topic {
    let (id, name) = (vec![9; 16].into(), TOPIC.to_owned());
    v1::Topic { id, name, partitions, replication_factor, ..v1::Topic::default() }
}

#[tokio::test]
async fn the_cluster_is_read_to_the_last_page() {
    for transport in BOTH {
        let server = Server::start(1);
        let admin = client(&server, transport).await.admin();
        let status = within(admin.cluster_status()).await.unwrap();
        assert_eq!((status.controller, status.nodes, status.below_floor), (NodeId(2), NODES, 1));
        assert_eq!(status.unreadable_shown, [("topic/x".to_owned(), "not JSON".to_owned())]);

        let nodes = within(admin.nodes()).await.unwrap();
        assert_eq!(nodes.iter().map(|node| node.node.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!((nodes[0].rack.as_deref(), nodes[0].state), (Some("known"), NodeState::Silent));
        assert_eq!((nodes[2].rack.as_deref(), nodes[2].state), (None, NodeState::Unknown));

        let partitions = within(admin.partitions(Some(TOPIC), true)).await.unwrap();
        assert_eq!(partitions.len(), PARTITIONS as usize);
        assert!(partitions.is_sorted_by_key(|partition| partition.partition));
        let (moving, unknown) = (&partitions[2], &partitions[3]);
        assert_eq!((moving.state, unknown.state), (PartitionState::Moving, PartitionState::Unknown));
        assert_eq!((moving.adding.as_slice(), moving.leader), (&[NodeId(3)][..], Some(NodeId(1))));
        assert_eq!(moving.unclean_epoch, Some(LeaderEpoch(3)));
        let asked = std::mem::take(&mut *server.state.cluster.lock());
        let pages: Vec<_> = asked
            .iter()
            .filter_map(|body| match body {
                request::Body::ListPartitions(ask) => Some(ask),
                _ => None,
            })
            .collect();
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|page| page.problems_only && page.topic.is_some()));
        server.stop().await;
    }
}

#[tokio::test]
async fn commands_say_what_was_asked_for() {
    let server = Server::start(1);
    let admin = client(&server, BOTH[0]).await.admin();
    let partition = PartitionId(4);
    within(admin.drain(NodeId(1))).await.unwrap();
    within(admin.decommission(NodeId(2))).await.unwrap();
    within(admin.undrain(NodeId(3))).await.unwrap();
    within(admin.reassign(TOPIC, partition, &[NodeId(3), NodeId(1)])).await.unwrap();
    assert_eq!(within(admin.rebalance()).await.unwrap(), 17);
    let elected = within(admin.elect_unclean(TOPIC, partition)).await.unwrap();
    assert_eq!((elected.partition, elected.node, elected.epoch), (partition, NodeId(3), LeaderEpoch(8)));
    let refused = within(admin.drain(NodeId(13))).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidRequest));

    let named = |name: &str| Some(v1::TopicRef { by: Some(v1::topic_ref::By::Name(name.to_owned())) });
    let step = v1::reassign_request::Move { topic: named(TOPIC), partition: 4, replicas: vec![3, 1] };
    let lost = v1::elect_unclean_request::Partition { topic: named(TOPIC), partition: 4 };
    let drain = |node, decommission| request::Body::DrainNode(v1::DrainNodeRequest { node, decommission });
    let expected = [
        drain(1, false),
        drain(2, true),
        request::Body::UndrainNode(v1::UndrainNodeRequest { node: 3 }),
        request::Body::Reassign(v1::ReassignRequest { moves: vec![step] }),
        request::Body::Rebalance(v1::RebalanceRequest {}),
        request::Body::ElectUnclean(v1::ElectUncleanRequest { partitions: vec![lost] }),
        drain(13, false),
    ];
    assert_eq!(*server.state.cluster.lock(), expected);
    server.stop().await;
}

#[tokio::test]
async fn topics_are_created_and_changed_with_what_was_said_and_nothing_else() {
    let server = Server::start(1);
    let admin = client(&server, BOTH[0]).await.admin();
    let spec = TopicSpec::new(TOPIC).partitions(4).replication_factor(3).config("a", "b");
    let created = within(admin.create_topic(spec)).await.unwrap();
    assert_eq!((created.partitions, created.replication_factor), (4, 3));
    within(admin.create_topic(TOPIC)).await.unwrap();
    assert_eq!(within(admin.add_partitions(TOPIC, 9)).await.unwrap().partitions, 9);
    assert_eq!(within(admin.set_replication_factor(TOPIC, 2)).await.unwrap().replication_factor, 2);
    let asked = std::mem::take(&mut *server.state.cluster.lock());
    let alter = |partitions, replication_factor| {
        let topic = Some(v1::TopicRef { by: Some(v1::topic_ref::By::Name(TOPIC.to_owned())) });
        let alter = v1::AlterTopicRequest { topic, partitions, replication_factor, ..Default::default() };
        request::Body::AlterTopic(alter)
    };
    let name = TOPIC.to_owned();
    let whole = v1::CreateTopicRequest {
        name: name.clone(),
        partitions: 4,
        replication_factor: 3,
        config: [("a".to_owned(), "b".to_owned())].into(),
        validate_only: false,
    };
    let bare = v1::CreateTopicRequest { name, ..Default::default() };
    let create = request::Body::CreateTopic;
    assert_eq!(asked, [create(whole), create(bare), alter(9, 0), alter(0, 2)]);
    server.stop().await;
}
