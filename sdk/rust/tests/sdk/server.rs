//! A server of the protocol that keeps everything in memory and fails when told to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidelog::{ClientOptions, ErrorCode, Fingerprint, Offset, TimestampMs, TransportChoice, Trust};
use tidelog_format::batch::{BatchHeader, assign, header, verify};
use tidelog_model::{Clock, LeaderEpoch, ProducerId, Sequence};
use tidelog_proto::v1::{self, offset_spec, request, response};
use tidelog_wire::{
    ByteBudget, CloseCode, Connection, FrameKind, Identity, Limits, ListenConfig, ListenError, Listener,
    Stream, TransportSettings, WireError,
};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }
}

/// What one partition holds.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<Bytes>,
    pub(crate) end: u64,
    producers: HashMap<ProducerId, (Sequence, VecDeque<(Sequence, u64)>)>,
}

/// What outlives a restart, and what goes wrong.
pub(crate) struct State {
    pub(crate) logs: Vec<Mutex<Log>>,
    appended: Notify,
    next_producer: AtomicI64,
    /// Batches to store before every connection is cut, their answers unsaid; negative: none.
    pub(crate) cut_after: AtomicI64,
    /// Refusals for the next batches.
    pub(crate) refusals: Mutex<VecDeque<ErrorCode>>,
    /// Flips a bit of the next frame of records.
    pub(crate) damage: AtomicBool,
    /// Answers wait while this is set.
    pub(crate) mute: AtomicBool,
    /// Ends control streams after the first answer.
    pub(crate) one_request_a_stream: AtomicBool,
    unmuted: Notify,
    pub(crate) subscriptions: AtomicU64,
    /// Streams that carried requests, and producer sessions.
    pub(crate) control_streams: AtomicU64,
    pub(crate) sessions: AtomicU64,
    /// What operators asked for.
    pub(crate) cluster: Mutex<crate::cluster::Asked>,
    connections: Mutex<Vec<Connection>>,
    identity: Identity,
}

pub(crate) const TOPIC: &str = "numbers";
const TOPIC_ID: [u8; 16] = [9; 16];
const MAX_MESSAGE_BYTES: usize = 100_000;

