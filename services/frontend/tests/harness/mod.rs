//! A frontend on loopback over a store that is a list in memory, and clients that speak frames.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(clippy::unnecessary_wraps, reason = "protobuf fields are optional")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_format::pointer::Pointer;
use tidelog_frontend::{ColdBatches, ColdSource, Frontend, FrontendOptions, Parts};
use tidelog_model::{
    Clock, ErrorCode, Incarnation, LeaderEpoch, ObjectId, Offset, PartitionId, ProducerEpoch, ProducerId,
    TimestampMs, TopicConfig, TopicId, TopicName, TopicPartition,
};
use tidelog_peer::{
    Ack, AckSender, ClusterAdmin, CreateTopic, Fetch, Fetched, Isolation, ListedOffset, Marks, OffsetSpec,
    PartitionDescription, PartitionStore, Produced, StoreError, TopicInfo, TopicRef, Topics,
};
use tidelog_proto::v1;
use tidelog_runtime::{Metrics, Supervisor};
use tidelog_wire::{
    ConnectOptions, Connection, Frame, FrameKind, Identity, Stream, TransportChoice, Trust, WireError,
    connect,
};
use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

/// Calls, and takes the answer of the request's own kind.
#[macro_export]
macro_rules! call {
    ($client:expr, $variant:ident($request:expr)) => {
        match $client.call(::tidelog_proto::v1::request::Body::$variant($request)).await {
            Ok(::tidelog_proto::v1::response::Body::$variant(answer)) => Ok(answer),
            Ok(other) => panic!("an answer to another question: {other:?}"),
            Err(error) => Err(error),
        }
    };
}

pub const BOTH: [TransportChoice; 2] = [TransportChoice::Quic, TransportChoice::Tcp];

/// Reached only by a test that fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }
}

/// One partition: all of its batches, and which part of them each tier has.
#[derive(Debug, Default)]
pub struct Log {
    pub batches: Vec<Bytes>,
    pub local_start: Offset,
    pub tiered_end: Offset,
    /// Acknowledgements that the test holds back.
    pub withheld: Option<Vec<(AckSender, Produced)>>,
    /// There is no room for what is produced, and no end of the wait.
    pub no_room: bool,
    /// Calls to `fetch` that have not returned.
    pub fetching: usize,
    /// All calls to `fetch`.
    pub fetches: usize,
    /// How often its leader was asked for its end.
    pub ends_asked: usize,
    /// Where an open transaction begins.
    pub last_stable: Option<Offset>,
    /// The high watermark that fetches are told, where the replica that answers them is behind.
    pub heard: Option<Offset>,
    /// What fetches fail with.
    pub refusal: Option<ErrorCode>,
    /// Batches are handed out as copies, and what is alive of them is counted.
    pub alive: Option<Arc<Alive>>,
}

/// Bytes of handed out batches that somebody holds, now and at most so far.
#[derive(Debug, Default)]
pub struct Alive {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Alive {
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    fn copy(self: &Arc<Self>, batch: &Bytes) -> Bytes {
        let now = self.now.fetch_add(batch.len(), Ordering::Relaxed) + batch.len();
        self.most.fetch_max(now, Ordering::Relaxed);
        Bytes::from_owner(Counted(batch.to_vec(), Arc::clone(self)))
    }
}

struct Counted(Vec<u8>, Arc<Alive>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.now.fetch_sub(self.0.len(), Ordering::Relaxed);
    }
}

impl Log {
    pub fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |last| batch::header(last).unwrap().next_offset())
    }

    /// Appends a batch of so many records, as if a producer had sent it.
    pub fn append(&mut self, records: usize) {
        let mut bytes = batch_of(records);
        let end = self.end();
        batch::assign(&mut bytes, end, LeaderEpoch(1));
        self.batches.push(bytes.freeze());
    }

    fn from(&self, offset: Offset) -> impl Iterator<Item = &Bytes> {
        self.batches.iter().filter(move |bytes| batch::header(bytes).unwrap().next_offset() > offset)
    }

    fn marks(&self) -> Marks {
        let end = self.end();
        let high_watermark = self.heard.unwrap_or(end);
        Marks {
            log_start: Offset::ZERO,
            local_start: self.local_start,
            tiered_end: self.tiered_end,
            last_stable: self.last_stable.unwrap_or(end).min(high_watermark),
            high_watermark,
            log_end: end,
        }
    }

    /// The end of the batch that contains `offset`, or the next one.
    pub fn batch_end(&self, offset: Offset) -> Offset {
        self.from(offset).next().map_or(self.end(), |bytes| batch::header(bytes).unwrap().next_offset())
    }
}

