use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use proptest::prelude::*;
use tidelog_model::{
    DirectoryId, ErrorCode, LeaderEpoch, NodeId, PartitionId, TimestampMs, TopicConfig, TopicId, TopicName,
    TopicPartition,
};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, CreateTopic, Elected, NODES_PER_PAGE_MAX, NodeState, NodeStatus,
    PARTITIONS_PER_PAGE_MAX, Page, PartitionQuery, PartitionState, PartitionStatus, Reassignment, StoreError,
    TopicInfo,
};
use tidelog_wire::limits::REPLY_HEADER_BYTES_MAX;

use super::{Pair, nobody, partition, within};
use crate::Services;
use crate::convert::{BadMessage, cluster, topics};

/// Remembers what it was asked, and answers what it was told to.
#[derive(Debug, Default)]
struct Played {
    asked: Mutex<Vec<String>>,
    refuses: bool,
}

impl Played {
    fn note<T>(&self, what: String, answer: T) -> Result<T, StoreError> {
        self.asked.lock().push(what);
        if self.refuses {
            return Err(StoreError::new(ErrorCode::NotController, "node 2 is"));
        }
        Ok(answer)
    }
}

#[async_trait]
impl ClusterAdmin for Played {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        self.note("status".to_owned(), a_status())
    }

    async fn nodes(&self, after: Option<NodeId>, limit: usize) -> Result<Page<NodeStatus>, StoreError> {
        let items = vec![a_node(3, NodeState::Down), a_node(4, NodeState::Up)];
        self.note(format!("nodes {after:?} {limit}"), Page { items, more: true })
    }

    async fn partitions(&self, query: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        let items = vec![a_partition(1, PartitionState::BelowFloor)];
        self.note(format!("{query:?}"), Page { items, more: false })
    }

    async fn drain(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(format!("drain {node}"), ())
    }

    async fn decommission(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(format!("decommission {node}"), ())
    }

    async fn undrain(&self, node: NodeId) -> Result<(), StoreError> {
        self.note(format!("undrain {node}"), ())
    }

    async fn reassign(&self, moves: Vec<Reassignment>) -> Result<(), StoreError> {
        self.note(format!("{moves:?}"), ())
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        self.note("rebalance".to_owned(), 17)
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        self.note(format!("elect {partitions:?}"), vec![an_election()])
    }

    async fn set_replication_factor(&self, topic: TopicId, replicas: u32) -> Result<(), StoreError> {
        self.note(format!("replicas {topic} {replicas}"), ())
    }

    async fn add_partitions(&self, topic: TopicId, partitions: u32) -> Result<(), StoreError> {
        self.note(format!("partitions {topic} {partitions}"), ())
    }
}

fn a_status() -> ClusterStatus {
    ClusterStatus {
        controller: NodeId(2),
        nodes: 3,
        nodes_not_up: 1,
        topics: 4,
        partitions: 5,
        offline: 6,
        below_floor: 7,
        under_replicated: 8,
        moving: 9,
        not_preferred: 10,
        unreadable: 11,
        unreadable_shown: vec![("topic/x".to_owned(), "not JSON".to_owned())],
    }
}

fn a_node(number: u32, state: NodeState) -> NodeStatus {
    let known = state != NodeState::Down;
    NodeStatus {
        node: NodeId(number),
        state,
        address: known.then(|| format!("store-{number}:9441")),
        rack: known.then(|| "a".to_owned()),
        software: known.then(|| "tidelog/1".to_owned()),
        directory: known.then(|| DirectoryId::from_bytes([number as u8; 16])),
        boot: known.then_some(u64::from(number) << 33),
        draining: number.is_multiple_of(2),
        decommissioned: !known,
        replicas: number,
        leads: number + 1,
        bytes: u64::from(number) << 40,
    }
}

fn a_partition(number: u32, state: PartitionState) -> PartitionStatus {
    let nodes = |numbers: &[u32]| numbers.iter().copied().map(NodeId).collect::<Vec<_>>();
    PartitionStatus {
        topic: partition(number).topic,
        name: TopicName::new("web").unwrap(),
        partition: PartitionId(number),
        state,
        epoch: LeaderEpoch(number + 7),
        leader: (state != PartitionState::Offline).then_some(NodeId(1)),
        wanted: 3,
        replicas: nodes(&[1, 2, 3, 4]),
        isr: nodes(&[1, 2]),
        adding: nodes(&[4]),
        removing: nodes(&[3]),
        unclean_epoch: number.is_multiple_of(2).then_some(LeaderEpoch(5)),
        bytes: 1 << 41,
    }
}

fn an_election() -> Elected {
    Elected { partition: partition(1), node: NodeId(3), epoch: LeaderEpoch(12) }
}

fn start(refuses: bool) -> (Arc<Played>, Pair) {
    let played = Arc::new(Played { refuses, ..Played::default() });
    let pair = Pair::start(Services { cluster: Some(played.clone()), ..nobody() });
    (played, pair)
}

