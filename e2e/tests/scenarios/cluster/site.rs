//! A cluster whose disks and metadata are damaged, a topic, and clients whose history is judged.

use std::time::Duration;

use serde_json::Value;
use tidelog::Client;
use tidelog_e2e::history::{Recorder, Topic};
use tidelog_e2e::{Cluster, ClusterOptions, LoopDisk, Member, Workspace, until};
use tokio::runtime::Runtime;

use super::replica_logs;
use crate::recorded::Clients;

/// Reached only by a scenario that fails: two cores run several at once.
pub(crate) const SOON: Duration = Duration::from_mins(1);

const RECOVERY: Duration = Duration::from_secs(45);

pub(crate) const STORES: [Member; 3] = [Member::Store(0), Member::Store(1), Member::Store(2)];

const TOPIC: &str = "site";

/// What a scenario of faulty disks stands on.
pub(crate) struct Site {
    pub(crate) topic: Topic,
    pub(crate) recorder: Recorder,
    pub(crate) runtime: Runtime,
    clients: Option<Clients>,
    pub(crate) cluster: Cluster,
    pub(crate) workspace: Workspace,
}

impl Site {
    /// Three stores, a frontend, and a topic of three partitions with a replica on each store.
    pub(crate) fn start(title: &str, options: ClusterOptions) -> Self {
        Self::start_in(Workspace::new(), title, options)
    }

    /// The same in a workspace in which something was prepared.
    pub(crate) fn start_in(workspace: Workspace, title: &str, options: ClusterOptions) -> Self {
        let cluster = Cluster::start(&workspace, ClusterOptions { frontends: 1, ..options });
        let topic = Topic::new(TOPIC, 3);
        cluster.cli().create_topic(TOPIC, topic.partitions, &["min.insync.replicas=2"]);
        let runtime = Runtime::new().expect("a runtime");
        let recorder = Recorder::new(title, RECOVERY);
        let site = Self { topic, recorder, runtime, clients: None, cluster, workspace };
        site.until_in_sync(&STORES);
        site
    }

    /// Clients begin, and have got somewhere.
    pub(crate) fn begin(&mut self) {
        let connect = async || connect(&self.cluster).await;
        let clients = Clients::start_with(&self.recorder, &self.topic, connect);
        self.clients = Some(self.runtime.block_on(clients));
        self.progress("load at the beginning");
    }

    /// Waits for some more acknowledgements.
    #[track_caller]
    pub(crate) fn progress(&self, what: &str) {
        let enough = self.recorder.acknowledged() + 500;
        until(SOON, what, || (self.recorder.acknowledged() >= enough).then_some(()));
    }

    /// What `cluster partitions` says; nothing while nobody answers.
    pub(crate) fn partitions(&self) -> Vec<Value> {
        let said = self.cluster.cli().run(&["cluster", "partitions", TOPIC, "-o", "json"]);
        serde_json::from_slice(&said.stdout).unwrap_or_default()
    }

    /// Waits until every partition has a leader and these stores in sync.
    #[track_caller]
    pub(crate) fn until_in_sync(&self, stores: &[Member]) {
        let well = |partition: &Value| {
            let isr = partition["isr"].as_array().map_or(0, Vec::len);
            let led = !partition["leader"].is_null();
            led && isr == stores.len() && stores.iter().all(|store| holds(&partition["isr"], *store))
        };
        until(SOON, &format!("{stores:?} are in sync"), || {
            let partitions = self.partitions();
            (partitions.len() == self.topic.partitions as usize && partitions.iter().all(well)).then_some(())
        });
    }

    /// Ends the clients, waits until all replicas are there, and judges what the clients saw and what the
    /// replicas hold.
    #[track_caller]
    pub(crate) fn judge(mut self) {
        self.progress("load after the last fault");
        self.until_in_sync(&STORES);
        self.finish();
        let client = self.runtime.block_on(connect(&self.cluster));
        self.runtime.block_on(self.recorder.drain(&client, &self.topic, None));
        let report = self.recorder.judge(&self.workspace);
        assert!(report.counts.writes_ok >= 500, "hardly any load: {report}");
        drop(client);
        for store in STORES {
            assert!(self.cluster.terminate(store).success(), "{}", self.cluster.process(store).log());
        }
        let directories = STORES.map(|store| self.data_dir(store));
        self.runtime.block_on(replica_logs::assert_identical(&directories));
    }

    /// Ends the clients.
    pub(crate) fn finish(&mut self) {
        if let Some(clients) = self.clients.take() {
            self.runtime.block_on(clients.finish());
        }
    }

    /// Where a store keeps its data: its disk, where it has one of its own.
    pub(crate) fn data_dir(&self, store: Member) -> std::path::PathBuf {
        let disk = self.workspace.path().join(store.to_string()).join("data");
        if disk.exists() { disk } else { self.cluster.data_dir(store) }
    }
}

pub(crate) async fn connect(cluster: &Cluster) -> Client {
    Client::connect(&cluster.url()).await.expect("a connection")
}

/// The node id of a store.
pub(crate) fn node(store: Member) -> u64 {
    let (Member::Store(index) | Member::Frontend(index)) = store;
    index as u64 + 1
}

fn holds(nodes: &Value, store: Member) -> bool {
    nodes.as_array().is_some_and(|nodes| nodes.iter().any(|held| *held == node(store)))
}

/// A disk for each of these stores, and options that put their data there.
pub(crate) fn on_disks(
    workspace: &Workspace,
    stores: &[Member],
    bytes: u64,
) -> Option<(Vec<LoopDisk>, ClusterOptions)> {
    let mut options = ClusterOptions::default();
    let mut disks = Vec::new();
    for store in stores {
        let disk = LoopDisk::mount_as(workspace, &store.to_string(), bytes)?;
        let data = disk.path().join("data").display().to_string();
        options = options.env_of(*store, "TIDELOG_DATA_DIR", &data);
        disks.push(disk);
    }
    Some((disks, options))
}
