//! A cluster under an operator's hands: a topic, clients whose history is judged, and what the controller says.

use std::time::Duration;

use tidelog::{Client, NodeId, PartitionStatus};
use tidelog_checker::Report;
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::{Cluster, ClusterOptions, Member, Workspace, until};
use tokio::runtime::Runtime;

use crate::recorded::Clients;

/// Reached only by a scenario that fails: two cores run several at once.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// How soon after the last fault everything has to work again, as the checker asks.
const RECOVERY: Duration = Duration::from_secs(45);

const TOPIC: &str = "fleet";

/// What an operator has before him.
pub(crate) struct Fleet {
    pub(crate) topic: Topic,
    pub(crate) recorder: Recorder,
    client: Client,
    clients: Vec<Clients>,
    pub(crate) runtime: Runtime,
    pub(crate) cluster: Cluster,
    pub(crate) workspace: Workspace,
}

impl Fleet {
    /// A cluster and a topic with so many partitions and replicas, all in sync.
    pub(crate) fn start(title: &str, partitions: u32, replicas: u32, options: ClusterOptions) -> Self {
        let workspace = Workspace::new();
        let cluster = Cluster::start(&workspace, options);
        Self::on(title, partitions, replicas, workspace, cluster)
    }

    /// The same on a cluster that was started otherwise.
    pub(crate) fn on(
        title: &str,
        partitions: u32,
        replicas: u32,
        workspace: Workspace,
        cluster: Cluster,
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let client = runtime.block_on(connect(&cluster));
        let (recorder, topic) = (Recorder::new(title, RECOVERY), Topic::new(TOPIC, partitions));
        let fleet = Self { topic, recorder, client, clients: Vec::new(), runtime, cluster, workspace };
        let (partitions, replicas) = (partitions.to_string(), replicas.to_string());
        fleet.operate(&[
            "topic",
            "create",
            TOPIC,
            "--partitions",
            &partitions,
            "--replication-factor",
            &replicas,
        ]);
        fleet.until_whole();
        fleet
    }

    /// A command of the operator, carried out.
    #[track_caller]
    pub(crate) fn operate(&self, command: &[&str]) {
        let _ = self.cluster.cli().run(command).ok();
    }

    /// Producers, readers and somebody who asks for offsets begin.
    #[track_caller]
    pub(crate) fn begin(&mut self) {
        let connect = async || connect(&self.cluster).await;
        let clients = Clients::start_with(&self.recorder, &self.topic, connect);
        self.clients.push(self.runtime.block_on(clients));
        self.progress("load at the beginning");
    }

    /// Waits for some more acknowledgements.
    #[track_caller]
    pub(crate) fn progress(&self, what: &str) {
        let enough = self.recorder.acknowledged() + 500;
        until(SOON, what, || (self.recorder.acknowledged() >= enough).then_some(()));
    }

    /// What the controller says of the topic; nothing while nobody answers.
    pub(crate) fn partitions(&self) -> Vec<PartitionStatus> {
        self.status_of(TOPIC)
    }

    pub(crate) fn status_of(&self, topic: &str) -> Vec<PartitionStatus> {
        self.runtime.block_on(self.client.admin().partitions(Some(topic), false)).unwrap_or_default()
    }

    /// Waits until this holds of every partition.
    #[track_caller]
    pub(crate) fn until_all(&self, what: &str, is_so: impl Fn(&PartitionStatus) -> bool) {
        until(SOON, what, || {
            let partitions = self.partitions();
            let all = partitions.len() == self.topic.partitions as usize && partitions.iter().all(&is_so);
            all.then_some(())
        });
    }

    /// Waits until every partition has a leader and as many replicas as its topic wants, all in sync.
    #[track_caller]
    pub(crate) fn until_whole(&self) {
        self.until_all("the cluster is whole", |status| {
            let wanted = status.replicas_wanted as usize;
            status.leader.is_some() && status.isr.len() == wanted && status.replicas.len() == wanted
        });
    }

    /// Ends the clients, drains and judges.
    #[track_caller]
    pub(crate) fn judge(mut self) -> Report {
        self.progress("load at the end");
        for clients in std::mem::take(&mut self.clients) {
            self.runtime.block_on(clients.finish());
        }
        self.runtime.block_on(self.recorder.drain(&self.client, &self.topic, None));
        self.recorder.judge(&self.workspace)
    }
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect(&cluster.url()).await.expect("a connection")
}

/// The node of a store.
pub(crate) fn node(store: Member) -> NodeId {
    let (Member::Store(index) | Member::Frontend(index)) = store;
    NodeId(index as u32 + 1)
}
