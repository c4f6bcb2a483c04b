//! The stores of a cluster, as if they were one.
//!
//! A [`Router`] knows from an image of the cluster which store leads what, and asks that one. When a
//! leader moves, what was asked is asked again where it went to, for as long as the caller waits; batches
//! keep their order meanwhile ([`pipeline`]). It holds nothing that is not elsewhere but batches that
//! nobody has acknowledged yet.

mod admin;
mod attempts;
mod everyone;
mod fetch;
mod peers;
mod pipeline;
mod route;
mod topics;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use tidelog_meta::{Mirror, SharedMeta};
use tidelog_model::{ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tidelog_peer::{
    Ack, CreateTopic, Fetch, Fetched, Isolation, ListedOffset, OffsetSpec, PartitionDescription,
    PartitionStore, StoreError, TopicInfo, TopicRef, Topics,
};
use tidelog_runtime::Supervisor;
use tidelog_wire::{ByteBudget, ClusterTls, TransportSettings};

use self::peers::Peers;
use self::pipeline::Pipelines;

/// A router's settings.
#[derive(Clone, Debug)]
pub struct RouterOptions {
    /// Where this frontend stands. Tails are read from an in-sync follower there, if there is one.
    pub rack: Option<String>,
    pub tls: ClusterTls,
    /// This process's name, for the stores' logs.
    pub client_id: String,
    /// For what stores send, all together.
    pub budget: ByteBudget,
    pub settings: TransportSettings,
    pub connect_timeout: Duration,
    /// How long a call may take, with all its attempts; a fetch may in addition wait for records.
    /// Batches are tried for as long as somebody waits for them.
    pub call_timeout: Duration,
    /// What may be unacknowledged of one partition, and of all; who has more to append waits.
    pub partition_bytes: usize,
    pub produce_bytes: usize,
    /// How long a batch waits for that.
    pub room_timeout: Duration,
}

impl RouterOptions {
    pub fn new(tls: ClusterTls, budget: ByteBudget) -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            rack: None,
            tls,
            client_id: String::new(),
            budget,
            settings: TransportSettings::default(),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(30),
            partition_bytes: 32 * MIB,
            produce_bytes: 128 * MIB,
            room_timeout: Duration::from_secs(10),
        }
    }
}

/// The stores of a cluster behind the traits of one. Cheap to clone.
#[derive(Clone)]
pub struct Router {
    core: Arc<Core>,
    pipelines: Arc<Pipelines>,
}

/// What every call works with.
struct Core {
    mirror: Arc<Mirror>,
    meta: SharedMeta,
    peers: Peers,
    options: RouterOptions,
    tasks: Supervisor,
    /// For batches that are not acknowledged.
    produce_room: ByteBudget,
    /// Which store is asked first for what any store can do.
    turn: AtomicUsize,
}

impl Router {
    /// Follows the mirror, which somebody else keeps up, until the supervisor is cancelled. Call it
    /// within a tokio runtime.
    pub fn start(
        options: RouterOptions,
        mirror: Arc<Mirror>,
        meta: SharedMeta,
        supervisor: &Supervisor,
    ) -> Self {
        let core = Arc::new(Core {
            mirror,
            meta,
            peers: Peers::new(&options, supervisor.clone()),
            produce_room: ByteBudget::new(options.produce_bytes),
            options,
            tasks: supervisor.clone(),
            turn: AtomicUsize::new(0),
        });
        let pipelines = Arc::new(Pipelines::new(Arc::clone(&core)));
        let following = follow(Arc::clone(&core), Arc::clone(&pipelines));
        supervisor.spawn_until_cancelled("router-image", following);
        Self { core, pipelines }
    }
}

/// Lets go of stores and partitions that are not there any more, and of leaders that others follow.
async fn follow(core: Arc<Core>, pipelines: Arc<Pipelines>) {
    let mut versions = core.mirror.versions();
    loop {
        versions.mark_unchanged();
        core.peers.keep_up(&core.mirror.image());
        pipelines.keep_up(&core.mirror.image());
        if versions.changed().await.is_err() {
            return;
        }
    }
}

#[async_trait]
impl PartitionStore for Router {
    async fn produce(&self, partition: TopicPartition, batch: BytesMut) -> Result<Ack, StoreError> {
        self.pipelines.of(partition)?.produce(batch).await
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        self.core.fetch(fetch).await
    }

    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        let list = async |remote: tidelog_link::Remote| remote.list_offset(partition, spec, isolation).await;
        self.core.ask_leader(partition, "finding an offset", list).await
    }

    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError> {
        let describe = async |remote: tidelog_link::Remote| remote.describe(partition).await;
        self.core.ask_leader(partition, "the description", describe).await
    }

    async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        self.core.offload(topic).await
    }

    async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        self.core.evict(topic).await
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        self.core.init_producer().await
    }
}

#[async_trait]
impl Topics for Router {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        self.core.create(request).await
    }

    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        self.core.alter(topic, changes).await
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        self.core.delete(topic).await
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        self.core.topic(&topic)
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        Ok(self.core.topics())
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").finish_non_exhaustive()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").finish_non_exhaustive()
    }
}
