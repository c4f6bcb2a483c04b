//! Another process of the cluster, as if it were here.
//!
//! Connects when it is first needed, and again when a connection was lost; who calls decides how often
//! to try. Each connection has one call lane.

mod cluster;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use thiserror::Error;
use tidelog_model::{ErrorCode, TopicPartition};
use tidelog_peer::{
    CreateTopic, HandOver, LogReports, PartitionBytes, Ping, Pong, StoreControl, StoreError, TopicInfo,
    TopicRef, Topics,
};
use tidelog_proto::v1;
use tidelog_proto::v1::call::Body;
use tidelog_proto::v1::reply::Body as Reply;
use tidelog_replica::Instance;
use tidelog_runtime::Supervisor;
use tidelog_wire::{
    ByteBudget, ClusterTls, ConnectOptions, Connection, TransportSettings, Trust, WireError, connect,
};
use tokio::sync::Mutex as AsyncMutex;

use crate::calls::{Answer, CallFailure, CallLane};
use crate::convert::{BadMessage, control, error, topics};
use crate::forward::ForwardLane;
use crate::limits::{FORWARD_LANES, FRAMES, PARTITIONS_PER_CALL};
use crate::replication::{self, LeaderReceiver, LeaderSender};

/// How to reach another process, and what it may cost.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// `host:port`.
    pub addr: String,
    pub tls: ClusterTls,
    /// This process's name, for the peer's logs.
    pub client_id: String,
    pub connect_timeout: Duration,
    /// For calls that have no time of their own.
    pub call_timeout: Duration,
    /// For received frames; may be shared among remotes.
    pub budget: ByteBudget,
    pub settings: TransportSettings,
}

impl RemoteOptions {
    pub fn new(addr: impl Into<String>, tls: ClusterTls, budget: ByteBudget) -> Self {
        Self {
            addr: addr.into(),
            tls,
            client_id: String::new(),
            connect_timeout: Duration::from_secs(3),
            call_timeout: Duration::from_secs(30),
            budget,
            settings: TransportSettings::default(),
        }
    }
}

/// Why a call had no answer, or which error was the answer.
#[derive(Clone, Debug, Error)]
pub enum LinkError {
    /// Nothing was sent.
    #[error("{addr} cannot be reached: {source}")]
    Unreachable { addr: String, source: WireError },
    /// The connection ended before the answer came: the outcome is unknown.
    #[error("{addr} went away before it answered: {source}")]
    Lost { addr: String, source: WireError },
    #[error("{addr} did not answer in time")]
    TimedOut { addr: String },
    /// The peer answered with an error.
    #[error(transparent)]
    Refused(#[from] StoreError),
    #[error("{addr} answered in a way that is not understood: {bad}")]
    Bad { addr: String, bad: BadMessage },
}

impl LinkError {
    /// Nobody listens at the address: whoever did has ended.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Unreachable { source: WireError::Refused { .. }, .. })
    }
}

impl From<LinkError> for StoreError {
    fn from(link: LinkError) -> Self {
        let code = match &link {
            LinkError::Refused(error) => return error.clone(),
            LinkError::Unreachable { .. } => ErrorCode::BrokerNotAvailable,
            LinkError::Lost { .. } | LinkError::TimedOut { .. } => ErrorCode::RequestTimedOut,
            LinkError::Bad { .. } => ErrorCode::Internal,
        };
        Self::new(code, link.to_string())
    }
}

/// Another process. Cheap to clone; clones share the connection.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: RemoteOptions,
    tasks: Supervisor,
    /// Taken while connecting: who comes meanwhile waits for the same attempt.
    connecting: AsyncMutex<()>,
    session: Mutex<Option<Session>>,
}

#[derive(Clone, Debug)]
struct Session {
    connection: Connection,
    calls: Arc<CallLane>,
    forward: Arc<[AsyncMutex<Option<Arc<ForwardLane>>>; FORWARD_LANES]>,
}

impl Session {
    fn is_over(&self) -> bool {
        self.connection.is_closed() || self.calls.is_over()
    }
}

impl Remote {
    /// Does not connect yet. The connection's tasks belong to `supervisor`.
    pub fn new(options: RemoteOptions, supervisor: &Supervisor) -> Self {
        let tasks = supervisor.clone();
        Self(Arc::new(Inner { options, tasks, connecting: AsyncMutex::default(), session: Mutex::default() }))
    }