pub fn batch_of(records: usize) -> BytesMut {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for i in 0..records {
        builder.push(TimestampMs(1_000 + i as i64), None, Some(&[b'v'; 100]), &[]).unwrap();
    }
    builder.finish()
}

/// The store, the topics and the bucket of the tests.
#[derive(Debug, Default)]
pub struct Fake {
    pub topics: Mutex<BTreeMap<String, TopicInfo>>,
    pub logs: Mutex<BTreeMap<TopicPartition, Log>>,
    changed: watch::Sender<u64>,
}

impl Fake {
    pub fn change<T>(&self, partition: TopicPartition, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(self.logs.lock().get_mut(&partition).unwrap());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Waits until the log is as wanted.
    pub async fn until(&self, partition: TopicPartition, wanted: impl Fn(&Log) -> bool) {
        let mut changed = self.changed.subscribe();
        within(async {
            while !wanted(&self.logs.lock()[&partition]) {
                // Some changes (a dropped fetch) do not announce themselves.
                let _ = timeout(Duration::from_millis(10), changed.changed()).await;
            }
        })
        .await;
    }

    fn known<T>(
        &self,
        partition: TopicPartition,
        read: impl FnOnce(&mut Log) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.logs.lock().get_mut(&partition) {
            Some(log) => read(log),
            None => Err(ErrorCode::UnknownTopicOrPartition.into()),
        }
    }

    fn try_fetch(&self, fetch: &Fetch) -> Result<Fetched, StoreError> {
        self.known(fetch.partition, |log| {
            let marks = log.marks();
            if let Some(code) = log.refusal {
                return Err(code.into());
            }
            if fetch.from > marks.log_end {
                return Err(ErrorCode::OffsetOutOfRange.into());
            }
            if fetch.from < log.local_start {
                return Ok(Fetched::Tiered { pointer: pointer(log.tiered_end), marks });
            }
            let mut bytes = 0;
            let mut batches: Vec<Bytes> = Vec::new();
            let end = marks.visible_end(fetch.isolation);
            for batch in log.from(fetch.from) {
                if batch::header(batch).unwrap().next_offset() > end {
                    break;
                }
                if !batches.is_empty() && bytes + batch.len() > fetch.max_bytes {
                    break;
                }
                bytes += batch.len();
                batches.push(log.alive.as_ref().map_or_else(|| batch.clone(), |alive| alive.copy(batch)));
            }
            Ok(if batches.is_empty() {
                Fetched::Nothing { marks }
            } else {
                Fetched::Batches { batches, marks }
            })
        })
    }
}

fn pointer(tiered_end: Offset) -> Pointer {
    Pointer {
        incarnation: Incarnation::FIRST,
        epoch: LeaderEpoch(1),
        sequence: 1,
        root: ObjectId(Uuid::nil()),
        root_bytes: 1,
        log_start: Offset::ZERO,
        tiered_end,
        bytes: 0,
        segments: 1,
        records: 0,
    }
}

/// Counts a fetch until it is answered or dropped.
struct Fetching<'a>(&'a Fake, TopicPartition);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.0.logs.lock().get_mut(&self.1) {
            log.fetching -= 1;
        }
    }
}

#[async_trait]
impl PartitionStore for Fake {
    async fn produce(&self, partition: TopicPartition, mut batch: BytesMut) -> Result<Ack, StoreError> {
        let header =
            batch::verify(&batch).map_err(|error| StoreError::new(error.code(), error.to_string()))?;
        if batch.len() > TopicConfig::default().max_message_bytes {
            return Err(ErrorCode::MessageTooLarge.into());
        }
        if self.known(partition, |log| Ok(log.no_room))? {
            std::future::pending::<()>().await;
        }
        let result = self.known(partition, |log| {
            let base_offset = log.end();
            batch::assign(&mut batch, base_offset, LeaderEpoch(1));
            log.batches.push(batch.freeze());
            assert!(header.record_count > 0);
            let produced = Produced { base_offset, append_time: None, log_start: Offset::ZERO };
            Ok(match &mut log.withheld {
                Some(withheld) => {
                    let (sender, ack) = Ack::pending();
                    withheld.push((sender, produced));
                    ack
                }
                None => Ack::ready(Ok(produced)),
            })
        });
        self.changed.send_modify(|count| *count += 1);
        result
    }

