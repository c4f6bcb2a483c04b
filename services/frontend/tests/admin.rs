//! What operators ask of a cluster, answered by a controller that is played.

mod harness;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use harness::{Server, by_id, by_name};
use parking_lot::Mutex;
use tidelog_model::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, PartitionId, TopicId, TopicName};
use tidelog_model::{TopicPartition, limits::PARTITIONS_PER_TOPIC_MAX};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, Elected, NodeState, NodeStatus, Page, PartitionQuery, PartitionState,
    PartitionStatus, Reassignment, StoreError,
};
use tidelog_proto::v1;
use tidelog_wire::TransportChoice;

const TRANSPORT: TransportChoice = TransportChoice::Tcp;

/// Notes what it is asked; refuses to touch node 13.
#[derive(Debug, Default)]
struct Played(Mutex<Vec<String>>);

impl Played {
    #[expect(clippy::unnecessary_wraps, reason = "it is the answer of most calls")]
    fn note(&self, what: String) -> Result<(), StoreError> {
        self.0.lock().push(what);
        Ok(())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

fn nodes(numbers: &[u32]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

#[async_trait]
impl ClusterAdmin for Played {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        Ok(ClusterStatus {
            controller: NodeId(2),
            nodes: 3,
            nodes_not_up: 1,
            topics: 4,
            partitions: 5,
            offline: 0,
            below_floor: 1,
            under_replicated: 2,
            moving: 0,
            not_preferred: 3,
            unreadable: 1,
            unreadable_shown: vec![("topic/x".to_owned(), "not JSON".to_owned())],
        })
    }

    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError> {
        self.note(format!("nodes {after:?} {limit}"))?;
        let node = NodeStatus {
            node: NodeId(5),
            state: NodeState::Silent,
            address: Some("store-5:9441".to_owned()),
            rack: None,
            software: Some("tidelog/1".to_owned()),
            directory: Some(DirectoryId::from_bytes([5; 16])),
            boot: Some(7),
            draining: true,
            decommissioned: false,
            replicas: 8,
            leads: 1,
            bytes: 1 << 40,
        };
        Ok(Page { items: vec![node], more: true })
    }

    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        self.note(format!("{query:?}"))?;
        let partition = PartitionStatus {
            topic: TopicId::from_bytes([7; 16]),
            name: TopicName::new("web").unwrap(),
            partition: PartitionId(3),
            state: PartitionState::UnderReplicated,
            epoch: LeaderEpoch(6),
            leader: Some(NodeId(1)),
            wanted: 3,
            replicas: nodes(&[1, 2, 3]),
            isr: nodes(&[1, 2]),
            adding: vec![],
            removing: vec![],
            unclean_epoch: None,
            bytes: 9,
        };
        Ok(Page { items: vec![partition], more: false })
    }

    async fn drain(&self, node: NodeId) -> Result<(), StoreError> {
        if node == NodeId(13) {
            return Err(StoreError::new(ErrorCode::InvalidRequest, "node 13 has the last replica"));
        }
        self.note(format!("drain {node}"))
    }

    async fn decommission(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(format!("decommission {node}"))
    }

    async fn undrain(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(format!("undrain {node}"))
    }

    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError> {
        self.note(format!("{moves:?}"))
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        Ok(17)
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        let elected = |partition| Elected { partition, node: NodeId(3), epoch: LeaderEpoch(8) };
        Ok(partitions.into_iter().map(elected).collect())
    }

    async fn set_replication_factor(&self, _: TopicId, replicas: u32) -> Result<(), StoreError> {
        self.note(format!("replicas {replicas}"))
    }

    async fn add_partitions(&self, _: TopicId, partitions: u32) -> Result<(), StoreError> {
        self.note(format!("partitions {partitions}"))
    }
}

fn start() -> (Arc<Played>, Server) {
    let played = Arc::<Played>::default();
    (played.clone(), Server::of_cluster(played))
}

#[tokio::test]
async fn the_cluster_is_described_as_its_controller_sees_it() {
    let (played, server) = start();
    let web = server.topic("web").await;
    let client = server.client(TRANSPORT).await;
    let status = call!(client, ClusterStatus(v1::ClusterStatusRequest {})).unwrap();
    assert_eq!((status.controller, status.nodes_not_up, status.below_floor), (2, 1, 1));
    assert_eq!(status.unreadable_shown[0].key, "topic/x");

    let request = v1::ListNodesRequest { after: Some(4), limit: 9 };
    let page = call!(client, ListNodes(request)).unwrap();
    assert!(page.more);
    let node = &page.nodes[0];
    assert_eq!((node.node, node.state(), node.boot), (5, v1::NodeState::Silent, Some(7)));
    assert_eq!((node.rack.as_deref(), node.directory.as_deref()), (None, Some(&[5; 16][..])));

    let after = v1::TopicPartition { topic_id: vec![7; 16].into(), partition: 2 };
    let request = v1::ListPartitionsRequest {
        topic: by_name("web"),
        problems_only: true,
        after: Some(after.clone()),
        limit: 9,
    };
    let page = call!(client, ListPartitions(request.clone())).unwrap();
    assert_eq!((page.partitions[0].topic.as_str(), page.partitions[0].isr.as_slice()), ("web", &[1, 2][..]));
    assert_eq!(page.partitions[0].state(), v1::PartitionState::UnderReplicated);
    call!(client, ListPartitions(v1::ListPartitionsRequest::default())).unwrap();
    let query = PartitionQuery {
        topic: Some(web.topic),
        problems_only: true,
        after: Some(TopicPartition::new(TopicId::from_bytes([7; 16]), PartitionId(2))),
        limit: 9,
    };
    let expected = [
        "nodes Some(NodeId(4)) 9".to_owned(),
        format!("{query:?}"),
        format!("{:?}", PartitionQuery::default()),
    ];
    assert_eq!(played.asked(), expected);
    let unknown = v1::ListPartitionsRequest { topic: by_name("nope"), ..request.clone() };
    assert_eq!(call!(client, ListPartitions(unknown)).unwrap_err().code, 3);
    let short = v1::TopicPartition { topic_id: vec![7; 15].into(), ..after };
    let malformed = v1::ListPartitionsRequest { after: Some(short), ..request };
    assert_eq!(call!(client, ListPartitions(malformed)).unwrap_err().code, 42);
    server.stop().await;
}

#[tokio::test]
async fn commands_reach_the_controller_and_its_refusals_come_back() {
    let (played, server) = start();
    let web = server.topic("web").await;
    let client = server.client(TRANSPORT).await;
    let drain = |node, decommission| v1::DrainNodeRequest { node, decommission };
    call!(client, DrainNode(drain(1, false))).unwrap();
    call!(client, DrainNode(drain(2, true))).unwrap();
    call!(client, UndrainNode(v1::UndrainNodeRequest { node: 3 })).unwrap();
    let refused = call!(client, DrainNode(drain(13, false))).unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (42, "node 13 has the last replica"));
    assert_eq!(call!(client, Rebalance(v1::RebalanceRequest {})).unwrap().leaderships, 17);