    pub fn addr(&self) -> &str {
        &self.0.options.addr
    }

    /// Connects, unless there is a connection.
    pub async fn connect(&self) -> Result<(), LinkError> {
        self.session().await.map(drop)
    }

    /// Resolves when the connection that there is now has ended; never while there is none.
    pub async fn closed(&self) {
        let session = self.0.session.lock().clone();
        match session {
            Some(session) => drop(session.connection.closed().await),
            None => std::future::pending().await,
        }
    }

    /// Opens a replication lane on which the leader is `from`.
    pub async fn replicate(&self, from: Instance) -> Result<(LeaderSender, LeaderReceiver), LinkError> {
        let session = self.session().await?;
        let opened = async { replication::open(session.connection.open().await?, from).await };
        opened.await.map_err(|source| self.not_opened(source))
    }

    async fn session(&self) -> Result<Session, LinkError> {
        let current = || self.0.session.lock().clone().filter(|session| !session.is_over());
        if let Some(session) = current() {
            return Ok(session);
        }
        let _turn = self.0.connecting.lock().await;
        if let Some(session) = current() {
            return Ok(session);
        }
        let options = &self.0.options;
        let mut connecting = ConnectOptions::new(&options.addr, Trust::Cluster(options.tls.clone()));
        connecting.client_id.clone_from(&options.client_id);
        connecting.timeout = options.connect_timeout;
        connecting.frames = FRAMES;
        connecting.settings = options.settings;
        connecting.budget = options.budget.clone();
        let opened = async {
            let connection = connect(&connecting).await?;
            let stream = connection.open().await?;
            Ok::<_, WireError>((connection, stream))
        };
        let (connection, stream) =
            opened.await.map_err(|source| LinkError::Unreachable { addr: options.addr.clone(), source })?;
        let (calls, work) = CallLane::new(stream);
        self.0.tasks.spawn_until_cancelled("link-calls", work);
        let session = Session { connection, calls: Arc::new(calls), forward: Arc::default() };
        *self.0.session.lock() = Some(session.clone());
        Ok(session)
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, body: Body, within: Duration) -> Result<Answer, LinkError> {
        let session = self.session().await?;
        let addr = || self.addr().to_owned();
        session.calls.call(body, within).await.map_err(|failure| match failure {
            CallFailure::NotSent(source) => LinkError::Unreachable { addr: addr(), source },
            CallFailure::Lost(source) => LinkError::Lost { addr: addr(), source },
            CallFailure::TimedOut => LinkError::TimedOut { addr: addr() },
            CallFailure::Refused(refused) => LinkError::Refused(error(refused)),
            CallFailure::Unknown => self.bad(BadMessage("answer")),
        })
    }

    /// The lane of a partition's batches, opened if it has to be. Several lanes, so that more than one
    /// processor encrypts.
    pub async fn forward_lane(&self, partition: TopicPartition) -> Result<Arc<ForwardLane>, LinkError> {
        let session = self.session().await?;
        let number = (partition.topic.0.as_u128() as usize).wrapping_add(partition.partition.0 as usize);
        let mut lane = session.forward[number % FORWARD_LANES].lock().await;
        if let Some(lane) = lane.as_ref().filter(|lane| !lane.is_over()) {
            return Ok(Arc::clone(lane));
        }
        let addr = self.addr().to_owned();
        let opened = async { ForwardLane::open(session.connection.open().await?, addr).await };
        let (opened, work) = opened.await.map_err(|source| self.not_opened(source))?;
        self.0.tasks.spawn_until_cancelled("link-forward", work);
        Ok(Arc::clone(lane.insert(Arc::new(opened))))
    }

    /// A lane that was not opened carried nothing.
    fn not_opened(&self, source: WireError) -> LinkError {
        match source {
            WireError::Remote(refused) => LinkError::Refused(error(*refused)),
            source => LinkError::Unreachable { addr: self.addr().to_owned(), source },
        }
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.0.options.call_timeout
    }

    pub(crate) async fn ask(&self, body: Body) -> Result<Reply, LinkError> {
        self.call(body, self.0.options.call_timeout).await.map(|answer| answer.body)
    }