    async fn fetch(&self, fetch: Fetch) -> Result<Fetched, StoreError> {
        self.known(fetch.partition, |log| {
            log.fetching += 1;
            log.fetches += 1;
            Ok(())
        })?;
        let _fetching = Fetching(self, fetch.partition);
        let mut changed = self.changed.subscribe();
        let waiting = async {
            loop {
                match self.try_fetch(&fetch) {
                    Ok(Fetched::Nothing { .. }) => changed.changed().await.unwrap(),
                    other => return other,
                }
            }
        };
        match fetch.max_wait {
            None => self.try_fetch(&fetch),
            Some(wait) => match timeout(wait, waiting).await {
                Ok(answer) => answer,
                Err(_) => self.try_fetch(&fetch),
            },
        }
    }

    async fn list_offset(
        &self,
        partition: TopicPartition,
        spec: OffsetSpec,
        isolation: Isolation,
    ) -> Result<Option<ListedOffset>, StoreError> {
        self.known(partition, |log| {
            let heard = log.heard.take();
            let leader = log.marks();
            log.heard = heard;
            let at = |offset| Some(ListedOffset { offset, timestamp: TimestampMs::NONE });
            Ok(match spec {
                OffsetSpec::Start => at(Offset::ZERO),
                OffsetSpec::End => {
                    log.ends_asked += 1;
                    at(leader.visible_end(isolation))
                }
                OffsetSpec::Timestamp(time) if time.0 > 1_000_000 => None,
                OffsetSpec::Timestamp(timestamp) => Some(ListedOffset { offset: Offset(7), timestamp }),
            })
        })
    }

    async fn describe(&self, partition: TopicPartition) -> Result<PartitionDescription, StoreError> {
        self.known(partition, |log| {
            Ok(PartitionDescription {
                partition,
                marks: log.marks(),
                local_bytes: 1,
                bucket_bytes: 2,
                segments: 3,
                untiered_bytes: 4,
                untiered_ms: 5,
            })
        })
    }

    async fn offload(&self, topic: TopicId) -> Result<(), StoreError> {
        for (_, log) in self.logs.lock().iter_mut().filter(|(id, _)| id.topic == topic) {
            log.tiered_end = log.end();
        }
        Ok(())
    }

    async fn evict(&self, topic: TopicId) -> Result<(), StoreError> {
        for (_, log) in self.logs.lock().iter_mut().filter(|(id, _)| id.topic == topic) {
            log.local_start = log.tiered_end;
        }
        Ok(())
    }

    async fn init_producer(&self) -> Result<(ProducerId, ProducerEpoch), StoreError> {
        Ok((ProducerId(42), ProducerEpoch(0)))
    }
}

#[async_trait]
impl Topics for Fake {
    async fn create(&self, request: CreateTopic) -> Result<TopicInfo, StoreError> {
        if self.topics.lock().contains_key(&request.name) {
            return Err(ErrorCode::TopicAlreadyExists.into());
        }
        let info = TopicInfo {
            id: TopicId(Uuid::new_v4()),
            name: TopicName::new(&request.name).unwrap(),
            partitions: request.partitions,
            replication_factor: request.replication_factor.unwrap_or(1),
            config: TopicConfig::default().with(request.config).unwrap(),
            created: TimestampMs(77),
        };
        for partition in 0..request.partitions {
            let id = TopicPartition::new(info.id, PartitionId(partition));
            self.logs.lock().insert(id, Log::default());
        }
        self.topics.lock().insert(request.name, info.clone());
        Ok(info)
    }

    async fn alter(&self, topic: TopicRef, changes: Vec<(String, String)>) -> Result<TopicInfo, StoreError> {
        let mut info = Topics::get(self, topic).await?;
        info.config = info.config.with(changes).unwrap();
        self.topics.lock().insert(info.name.to_string(), info.clone());
        Ok(info)
    }

