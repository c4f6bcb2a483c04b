//! From the command line to a controller and back: frontend, internal port and all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::Parser;
use tidelog::{Admin, Client, NodeId, PartitionId, TopicId, TopicSpec};
use tidelog_controller::{ClusterTopics, Controller, Operator, Stores, Unreachable};
use tidelog_format::pointer::Pointer;
use tidelog_frontend::{ColdBatches, ColdSource, Frontend, FrontendOptions};
use tidelog_link::{LinkServer, LinkServerOptions, Remote, RemoteOptions, Services};
use tidelog_meta::{
    Creation, Embedded, LeaseId, Live, Meta as _, Node, Partition, Role, SharedMeta, Txn, TypedMeta as _,
    keys,
};
use tidelog_model::{ClusterId, DirectoryId, LeaderEpoch, Offset, TopicName, TopicPartition};
use tidelog_peer::{
    ClusterAdmin, ClusterStatus, CreateTopic, Elected, HandOver, LogReports, NodeState, NodeStatus, Page,
    PartitionBytes, PartitionQuery, PartitionState, PartitionStatus, Ping, Pong, Reassignment, StoreError,
    TopicInfo, TopicRef, Topics,
};
use tidelog_runtime::{CancellationToken, Metrics, Supervisor, SystemClock};
use tidelog_wire::{
    Authority, ByteBudget, CertificateRequest, CertificateUse, ClusterTls, Credentials, Identity,
    TransportSettings,
};
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::{Command, run, show};
use crate::exit::Code;
use crate::output::Output;

const DEADLINE: Duration = Duration::from_secs(30);

const MIB: usize = 1 << 20;

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// A cluster's internal port, and a frontend that reaches everything through it.
struct Running {
    port: LinkServer,
    frontend: Frontend,
    supervisor: Supervisor,
    url: String,
    admin: Admin,
}

impl Running {
    async fn start(cluster: Arc<dyn ClusterAdmin>, topics: Arc<dyn Topics>, supervisor: Supervisor) -> Self {
        let authority = Authority::create("tests", 2).unwrap();
        let request = CertificateRequest {
            name: "store-1".to_owned(),
            hosts: Vec::new(),
            usage: CertificateUse::Member,
            valid_days: 1,
        };
        let tls = ClusterTls::new(authority.issue(&request).unwrap(), authority.certificate_pem()).unwrap();
        let options = LinkServerOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: tls.clone(),
            cluster: ClusterId::from_bytes([1; 16]),
            software: "tests/1".to_owned(),
            frames: ByteBudget::new(64 * MIB),
            settings: TransportSettings::default(),
            clock: SystemClock::shared(),
        };
        let services = Services {
            partitions: None,
            topics: Some(topics),
            control: None,
            cluster: Some(cluster),
            followers: None,
            drain: CancellationToken::new(),
            replies: ByteBudget::new(MIB),
        };
        let port = LinkServer::start(options, services, &supervisor).unwrap();
        let addr = port.local_addr().to_string();
        let remote = Remote::new(RemoteOptions::new(addr, tls, ByteBudget::new(64 * MIB)), &supervisor);
        let remote = Arc::new(remote);
        let identity = Identity::self_signed(&["localhost".to_owned()]).unwrap();
        let credentials = Credentials::new(identity.clone()).unwrap();
        let parts = tidelog_frontend::Parts {
            store: remote.clone(),
            topics: remote.clone(),
            cluster: Some(remote),
            cold: Arc::new(NoBucket),
            clock: SystemClock::shared(),
            supervisor: supervisor.clone(),
            metrics: Metrics::default(),
        };
        let options = FrontendOptions::new("127.0.0.1:0".parse().unwrap(), credentials);
        let frontend = Frontend::start(options, parts).unwrap();
        let url = format!("tidelog://{}?fingerprint={}", frontend.local_addr(), identity.fingerprint());
        let admin = within(Client::connect(&url)).await.unwrap().admin();
        Self { port, frontend, supervisor, url, admin }
    }

    /// Runs `tidelog cluster …`.
    async fn run(&self, line: &str) -> anyhow::Result<Code> {
        let words = ["tidelog"].into_iter().chain(line.split(' ')).chain(["--bootstrap", &self.url]);
        within(run(Line::try_parse_from(words).unwrap().command)).await
    }

    async fn stop(self) {
        drop(self.admin);
        within(self.frontend.shut_down(Duration::from_secs(5))).await;
        within(self.port.shut_down(DEADLINE)).await;
        within(self.supervisor.shut_down(DEADLINE)).await.unwrap();
    }
}

struct NoBucket;

#[async_trait]
impl ColdBatches for NoBucket {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        None
    }
}

impl ColdSource for NoBucket {
    fn stream(&self, _: TopicPartition, _: Pointer, _: Offset) -> Box<dyn ColdBatches> {
        Box::new(Self)
    }
}