    let step = |topic, partition| v1::reassign_request::Move { topic, partition, replicas: vec![3, 1] };
    let reassign = |moves| v1::ReassignRequest { moves };
    call!(client, Reassign(reassign(vec![step(by_name("web"), 0), step(by_id(web), 0)]))).unwrap();
    let moved = Reassignment { partition: web, replicas: nodes(&[3, 1]) };
    let moves = format!("{:?}", vec![moved.clone(), moved]);
    assert_eq!(played.asked(), ["drain 1", "decommission 2", "undrain 3", moves.as_str()]);
    for (moves, code) in [
        (vec![step(by_name("nope"), 0)], 3),
        (vec![step(by_name("web"), 1)], 3),
        (vec![], 42),
        (vec![step(by_id(web), 0); 1_001], 42),
    ] {
        assert_eq!(call!(client, Reassign(reassign(moves))).unwrap_err().code, code);
    }
    assert!(played.asked().is_empty());

    let partitions = vec![v1::elect_unclean_request::Partition { topic: by_name("web"), partition: 0 }];
    let elected = call!(client, ElectUnclean(v1::ElectUncleanRequest { partitions })).unwrap().elected;
    assert_eq!((elected.len(), elected[0].node, elected[0].epoch), (1, 3, 8));
    assert_eq!(elected[0].topic_id, web.topic.as_bytes()[..]);
    server.stop().await;
}

fn alter(change: impl FnOnce(&mut v1::AlterTopicRequest)) -> v1::AlterTopicRequest {
    let mut request = v1::AlterTopicRequest { topic: by_name("web"), ..Default::default() };
    change(&mut request);
    request
}

fn floor(floor: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("min.insync.replicas".to_owned(), floor.to_owned())])
}