    async fn delete(&self, topic: TopicRef) -> Result<(), StoreError> {
        let info = Topics::get(self, topic).await?;
        self.topics.lock().remove(info.name.as_str());
        self.logs.lock().retain(|id, _| id.topic != info.id);
        Ok(())
    }

    async fn get(&self, topic: TopicRef) -> Result<TopicInfo, StoreError> {
        let topics = self.topics.lock();
        let found = match &topic {
            TopicRef::Name(name) => topics.get(name),
            TopicRef::Id(id) => topics.values().find(|info| info.id == *id),
        };
        found.cloned().ok_or_else(|| ErrorCode::UnknownTopicOrPartition.into())
    }

    async fn list(&self) -> Result<Vec<TopicInfo>, StoreError> {
        Ok(self.topics.lock().values().cloned().collect())
    }
}

/// Blocks of three batches, begun at a multiple of three, as an aligned range of a segment is.
struct FakeBatches(Vec<Bytes>, usize);

#[async_trait]
impl ColdBatches for FakeBatches {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        let block = self.0.chunks(3).nth(self.1)?;
        self.1 += 1;
        Some(Ok(block.concat().into()))
    }
}

/// [`ColdSource`] is foreign here, so the store's handle is wrapped.
#[derive(Clone, Debug)]
pub struct Bucket(pub Arc<Fake>);

impl ColdSource for Bucket {
    fn stream(&self, partition: TopicPartition, pointer: Pointer, from: Offset) -> Box<dyn ColdBatches> {
        let logs = self.0.logs.lock();
        let inside = |bytes: &&Bytes| batch::header(bytes).unwrap().base_offset < pointer.tiered_end;
        let batches: Vec<Bytes> = logs[&partition].batches.iter().filter(inside).cloned().collect();
        let first = batches.iter().position(|bytes| batch::header(bytes).unwrap().next_offset() > from);
        Box::new(FakeBatches(batches, first.unwrap_or(0) / 3))
    }
}

/// A frontend with its fakes.
pub struct Server {
    pub frontend: Frontend,
    pub fake: Arc<Fake>,
    pub identity: Identity,
    pub supervisor: Supervisor,
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut FrontendOptions)) -> Self {
        Self::through(change, |fake, _, _| fake)
    }

    /// The frontend of a cluster.
    pub fn of_cluster(cluster: Arc<dyn ClusterAdmin>) -> Self {
        Self::of(Some(cluster), |_| {}, |fake, _, _| fake)
    }

    /// The frontend reaches the fake through what `store` makes of it.
    pub fn through(
        change: impl FnOnce(&mut FrontendOptions),
        store: impl FnOnce(Arc<Fake>, &Metrics, &Supervisor) -> Arc<dyn PartitionStore>,
    ) -> Self {
        Self::of(None, change, store)
    }

    fn of(
        cluster: Option<Arc<dyn ClusterAdmin>>,
        change: impl FnOnce(&mut FrontendOptions),
        store: impl FnOnce(Arc<Fake>, &Metrics, &Supervisor) -> Arc<dyn PartitionStore>,
    ) -> Self {
        let identity = Identity::self_signed(&["localhost".to_owned()]).unwrap();
        let mut options = FrontendOptions::new(
            "127.0.0.1:0".parse().unwrap(),
            tidelog_wire::Credentials::new(identity.clone()).unwrap(),
        );
        change(&mut options);
        let fake = Arc::new(Fake::default());
        let supervisor = Supervisor::new();
        let metrics = Metrics::default();
        let parts = Parts {
            store: store(fake.clone(), &metrics, &supervisor),
            topics: fake.clone(),
            cluster,
            cold: Arc::new(Bucket(fake.clone())),
            clock: Arc::new(FixedClock),
            supervisor: supervisor.clone(),
            metrics,
        };
        Self { frontend: Frontend::start(options, parts).unwrap(), fake, identity, supervisor }
    }

    pub async fn client(&self, transport: TransportChoice) -> Client {
        let trust = Trust::Pinned(self.identity.fingerprint());
        let mut options = ConnectOptions::new(self.frontend.local_addr().to_string(), trust);
        options.transport = transport;
        Client(within(connect(&options)).await.unwrap())
    }

    /// A client over QUIC that takes in no more than this of a stream that it does not read.
    pub async fn client_of_little(&self, stream_window_bytes: u32) -> Client {
        let trust = Trust::Pinned(self.identity.fingerprint());
        let mut options = ConnectOptions::new(self.frontend.local_addr().to_string(), trust);
        options.transport = TransportChoice::Quic;
        options.settings.stream_window_bytes = stream_window_bytes;
        Client(within(connect(&options)).await.unwrap())
    }

    /// A topic with one partition.
    pub async fn topic(&self, name: &str) -> TopicPartition {
        let create = CreateTopic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: None,
            config: Vec::new(),
        };
        let info = self.fake.create(create).await.unwrap();
        TopicPartition::new(info.id, PartitionId(0))
    }

    pub async fn stop(self) {
        within(self.frontend.shut_down(Duration::from_secs(5))).await;
        within(self.supervisor.shut_down(DEADLINE)).await.unwrap();
        assert_eq!(self.supervisor.verdict(), None);
    }
}