/// A cluster as it is on a bad day.
#[derive(Debug)]
struct BadDay;

fn numbered(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn a_node(node: u32, state: NodeState) -> NodeStatus {
    let known = state != NodeState::Down;
    NodeStatus {
        node: NodeId(node),
        state,
        address: known.then(|| format!("store-{node}:9441")),
        rack: known.then(|| format!("r{node}")),
        software: known.then(|| "tidelog/1".to_owned()),
        directory: Some(DirectoryId::from_bytes([7; 16])),
        boot: Some(u64::from(node) * 5),
        draining: node > 1,
        decommissioned: node > 2,
        replicas: if node == 3 { 0 } else { 12 },
        leads: 3 - node,
        bytes: u64::from(3 - node) << 20,
    }
}

fn a_partition(topic: &str, partition: u32, state: PartitionState) -> PartitionStatus {
    let moves = state == PartitionState::Moving;
    PartitionStatus {
        topic: TopicId::from_bytes([7; 16]),
        name: TopicName::new(topic).unwrap(),
        partition: PartitionId(partition),
        state,
        epoch: LeaderEpoch(4),
        leader: (state != PartitionState::Offline).then_some(NodeId(1)),
        wanted: 2,
        replicas: numbered(if moves { &[1, 2, 3] } else { &[1, 2] }),
        isr: numbered(if state == PartitionState::Healthy || moves { &[1, 2] } else { &[2] }),
        adding: numbered(if moves { &[3] } else { &[] }),
        removing: numbered(if moves { &[2] } else { &[] }),
        unclean_epoch: (state == PartitionState::Offline).then_some(LeaderEpoch(3)),
        bytes: 1 << 20,
    }
}

#[async_trait]
impl ClusterAdmin for BadDay {
    async fn status(&self) -> Result<ClusterStatus, StoreError> {
        Ok(ClusterStatus {
            controller: NodeId(1),
            nodes: 3,
            nodes_not_up: 2,
            topics: 2,
            partitions: 5,
            offline: 1,
            below_floor: 0,
            under_replicated: 2,
            moving: 1,
            not_preferred: 0,
            unreadable: 1,
            unreadable_shown: vec![("topic/x".to_owned(), "not JSON".to_owned())],
        })
    }

    async fn nodes(&self, _: Option<NodeId>, _: usize) -> Result<Page<NodeStatus>, StoreError> {
        let items = vec![a_node(1, NodeState::Up), a_node(2, NodeState::Silent), a_node(3, NodeState::Down)];
        Ok(Page { items, more: false })
    }

    async fn partitions(&self, _: PartitionQuery) -> Result<Page<PartitionStatus>, StoreError> {
        let items = vec![
            a_partition("web", 0, PartitionState::Healthy),
            a_partition("web", 1, PartitionState::Moving),
            a_partition("web", 2, PartitionState::UnderReplicated),
            a_partition("web", 10, PartitionState::Offline),
            a_partition("app", 0, PartitionState::Healthy),
        ];
        Ok(Page { items, more: false })
    }

    async fn drain(&self, _: NodeId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn decommission(&self, _: NodeId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn undrain(&self, _: NodeId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn reassign(&self, _: Vec<Reassignment>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn rebalance(&self) -> Result<u32, StoreError> {
        Ok(2)
    }

    async fn elect_unclean(&self, partitions: Vec<TopicPartition>) -> Result<Vec<Elected>, StoreError> {
        let elected = |partition| Elected { partition, node: NodeId(2), epoch: LeaderEpoch(5) };
        Ok(partitions.into_iter().map(elected).collect())
    }

    async fn set_replication_factor(&self, _: TopicId, _: u32) -> Result<(), StoreError> {
        Ok(())
    }

    async fn add_partitions(&self, _: TopicId, _: u32) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The topics of a metadata store, read each time.
#[derive(Debug)]
struct MetaTopics(SharedMeta);

#[async_trait]
impl Topics for MetaTopics {
    async fn create(&self, _: CreateTopic) -> Result<TopicInfo, StoreError> {
        unreachable!("the controller creates topics")
    }

    async fn alter(&self, _: TopicRef, _: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        unreachable!("no test changes settings")
    }

    async fn delete(&self, _: TopicRef) -> Result<(), StoreError> {
        unreachable!("no test deletes a topic")
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        let found = self.list().await?.into_iter().find(|info| match &topic {
            TopicRef::Id(id) => info.id == *id,
            TopicRef::Name(name) => info.name.as_str() == name,
        });
        found.ok_or_else(|| tidelog_model::ErrorCode::UnknownTopicOrPartition.into())
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        let topics = self.0.read_all(&keys::topics()).await.unwrap().items;
        let info = topics.into_iter().map(|item| TopicInfo {
            id: keys::parse_topic(&item.key).unwrap(),
            partitions: item.value.partitions,
            replication_factor: item.value.replication_factor,
            config: item.value.config(),
            created: item.value.created,
            name: item.value.name,
        });
        Ok(info.collect())
    }
}

fn embedded() -> (tempfile::TempDir, Arc<Embedded>) {
    let directory = tempfile::tempdir().unwrap();
    let meta = Arc::new(Embedded::open(directory.path(), Creation::IfMissing).unwrap());
    (directory, meta)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_programs_read_how_a_cluster_is() {
    let (_directory, meta) = embedded();
    let running = Running::start(Arc::new(BadDay), Arc::new(MetaTopics(meta)), Supervisor::new()).await;
    let (status, nodes) =
        (running.admin.cluster_status().await.unwrap(), running.admin.nodes().await.unwrap());
    let partitions = running.admin.partitions(None, false).await.unwrap();
    let text = show::status(&status, Output::Table).unwrap();
    let expected = "\
controller                          node 1
nodes                               3, 2 not up
topics                              2
partitions                          5
  offline                           1
  below the floor                   0
  under-replicated                  2
  moving                            1
  not led by the preferred replica  0
records that cannot be read         1
  topic/x: not JSON
";
    assert_eq!(text, expected);
    let text = show::nodes(&nodes, Output::Table).unwrap();
    let expected = "\
NODE  STATE                 RACK  ADDRESS       LEADS  REPLICAS     LOCAL  BOOT  SOFTWARE
   1  up                    r1    store-1:9441      2        12  2.00 MiB     5  tidelog/1
   2  silent, draining      r2    store-2:9441      1        12  1.00 MiB    10  tidelog/1
   3  down, decommissioned  -     -                 0         0       0 B    15  -
";
    assert_eq!(text, expected);
    let text = show::partitions(partitions.clone(), Output::Table).unwrap();
    let expected = "\
TOPIC  PARTITION  STATE             LEADER  EPOCH  REPLICAS  IN SYNC  MOVE      LOCAL
web           10  offline                -      4  1,2       2               1.00 MiB
web            2  under-replicated       1      4  1,2       2               1.00 MiB
app            0  healthy                1      4  1,2       1,2             1.00 MiB
web            0  healthy                1      4  1,2       1,2             1.00 MiB
web            1  moving                 1      4  1,2,3     1,2      +3 -2  1.00 MiB
";
    assert_eq!(text, expected);

    let json =
        |text: anyhow::Result<String>| serde_json::from_str::<serde_json::Value>(&text.unwrap()).unwrap();
    let status = json(show::status(&status, Output::Json));
    let unreadable = serde_json::json!([{ "key": "topic/x", "reason": "not JSON" }]);
    assert_eq!((&status["nodes_not_up"], &status["unreadable_shown"]), (&2.into(), &unreadable));
    let id = "07".repeat(16);
    let node = serde_json::json!({
        "node": 3, "state": "down", "draining": true, "decommissioned": true, "rack": null, "address": null,
        "replicas": 0, "leads": 0, "local_bytes": 0, "directory": id, "boot": 15, "software": null,
    });
    assert_eq!(json(show::nodes(&nodes, Output::Json))[2], node);
    let worst = serde_json::json!({
        "topic": "web", "topic_id": id, "partition": 10, "state": "offline", "leader": null, "epoch": 4,
        "replication_factor": 2, "replicas": [1, 2], "isr": [2], "adding": [], "removing": [],
        "unclean_epoch": 3, "local_bytes": 1 << 20,
    });
    assert_eq!(json(show::partitions(partitions, Output::Json))[0], worst);
    assert_eq!(json(show::rebalance(2, Output::Json)), serde_json::json!({ "leaderships": 2 }));
    running.stop().await;
}

/// Stores that are well and hold nothing.
#[derive(Debug)]
struct Well;

#[async_trait]
impl Stores for Well {
    async fn ping(&self, store: &Live, _: Ping) -> Result<Pong, Unreachable> {
        Ok(Pong { directory: store.directory, boot: store.boot, fit: true, resigned: Vec::new() })
    }

    async fn report(&self, store: &Live, _: Vec<TopicPartition>) -> Result<LogReports, Unreachable> {
        Ok(LogReports { directory: store.directory, boot: store.boot, logs: Vec::new() })
    }

    async fn hand_over(&self, _: &Live, _: u64, _: Vec<HandOver>) -> Result<(), Unreachable> {
        Ok(())
    }

    async fn sizes(&self, _: &Live) -> Result<Vec<PartitionBytes>, Unreachable> {
        Ok(Vec::new())
    }

    async fn closed(&self, _: &Live) {
        std::future::pending::<()>().await;
    }
}

async fn register(meta: &Embedded, node: u32) -> LeaseId {
    let lease = meta.grant(Duration::from_mins(59)).await.unwrap().id;
    let live = Live {
        node: NodeId(node),
        directory: DirectoryId::from_bytes([node as u8; 16]),
        boot: 1,
        address: format!("store-{node}:9441"),
        rack: None,
        software: "tests/1".to_owned(),
        roles: vec![Role::Store],
        draining: false,
    };
    let registered = Node { directory: live.directory, boot: 1 };
    let txn = Txn::new().put(&keys::node(live.node), &registered);
    let txn = txn.put_leased(&keys::live(live.node), &live, lease);
    let _ = meta.txn(txn).await.unwrap();
    lease
}

async fn controller(meta: &Arc<Embedded>, supervisor: &Supervisor) -> Operator {
    let mut leases = Vec::new();
    for node in 1..=3 {
        leases.push(register(meta, node).await);
    }
    let (sender, lease) = watch::channel(Some(leases[0]));
    supervisor.spawn("lease", async move { sender.closed().await });
    let options = tidelog_controller::Options { balance: false, ..Default::default() };
    let parts = tidelog_controller::Parts {
        node: NodeId(1),
        boot: 1,
        meta: Arc::clone(meta) as SharedMeta,
        stores: Arc::new(Well),
        lease,
        clock: SystemClock::shared(),
        options,
    };
    let operator = Controller::start(parts, supervisor);
    let mut tick = interval(Duration::from_millis(5));
    within(async {
        while operator.status().await.is_err() {
            tick.tick().await;
        }
    })
    .await;
    operator
}

async fn records(meta: &Embedded) -> Vec<Partition> {
    let all = meta.read_all(&keys::partitions()).await.unwrap().items;
    all.into_iter().map(|item| item.value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_word_reaches_the_metadata() {
    let (_directory, meta) = embedded();
    let supervisor = Supervisor::new();
    let operator = controller(&meta, &supervisor).await;
    let topics = Arc::new(MetaTopics(Arc::clone(&meta) as SharedMeta));
    let topics = ClusterTopics::new(operator.clone(), topics);
    let running = Running::start(Arc::new(operator), Arc::new(topics), supervisor).await;
    let admin = &running.admin;

    let topic = admin.create_topic(TopicSpec::new("web").partitions(4)).await.unwrap();
    assert_eq!((topic.partitions, topic.replication_factor), (4, 3));
    let spec = TopicSpec::new("one").replication_factor(1).config("min.insync.replicas", "1");
    assert_eq!(admin.create_topic(spec).await.unwrap().overrides["min.insync.replicas"], "1");
    let too_many = admin.create_topic(TopicSpec::new("four").replication_factor(4)).await.unwrap_err();
    assert_eq!(too_many.code(), Some(tidelog::ErrorCode::InvalidReplicationFactor));
    assert!(too_many.to_string().contains("3 stores can take them"), "{too_many}");
    assert_eq!(admin.add_partitions("web", 6).await.unwrap().partitions, 6);
    assert_eq!(records(&meta).await.len(), 7);
    assert_eq!(admin.partitions(Some("web"), false).await.unwrap().len(), 6);
    assert_eq!(admin.cluster_status().await.unwrap().controller, NodeId(1));
    let shown = show::partitions(admin.partitions(None, true).await.unwrap(), Output::Json).unwrap();
    assert_eq!(shown, "[]\n");

    assert_eq!(running.run("drain 2").await.unwrap(), Code::Success);
    assert!(admin.nodes().await.unwrap()[1].draining);
    running.run("undrain 2").await.unwrap();
    assert!(!admin.nodes().await.unwrap()[1].draining);
    let refused = running.run("drain 9").await.unwrap_err().to_string();
    assert_eq!(refused, "there is no node 9");
    let refused = running.run("drain 3 --decommission").await.unwrap_err().to_string();
    assert_eq!(refused, "3 replicas are wanted, and 2 stores can take them");

    let before = records(&meta).await;
    running.run("reassign one 0 --replicas 3").await.unwrap();
    let led_by_three = before.iter().any(|record| record.replicas == [NodeId(3)]);
    assert!(led_by_three || records(&meta).await.iter().any(|record| record.adding == [NodeId(3)]));
    let refused = running.run("reassign web 0 --replicas 1,2").await.unwrap_err().to_string();
    assert!(refused.ends_with("3 replicas a partition, 2 nodes are named"), "{refused}");

    let unsaid = running.run("elect-unclean web 0").await.unwrap_err().to_string();
    assert!(unsaid.contains("are lost with this, for good"), "{unsaid}");
    let refused = running.run("elect-unclean web 0 --yes-lose-acknowledged-records").await.unwrap_err();
    assert!(refused.to_string().ends_with("has a leader that works"), "{refused}");
    running.stop().await;
}