#[tokio::test]
async fn a_topic_is_created_and_changed_with_its_replicas() {
    let (played, server) = start();
    let client = server.client(TRANSPORT).await;
    let create = |name: &str, replication_factor, config| v1::CreateTopicRequest {
        name: name.to_owned(),
        partitions: 2,
        replication_factor,
        config,
        ..Default::default()
    };
    let web = call!(client, CreateTopic(create("web", 3, floor("2")))).unwrap().topic.unwrap();
    assert_eq!((web.partitions, web.replication_factor, web.config), (2, 3, floor("2")));
    let refused = call!(client, CreateTopic(create("x", 2, floor("3")))).unwrap_err();
    assert_eq!((refused.code, refused.problems[0].key.as_str()), (40, "min.insync.replicas"));
    assert_eq!(call!(client, CreateTopic(create("x", 33, BTreeMap::new()))).unwrap_err().code, 38);

    let more = call!(client, AlterTopic(alter(|it| it.partitions = 5))).unwrap().topic.unwrap();
    assert_eq!((more.partitions, more.replication_factor), (5, 3));
    let two = call!(client, AlterTopic(alter(|it| it.replication_factor = 2))).unwrap().topic.unwrap();
    assert_eq!(two.replication_factor, 2);
    let checked = alter(|it| (it.replication_factor, it.validate_only) = (4, true));
    call!(client, AlterTopic(checked)).unwrap();
    assert_eq!(played.asked(), ["partitions 5", "replicas 2"]);

    for (request, code) in [
        (alter(|it| it.partitions = 2), 37),
        (alter(|it| it.partitions = PARTITIONS_PER_TOPIC_MAX + 1), 37),
        (alter(|it| it.replication_factor = 1), 38),
        (alter(|it| it.replication_factor = 33), 38),
        (alter(|it| it.config = floor("4")), 40),
        (alter(|it| (it.partitions, it.replication_factor) = (5, 3)), 42),
        (alter(|it| (it.partitions, it.config) = (5, floor("1"))), 42),
    ] {
        assert_eq!(call!(client, AlterTopic(request)).unwrap_err().code, code);
    }
    assert!(played.asked().is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_setting_that_follows_the_replicas_is_shown_as_it_holds() {
    let (_, server) = start();
    let client = server.client(TRANSPORT).await;
    for (name, replicas, config, shown) in [
        ("one", 1, BTreeMap::new(), ("1", true)),
        ("three", 3, BTreeMap::new(), ("2", true)),
        ("set", 3, floor("1"), ("1", false)),
    ] {
        let create = v1::CreateTopicRequest {
            name: name.to_owned(),
            replication_factor: replicas,
            config,
            ..Default::default()
        };
        call!(client, CreateTopic(create)).unwrap();
        let request = v1::DescribeTopicRequest { topic: by_name(name) };
        let settings = call!(client, DescribeTopic(request)).unwrap().config;
        let floor = settings.iter().find(|entry| entry.name == "min.insync.replicas").unwrap();
        assert_eq!((floor.value.as_str(), floor.is_default), shown);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_single_process_says_that_it_is_one() {
    let server = Server::start();
    server.topic("web").await;
    let client = server.client(TRANSPORT).await;
    let refusals = [
        call!(client, ClusterStatus(v1::ClusterStatusRequest {})).unwrap_err(),
        call!(client, ListNodes(v1::ListNodesRequest::default())).unwrap_err(),
        call!(client, ListPartitions(v1::ListPartitionsRequest::default())).unwrap_err(),
        call!(client, DrainNode(v1::DrainNodeRequest::default())).unwrap_err(),
        call!(client, UndrainNode(v1::UndrainNodeRequest::default())).unwrap_err(),
        call!(client, Reassign(v1::ReassignRequest::default())).unwrap_err(),
        call!(client, Rebalance(v1::RebalanceRequest {})).unwrap_err(),
        call!(client, ElectUnclean(v1::ElectUncleanRequest::default())).unwrap_err(),
        call!(client, AlterTopic(alter(|it| it.partitions = 5))).unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!((refused.code, refused.no_side_effects), (35, true));
        assert!(refused.message.contains("single process"), "{}", refused.message);
    }
    let create = |replication_factor, validate_only| v1::CreateTopicRequest {
        name: "t".to_owned(),
        replication_factor,
        validate_only,
        ..Default::default()
    };
    for validate_only in [true, false] {
        let refused = call!(client, CreateTopic(create(3, validate_only))).unwrap_err();
        assert_eq!(refused.code, 38);
        assert!(refused.message.contains("single process"), "{}", refused.message);
    }
    call!(client, CreateTopic(create(1, false))).unwrap();
    assert_eq!(call!(client, AlterTopic(alter(|it| it.replication_factor = 3))).unwrap_err().code, 38);
    call!(client, AlterTopic(alter(|it| it.replication_factor = 1))).unwrap();
    server.stop().await;
}