#[tokio::test]
async fn a_controller_is_asked_from_afar_as_if_it_were_here() {
    let (played, pair) = start(false);
    let (here, there): (&dyn ClusterAdmin, &dyn ClusterAdmin) = (played.as_ref(), &pair.remote);
    let query = PartitionQuery {
        topic: Some(partition(0).topic),
        problems_only: true,
        after: Some(partition(9)),
        limit: 20,
    };
    let moves = || vec![Reassignment { partition: partition(2), replicas: vec![NodeId(3), NodeId(1)] }];
    let (node, topic) = (NodeId(6), partition(0).topic);
    assert_eq!(within(there.status()).await, here.status().await);
    assert_eq!(within(there.nodes(Some(node), 5)).await, here.nodes(Some(node), 5).await);
    assert_eq!(within(there.nodes(None, 0)).await, here.nodes(None, 0).await);
    assert_eq!(within(there.partitions(query)).await, here.partitions(query).await);
    let everything = PartitionQuery::default();
    assert_eq!(within(there.partitions(everything)).await, here.partitions(everything).await);
    assert_eq!(within(there.drain(node)).await, here.drain(node).await);
    assert_eq!(within(there.decommission(node)).await, here.decommission(node).await);
    assert_eq!(within(there.undrain(node)).await, here.undrain(node).await);
    assert_eq!(within(there.reassign(moves())).await, here.reassign(moves()).await);
    assert_eq!(within(there.rebalance()).await, here.rebalance().await);
    let lost = vec![partition(1), partition(4)];
    assert_eq!(within(there.elect_unclean(lost.clone())).await, here.elect_unclean(lost).await);
    assert_eq!(within(there.set_replication_factor(topic, 3)).await, Ok(()));
    here.set_replication_factor(topic, 3).await.unwrap();
    assert_eq!(within(there.add_partitions(topic, 64)).await, Ok(()));
    here.add_partitions(topic, 64).await.unwrap();
    let asked = std::mem::take(&mut *played.asked.lock());
    assert_eq!(asked.len(), 26);
    for pair in asked.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    pair.stop().await;
}

#[tokio::test]
async fn who_is_not_the_controller_says_who_is() {
    let (_played, pair) = start(true);
    let refused = within(ClusterAdmin::drain(&pair.remote, NodeId(1))).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (ErrorCode::NotController, "node 2 is"));
    assert!(refused.is_retryable() && refused.has_no_side_effects());
    pair.stop().await;
    let nobody = Pair::start(nobody());
    let refused = within(ClusterAdmin::status(&nobody.remote)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidRequest);
    nobody.stop().await;
}

#[test]
fn every_state_comes_back_and_an_unknown_one_is_refused() {
    use {NodeState as Node, PartitionState as State};
    for state in [Node::Up, Node::Probation, Node::Slow, Node::Silent, Node::Unreadable, Node::Down] {
        let page = Page { items: vec![a_node(1, state)], more: false };
        let mut reply = cluster::nodes_reply(page.clone());
        assert_eq!(cluster::nodes_page(reply.clone()), Ok(page));
        reply.nodes[0].state = 99;
        assert_eq!(cluster::nodes_page(reply), Err(BadMessage("node state")));
    }
    for state in [State::Offline, State::BelowFloor, State::UnderReplicated, State::Moving, State::Healthy] {
        let page = Page { items: vec![a_partition(1, state)], more: true };
        let mut reply = cluster::partitions_reply(&page);
        assert_eq!(cluster::partitions_page(reply.clone()), Ok(page));
        reply.partitions[0].state = 0;
        assert_eq!(cluster::partitions_page(reply), Err(BadMessage("partition state")));
    }
}

/// The largest page goes to a client in one header.
#[test]
fn the_largest_pages_fit_into_a_frame() {
    use prost::Message as _;
    let many = |count| vec![NodeId(u32::MAX); count];
    let replicas = tidelog_model::limits::REPLICATION_FACTOR_MAX as usize;
    let largest = PartitionStatus {
        name: TopicName::new(&"n".repeat(tidelog_model::limits::TOPIC_NAME_BYTES_MAX)).unwrap(),
        replicas: many(2 * replicas),
        isr: many(2 * replicas),
        adding: many(replicas),
        removing: many(replicas),
        ..a_partition(u32::MAX - 7, PartitionState::Moving)
    };
    let page = Page { items: vec![largest; PARTITIONS_PER_PAGE_MAX], more: true };
    let bytes = cluster::partitions_reply(&page).encoded_len();
    assert!(bytes < REPLY_HEADER_BYTES_MAX, "{bytes}");
    let text = || Some("n".repeat(500));
    let largest = NodeStatus { address: text(), rack: text(), software: text(), ..a_node(1, NodeState::Up) };
    let page = Page { items: vec![largest; NODES_PER_PAGE_MAX], more: true };
    let bytes = cluster::nodes_reply(page).encoded_len();
    assert!(bytes < REPLY_HEADER_BYTES_MAX, "{bytes}");
}

proptest! {
    #[test]
    fn topics_keep_their_replication(
        partitions in 1..9_u32,
        replication_factor in 1..32_u32,
        asked in proptest::option::of(1..32_u32),
        floor in proptest::option::of(1..5_u32),
    ) {
        let floor = floor.map(|floor| ("min.insync.replicas".to_owned(), floor.to_string()));
        let config: Vec<_> = floor.into_iter().collect();
        let create = CreateTopic {
            name: "web".to_owned(),
            partitions,
            replication_factor: asked,
            config: config.clone(),
        };
        prop_assert_eq!(topics::create(topics::create_call(create.clone())), create);
        let info = TopicInfo {
            id: partition(0).topic,
            name: TopicName::new("web").unwrap(),
            partitions,
            replication_factor,
            config: TopicConfig::default().with(config).unwrap(),
            created: TimestampMs(9),
        };
        prop_assert_eq!(topics::topic(&topics::record(&info)), Ok(info));
    }
}