    pub(crate) fn bad(&self, bad: BadMessage) -> LinkError {
        LinkError::Bad { addr: self.addr().to_owned(), bad }
    }

    /// For calls whose answer says nothing.
    pub(crate) async fn tell(&self, body: Body, within: Duration) -> Result<(), LinkError> {
        match self.call(body, within).await?.body {
            Reply::Done(_) => Ok(()),
            _ => Err(self.bad(BadMessage("answer"))),
        }
    }

    async fn topic(&self, body: Body) -> Result<TopicInfo, StoreError> {
        let Reply::Topic(reply) = self.ask(body).await? else {
            return Err(self.bad(BadMessage("answer")).into());
        };
        let record = reply.topic.ok_or_else(|| self.bad(BadMessage("topic")))?;
        topics::topic(&record).map_err(|bad| self.bad(bad).into())
    }
}

/// The controller's calls, with what it has to tell apart when they fail.
impl Remote {
    pub async fn ping(&self, ping: Ping, within: Duration) -> Result<Pong, LinkError> {
        match self.call(Body::Ping(control::ping_call(ping)), within).await?.body {
            Reply::Ping(reply) => control::pong(reply).map_err(|bad| self.bad(bad)),
            _ => Err(self.bad(BadMessage("answer"))),
        }
    }

    pub async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, LinkError> {
        let mut all: Option<LogReports> = None;
        for chunk in partitions.chunks(PARTITIONS_PER_CALL) {
            let body = Body::Report(control::partitions_call(chunk.to_vec()));
            let Reply::Report(reply) = self.ask(body).await? else {
                return Err(self.bad(BadMessage("answer")));
            };
            let reports = control::reports(reply).map_err(|bad| self.bad(bad))?;
            match &mut all {
                // It was started again in between: what the first start said says nothing of this one.
                Some(all) if (all.directory, all.boot) != (reports.directory, reports.boot) => {
                    return Err(self.bad(BadMessage("boot")));
                }
                Some(all) => all.logs.extend(reports.logs),
                None => all = Some(reports),
            }
        }
        all.ok_or_else(|| self.bad(BadMessage("partitions")))
    }

    pub async fn hand_over(&self, token: u64, partitions: &[HandOver]) -> Result<(), LinkError> {
        for chunk in partitions.chunks(PARTITIONS_PER_CALL) {
            self.tell(Body::HandOver(control::hand_over_call(token, chunk)), self.call_timeout()).await?;
        }
        Ok(())
    }

    pub async fn sizes(&self) -> Result<Vec<PartitionBytes>, LinkError> {
        match self.ask(Body::Sizes(v1::EmptyCall {})).await? {
            Reply::Sizes(reply) => control::sizes(reply).map_err(|bad| self.bad(bad)),
            _ => Err(self.bad(BadMessage("answer"))),
        }
    }
}

#[async_trait]
impl StoreControl for Remote {
    async fn ping(&self, ping: Ping) -> Result<Pong, StoreError> {
        Ok(Self::ping(self, ping, self.0.options.call_timeout).await?)
    }

    async fn report(&self, partitions: Vec<TopicPartition>) -> Result<LogReports, StoreError> {
        Ok(Self::report(self, partitions).await?)
    }

    async fn hand_over(&self, token: u64, partitions: Vec<HandOver>) -> Result<(), StoreError> {
        Ok(Self::hand_over(self, token, &partitions).await?)
    }

    async fn sizes(&self) -> Result<Vec<PartitionBytes>, StoreError> {
        Ok(Self::sizes(self).await?)
    }
}

#[async_trait]
impl Topics for Remote {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        self.topic(Body::CreateTopic(topics::create_call(request))).await
    }

    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        self.topic(Body::AlterTopic(topics::alter_call(topic, changes))).await
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        Ok(self.tell(Body::DeleteTopic(topics::ref_message(topic)), self.call_timeout()).await?)
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        self.topic(Body::GetTopic(topics::ref_message(topic))).await
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        let Reply::ListTopics(reply) = self.ask(Body::ListTopics(v1::EmptyCall {})).await? else {
            return Err(self.bad(BadMessage("answer")).into());
        };
        reply.topics.iter().map(|record| topics::topic(record).map_err(|bad| self.bad(bad).into())).collect()
    }
}
