//! A cluster, a topic, clients whose history is judged, and somebody who looks at the metadata.

use std::sync::Arc;
use std::time::Duration;

use tidelog::{Client, NodeId};
use tidelog_checker::{Outcome, Report};
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::{Cluster, ClusterOptions, Member, Workspace, until};
use tidelog_format::pointer::Pointer;
use tidelog_meta::{Partition, TypedMeta as _, keys};
use tokio::runtime::Runtime;

use crate::recorded::Clients;

/// Reached only by a scenario that fails: two cores run several at once.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// How soon after the last fault everything has to work again, as the checker asks.
const RECOVERY: Duration = Duration::from_secs(40);

/// How long a record is tried that is not expected to be acknowledged.
const IN_VAIN: Duration = Duration::from_secs(2);

/// Everything that a scenario of a cluster stands on. There is one topic, so all partitions are its.
pub(crate) struct Scene {
    pub(crate) topic: Topic,
    pub(crate) recorder: Recorder,
    client: Client,
    clients: Option<Clients>,
    meta: Arc<tidelog_meta::Etcd>,
    pub(crate) runtime: Runtime,
    /// Ends before what it is in.
    pub(crate) cluster: Cluster,
    pub(crate) workspace: Workspace,
}

impl Scene {
    /// A cluster of three stores and two frontends, and a topic with a replica on each store.
    pub(crate) fn start(title: &str, partitions: u32, options: ClusterOptions) -> Self {
        let workspace = Workspace::new();
        let cluster = Cluster::start(&workspace, options);
        Self::on(title, partitions, workspace, cluster)
    }

    /// The same, on a cluster that was started otherwise.
    pub(crate) fn on(title: &str, partitions: u32, workspace: Workspace, cluster: Cluster) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let topic = Topic::new("scene", partitions);
        cluster.cli().create_topic("scene", partitions, &["min.insync.replicas=2"]);
        let client = runtime.block_on(connect(&cluster));
        let meta = runtime.block_on(cluster.meta());
        let recorder = Recorder::new(title, RECOVERY);
        let scene = Self { topic, recorder, runtime, client, clients: None, meta, cluster, workspace };
        scene.until_in_sync();
        scene
    }

    /// Producers, readers and somebody who asks for offsets begin.
    pub(crate) fn begin(&mut self) {
        let connect = async || connect(&self.cluster).await;
        let clients = Clients::start_with(&self.recorder, &self.topic, connect);
        self.clients = Some(self.runtime.block_on(clients));
        self.until_writable("the beginning");
    }

    pub(crate) fn partitions(&self) -> Vec<Partition> {
        let read = self.runtime.block_on(self.meta.read_all(&keys::partitions()));
        read.expect("etcd answers").items.into_iter().map(|stored| stored.value).collect()
    }

    /// What of the topic is published in the bucket.
    pub(crate) fn pointers(&self) -> Vec<Pointer> {
        let read = self.runtime.block_on(self.meta.read_all(&keys::pointers()));
        read.expect("etcd answers").items.into_iter().map(|stored| stored.value).collect()
    }

    /// How many elections there were so far, the first ones included.
    pub(crate) fn elections(&self) -> u64 {
        self.partitions().iter().map(|partition| u64::from(partition.epoch.0)).sum()
    }

    /// The store that leads this partition.
    pub(crate) fn leader(&self, partition: usize) -> Member {
        until(SOON, "a leader", || self.partitions()[partition].leader.map(|leader| store(leader.node)))
    }

    /// The other stores.
    pub(crate) fn others(&self, but: Member) -> Vec<Member> {
        let stores = self.cluster.members().into_iter().filter(|member| matches!(member, Member::Store(_)));
        stores.filter(|member| *member != but).collect()
    }

    pub(crate) fn leads(&self, member: Member) -> bool {
        let leads =
            |partition: &Partition| partition.leader.is_some_and(|leader| store(leader.node) == member);
        self.partitions().iter().any(leads)
    }

    /// Waits until a store leads something, with an operator's help.
    pub(crate) fn until_it_leads(&self, member: Member) {
        until(SOON, &format!("{member} leads something"), || {
            if self.leads(member) {
                return Some(());
            }
            let _ = self.runtime.block_on(self.client.admin().rebalance());
            None
        });
    }

    pub(crate) fn until_it_leads_nothing(&self, member: Member) {
        until(SOON, &format!("{member} leads nothing"), || (!self.leads(member)).then_some(()));
    }

    /// Waits until a store is among the in-sync replicas of no partition.
    pub(crate) fn until_ejected(&self, member: Member) {
        let holds = |partition: &Partition| partition.isr.iter().any(|replica| store(replica.node) == member);
        until(SOON, &format!("{member} is ejected"), || (!self.partitions().iter().any(holds)).then_some(()));
    }

    /// Waits until every partition has a leader and all of its replicas in sync.
    #[track_caller]
    pub(crate) fn until_in_sync(&self) {
        let well = |partition: &Partition| partition.leader.is_some() && partition.isr.len() == 3;
        until(SOON, "every replica is in sync", || self.partitions().iter().all(well).then_some(()));
    }

    /// Waits until of every partition a record was acknowledged that is sent from now on.
    #[track_caller]
    pub(crate) fn until_writable(&self, when: &str) {
        let (since, all) = (self.recorder.now(), self.topic.partitions as usize);
        let is_so = || (self.recorder.written_since(since).len() == all).then_some(());
        until(SOON, &format!("every partition is writable: {when}"), is_so);
    }

    /// Waits for so many more acknowledgements.
    #[track_caller]
    pub(crate) fn progress(&self, what: &str, records: u64) {
        let enough = self.recorder.acknowledged() + records;
        until(SOON, what, || (self.recorder.acknowledged() >= enough).then_some(()));
    }

    /// One record to a partition, tried for as long as it takes.
    pub(crate) fn write(&self, partition: u32) -> Outcome {
        self.write_within(partition, SOON)
    }

    /// Tries to write to a partition that cannot take it.
    ///
    /// # Panics
    /// When it is acknowledged.
    #[track_caller]
    pub(crate) fn write_in_vain(&self, partition: u32, why: &str) {
        let outcome = self.try_to_write(partition);
        assert_ne!(outcome, Outcome::Ok, "acknowledged although {why}");
    }

    /// One record to a partition that may not be able to take it.
    pub(crate) fn try_to_write(&self, partition: u32) -> Outcome {
        self.write_within(partition, IN_VAIN)
    }

    fn write_within(&self, partition: u32, within: Duration) -> Outcome {
        self.runtime.block_on(async {
            // A client of its own: nothing that it meant to say before is in the way.
            let client = connect(&self.cluster).await;
            self.recorder.write_once(&client, &self.topic, partition, within).await
        })
    }

    /// Ends the clients and drains everything.
    pub(crate) fn drain(&mut self) {
        if let Some(clients) = self.clients.take() {
            self.runtime.block_on(clients.finish());
        }
        self.runtime.block_on(self.recorder.drain(&self.client, &self.topic, None));
    }

    /// [`Scene::drain`], and judges.
    #[track_caller]
    pub(crate) fn judge(mut self) -> Report {
        self.until_in_sync();
        self.drain();
        self.recorder.judge(&self.workspace)
    }
}

/// A client that knows every frontend.
pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect(&cluster.url()).await.expect("a connection")
}

/// The member that has this node id.
fn store(node: NodeId) -> Member {
    Member::Store(node.0 as usize - 1)
}