pub(crate) struct Server {
    pub(crate) state: Arc<State>,
    pub(crate) addr: SocketAddr,
    stop: tokio_util::sync::CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(crate) fn start(partitions: u32) -> Self {
        let state = State {
            logs: (0..partitions).map(|_| Mutex::default()).collect(),
            appended: Notify::new(),
            next_producer: AtomicI64::new(100),
            cut_after: AtomicI64::new(-1),
            refusals: Mutex::default(),
            damage: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            one_request_a_stream: AtomicBool::new(false),
            unmuted: Notify::new(),
            subscriptions: AtomicU64::new(0),
            control_streams: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            cluster: Mutex::default(),
            connections: Mutex::default(),
            identity: Identity::self_signed(&["localhost".to_owned()]).unwrap(),
        };
        Self::resume(Arc::new(state), "127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn resume(state: Arc<State>, addr: SocketAddr) -> Result<Self, ListenError> {
        let config = ListenConfig {
            addr,
            port: tidelog_wire::Port::Clients(
                tidelog_wire::Credentials::new(state.identity.clone()).unwrap(),
            ),
            limits: Limits::default(),
            settings: TransportSettings::default(),
            budget: ByteBudget::new(256 << 20),
            windows: ByteBudget::new(256 << 20),
            software: "tests/1".to_owned(),
            cluster_id: Bytes::from_static(&[7; 16]),
            clock: Arc::new(FixedClock),
        };
        let mut listener = Listener::bind(config)?;
        let addr = listener.local_addr();
        let tasks = TaskTracker::new();
        let stop = tokio_util::sync::CancellationToken::new();
        let server = Self { state: Arc::clone(&state), addr, stop: stop.clone(), tasks: tasks.clone() };
        tasks.clone().spawn(async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    connection = listener.accept() => {
                        let Some(connection) = connection else { break };
                        state.connections.lock().push(connection.clone());
                        tasks.spawn(serve(Arc::clone(&state), connection, tasks.clone()));
                    }
                }
            }
            listener.close(CloseCode::SHUTTING_DOWN, "").await;
        });
        Ok(server)
    }

    /// Goes away with every connection, and comes back on the same address with what it had stored.
    pub(crate) async fn restart(self) -> Self {
        let (state, addr) = (Arc::clone(&self.state), self.addr);
        self.stop().await;
        // Between the two, anyone may get the number for a moment.
        let deadline = Instant::now() + crate::DEADLINE;
        loop {
            match Self::resume(Arc::clone(&state), addr) {
                Ok(server) => return server,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.state.cut();
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn options(&self, transport: TransportChoice) -> ClientOptions {
        let mut options = ClientOptions::new([self.addr.to_string()]).unwrap();
        options.trust = Trust::Pinned(self.fingerprint());
        options.transport = transport;
        "a-test".clone_into(&mut options.client_id);
        options
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.state.identity.fingerprint()
    }

    /// Every record's value in a partition, in order.
    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        let log = self.state.logs[partition].lock();
        let mut values = Vec::new();
        for bytes in &log.batches {
            let batch = tidelog::Batch::parse(bytes.clone()).unwrap();
            for record in batch.records().unwrap() {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    }
}

impl State {
    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().drain(..) {
            connection.close(CloseCode::INTERNAL, "cut");
        }
    }

    /// Says good-bye on every connection, and goes on serving what is open there.
    pub(crate) fn go_away(&self) {
        for connection in self.connections.lock().iter() {
            connection.go_away(60_000, "");
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.lock().len()
    }

    pub(crate) fn unmute(&self) {
        self.mute.store(false, Ordering::SeqCst);
        self.unmuted.notify_waiters();
    }

    fn append(&self, partition: usize, mut bytes: BytesMut) -> Result<u64, ErrorCode> {
        if let Some(code) = self.refusals.lock().pop_front() {
            return Err(code);
        }
        let header = verify(&bytes).map_err(|_| ErrorCode::CorruptMessage)?;
        header.check_produced().map_err(|_| ErrorCode::InvalidRecord)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(ErrorCode::MessageTooLarge);
        }
        let mut log = self.logs[partition].lock();
        if let Some(base) = log.known(&header)? {
            return Ok(base);
        }
        let base = log.end;
        assign(&mut bytes, Offset(base), LeaderEpoch(1));
        log.end += u64::from(header.record_count);
        log.batches.push(bytes.freeze());
        drop(log);
        self.appended.notify_waiters();
        Ok(base)
    }
}

impl Log {
    /// The offset of a batch that is there already; refuses one that does not continue.
    fn known(&mut self, header: &BatchHeader) -> Result<Option<u64>, ErrorCode> {
        if !header.is_idempotent() {
            return Ok(None);
        }
        let end = self.end;
        let (next, recent) =
            self.producers.entry(header.producer_id).or_insert((Sequence(0), VecDeque::new()));
        if let Some((_, base)) = recent.iter().find(|(first, _)| *first == header.base_sequence) {
            return Ok(Some(*base));
        }
        if *next != header.base_sequence {
            return Err(ErrorCode::OutOfOrderSequence);
        }
        *next = header.base_sequence.advance(header.record_count);
        recent.push_back((header.base_sequence, end));
        if recent.len() > 5 {
            recent.pop_front();
        }
        Ok(None)
    }
}

async fn serve(state: Arc<State>, connection: Connection, tasks: TaskTracker) {
    while let Ok(Some(stream)) = connection.accept().await {
        let state = Arc::clone(&state);
        tasks.spawn(async move {
            let _ = on_stream(&state, stream).await;
        });
    }
}

async fn on_stream(state: &State, mut stream: Stream) -> Result<(), WireError> {
    let frame = stream.recv.expect().await?;
    match frame.kind {
        FrameKind::Request => {
            state.control_streams.fetch_add(1, Ordering::SeqCst);
            let mut next = Some(frame);
            while let Some(frame) = next {
                let request: v1::Request = frame.decode(FrameKind::Request)?;
                let response = match answer(state, request.body.unwrap()) {
                    Ok(body) => v1::Response { body: Some(body), error: None },
                    Err(code) => v1::Response { body: None, error: Some(error(code)) },
                };
                stream.send.send(FrameKind::Response, &response, &[]).await?;
                if state.one_request_a_stream.load(Ordering::SeqCst) {
                    break;
                }
                next = stream.recv.recv().await?;
            }
            stream.send.finish().await
        }
        FrameKind::OpenProducer => {
            state.sessions.fetch_add(1, Ordering::SeqCst);
            stream.send.send(FrameKind::ProducerOpened, &v1::ProducerOpened::default(), &[]).await?;
            produce(state, stream).await
        }
        _ => subscribe(state, frame.decode(FrameKind::Subscribe)?, stream).await,
    }
}

fn error(code: ErrorCode) -> v1::Error {
    v1::Error {
        code: code as u32,
        message: code.to_string(),
        retryable: code.is_retryable(),
        no_side_effects: code.has_no_side_effects(),
        ..v1::Error::default()
    }
}

fn answer(state: &State, body: request::Body) -> Result<response::Body, ErrorCode> {
    let known = |topic: Option<v1::TopicRef>| match topic.and_then(|topic| topic.by) {
        Some(v1::topic_ref::By::Name(name)) if name == TOPIC => Ok(()),
        _ => Err(ErrorCode::UnknownTopicOrPartition),
    };
    let topic = || v1::Topic {
        id: Bytes::from_static(&TOPIC_ID),
        name: TOPIC.to_owned(),
        partitions: state.logs.len() as u32,
        ..v1::Topic::default()
    };
    Ok(match body {
        request::Body::DescribeTopic(ask) => {
            known(ask.topic)?;
            let limit = v1::describe_topic_response::ConfigEntry {
                name: "max.message.bytes".to_owned(),
                value: MAX_MESSAGE_BYTES.to_string(),
                is_default: false,
            };
            response::Body::DescribeTopic(v1::DescribeTopicResponse {
                topic: Some(topic()),
                config: vec![limit],
            })
        }
        request::Body::InitProducer(_) => response::Body::InitProducer(v1::InitProducerResponse {
            producer_id: state.next_producer.fetch_add(1, Ordering::SeqCst),
            producer_epoch: 0,
        }),
        request::Body::ListTopics(ask) => {
            let topics = if ask.after.is_empty() { vec![topic()] } else { Vec::new() };
            response::Body::ListTopics(v1::ListTopicsResponse { more: !topics.is_empty(), topics })
        }
        request::Body::ListOffsets(ask) => {
            let result = |place: v1::list_offsets_request::Place| {
                known(place.topic)?;
                let log = state.logs[place.partition as usize].lock();
                let offset = begin(&log, place.at);
                Ok(v1::list_offsets_response::Result { offset, ..Default::default() })
            };
            let results = ask.places.into_iter().map(result).collect::<Result<_, _>>()?;
            response::Body::ListOffsets(v1::ListOffsetsResponse { results })
        }
        body => return crate::cluster::answer(&mut state.cluster.lock(), body),
    })
}

async fn produce(state: &State, mut stream: Stream) -> Result<(), WireError> {
    while let Some(frame) = stream.recv.recv().await? {
        let produce: v1::Produce = frame.decode(FrameKind::Produce)?;
        let result = state.append(produce.partition as usize, frame.payload);
        if result.is_ok() && state.cut_after.fetch_sub(1, Ordering::SeqCst) == 0 {
            state.cut();
        }
        loop {
            let unmuted = state.unmuted.notified();
            if !state.mute.load(Ordering::SeqCst) {
                break;
            }
            unmuted.await;
        }
        let mut ack = v1::ProduceAck { sequence: produce.sequence, ..v1::ProduceAck::default() };
        match result {
            Ok(base) => ack.base_offset = base,
            Err(code) => ack.error = Some(error(code)),
        }
        stream.send.send(FrameKind::ProduceAck, &ack, &[]).await?;
    }
    stream.send.finish().await
}

fn begin(log: &Log, at: Option<v1::OffsetSpec>) -> u64 {
    match at.and_then(|at| at.at) {
        Some(offset_spec::At::Offset(offset)) => offset,
        Some(offset_spec::At::End(_)) => log.end,
        Some(offset_spec::At::BeforeEnd(count)) => log.end.saturating_sub(count),
        _ => 0,
    }
}

async fn subscribe(state: &State, ask: v1::Subscribe, mut stream: Stream) -> Result<(), WireError> {
    state.subscriptions.fetch_add(1, Ordering::SeqCst);
    let partition = ask.partition as usize;
    let (mut next, end) = {
        let log = state.logs[partition].lock();
        (begin(&log, ask.start), log.end)
    };
    if next > end {
        return refuse(stream, ErrorCode::OffsetOutOfRange).await;
    }
    let stop = if ask.stop_at_end { Some(end) } else { ask.stop_offset };
    let subscribed =
        v1::Subscribed { offset: next, high_watermark: end, stop_offset: stop, ..v1::Subscribed::default() };
    stream.send.send(FrameKind::Subscribed, &subscribed, &[]).await?;
    loop {
        let appended = state.appended.notified();
        let mut payload = Vec::new();
        let (mut bytes, mut next_offset) = (0, next);
        let end = {
            let log = state.logs[partition].lock();
            for batch in &log.batches {
                let header = header(batch).unwrap();
                let wanted =
                    header.next_offset().0 > next && stop.is_none_or(|stop| header.base_offset.0 < stop);
                if wanted && bytes < ask.payload_bytes_wanted {
                    bytes += batch.len() as u32;
                    next_offset = header.next_offset().0;
                    payload.push(batch.clone());
                }
            }
            log.end
        };
        if !payload.is_empty() {
            if state.damage.swap(false, Ordering::SeqCst) {
                let mut damaged = BytesMut::from(&payload[0][..]);
                *damaged.last_mut().unwrap() ^= 1;
                payload[0] = damaged.freeze();
            }
            next = next_offset;
            let records = v1::Records { next_offset, high_watermark: end, ..v1::Records::default() };
            stream.send.send(FrameKind::Records, &records, &payload).await?;
        } else if stop.is_some_and(|stop| next >= stop) {
            stream.send.send(FrameKind::End, &v1::End { offset: next }, &[]).await?;
            return stream.send.finish().await;
        } else {
            let caught_up = v1::CaughtUp { offset: next, high_watermark: end };
            stream.send.send(FrameKind::CaughtUp, &caught_up, &[]).await?;
            tokio::select! {
                () = appended => {}
                gone = stream.recv.recv() => return gone.map(drop),
            }
        }
    }
}

async fn refuse(stream: Stream, code: ErrorCode) -> Result<(), WireError> {
    stream.fail(&error(code), CloseCode::CANCELLED).await;
    Ok(())
}