pub struct Client(pub Connection);

impl Client {
    pub async fn stream(&self, kind: FrameKind, header: &impl prost::Message) -> Stream {
        let mut stream = within(self.0.open()).await.unwrap();
        within(stream.send.send(kind, header, &[])).await.unwrap();
        stream
    }

    pub async fn call(&self, body: v1::request::Body) -> Result<v1::response::Body, v1::Error> {
        let request = v1::Request { timeout_ms: 0, body: Some(body) };
        let mut stream = self.stream(FrameKind::Request, &request).await;
        let response: v1::Response = receive(&mut stream).await.decode(FrameKind::Response).unwrap();
        stream.send.finish().await.unwrap();
        match response.error {
            Some(error) => Err(error),
            None => Ok(response.body.expect("a body or an error")),
        }
    }

    pub async fn producer(&self) -> Stream {
        let mut stream = self.stream(FrameKind::OpenProducer, &v1::OpenProducer::default()).await;
        let opened: v1::ProducerOpened =
            receive(&mut stream).await.decode(FrameKind::ProducerOpened).unwrap();
        assert!(opened.in_flight_bytes_max > 0);
        stream
    }

    pub async fn subscribe(&self, subscribe: v1::Subscribe) -> Result<(v1::Subscribed, Stream), v1::Error> {
        let mut stream = self.stream(FrameKind::Subscribe, &subscribe).await;
        match receive(&mut stream).await.decode(FrameKind::Subscribed) {
            Ok(subscribed) => Ok((subscribed, stream)),
            Err(WireError::Remote(error)) => Err(*error),
            Err(error) => panic!("{error}"),
        }
    }
}

pub async fn receive(stream: &mut Stream) -> Frame {
    within(stream.recv.expect()).await.unwrap()
}

pub fn by_id(partition: TopicPartition) -> Option<v1::TopicRef> {
    let id = Bytes::copy_from_slice(partition.topic.as_bytes());
    Some(v1::TopicRef { by: Some(v1::topic_ref::By::Id(id)) })
}

pub fn by_name(name: &str) -> Option<v1::TopicRef> {
    Some(v1::TopicRef { by: Some(v1::topic_ref::By::Name(name.to_owned())) })
}

pub fn at(at: v1::offset_spec::At) -> Option<v1::OffsetSpec> {
    Some(v1::OffsetSpec { at: Some(at) })
}

/// Collects a subscription's records and checks that they come once each, in order.
#[derive(Debug, Default)]
pub struct Reader {
    pub next: u64,
    pub tiers: Vec<v1::Tier>,
    pub frames: usize,
}

impl Reader {
    pub fn at(offset: u64) -> Self {
        Self { next: offset, ..Self::default() }
    }

    pub fn take(&mut self, frame: Frame) {
        let header: v1::Records = frame.decode(FrameKind::Records).unwrap();
        for (i, batch) in batch::split(frame.payload.freeze(), 1 << 20).enumerate() {
            let batch = batch.unwrap();
            batch.verify().unwrap();
            let (base, next) = (batch.base_offset().0, batch.next_offset().0);
            let first = self.frames == 0 && i == 0;
            assert!(
                base == self.next || (first && base < self.next),
                "{base} came where {} was due",
                self.next
            );
            self.next = next;
        }
        assert_eq!(header.next_offset, self.next);
        self.frames += 1;
        if self.tiers.last() != Some(&header.tier()) {
            self.tiers.push(header.tier());
        }
    }
}
