//! How fast a producer and a consumer can be: against a server in the same process that acknowledges
//! and keeps nothing, and sends what it has at hand.
//! `cargo bench -p tidelog -- [quic|tcp] [PARTITIONS] [MEGABYTES]`

#![expect(clippy::print_stdout, reason = "a benchmark talks to its user")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tidelog::{
    Client, ClientOptions, ConsumerOptions, Offset, PartitionId, ProducerOptions, ProducerRecord,
    TimestampMs, TransportChoice, Trust,
};
use tidelog_format::batch::{BatchBuilder, BatchOptions, assign, header};
use tidelog_model::{Clock, LeaderEpoch};
use tidelog_proto::v1::{self, request, response};
use tidelog_wire::{
    ByteBudget, Connection, FrameKind, Identity, Limits, ListenConfig, Listener, Stream, TransportSettings,
    WireError,
};

const RECORD_BYTES: usize = 1024;

/// In the batches that a consumer gets.
const BATCH_RECORDS: u64 = 60;

#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(0)
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let only = args.first().map(String::as_str);
    let number = |place: usize, default: u32| args.get(place).map_or(Ok(default), |arg| arg.parse());
    let (partitions, megabytes) = (number(1, 16)?, number(2, 2000)?);
    println!("{RECORD_BYTES}-byte records, {partitions} partitions, {megabytes} MB");
    for (name, transport) in [("quic", TransportChoice::Quic), ("tcp", TransportChoice::Tcp)] {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        for (linger, spread) in [(5, "each in turn"), (5, "sticky"), (0, "each in turn")] {
            produce(name, transport, partitions, u64::from(megabytes), linger, spread).await?;
        }
        for batches in [true, false] {
            consume(name, transport, partitions, u64::from(megabytes), batches).await?;
        }
    }
    Ok(())
}

async fn produce(
    name: &str,
    transport: TransportChoice,
    partitions: u32,
    megabytes: u64,
    linger_ms: u64,
    spread: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let identity = Identity::self_signed(&["localhost".to_owned()])?;
    let batches = Arc::new(AtomicU64::new(0));
    let addr = serve(identity.clone(), partitions, Arc::clone(&batches))?;
    let mut options = ClientOptions::new([addr])?;
    options.trust = Trust::Pinned(identity.fingerprint());
    options.transport = transport;
    let client = Client::with_options(options).await?;
    let options = ProducerOptions { linger: Duration::from_millis(linger_ms), ..ProducerOptions::default() };
    let producer = client.producer(options).await?;
    let value = vec![b'x'; RECORD_BYTES];
    let records = megabytes * 1_000_000 / RECORD_BYTES as u64;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut last = None;
    for i in 0..records {
        let mut record = ProducerRecord::new("bench", &value);
        if spread != "sticky" {
            record = record.partition(PartitionId((i % u64::from(partitions)) as u32));
        }
        last = Some(producer.send(record).await?);
    }
    producer.flush().await?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    if let Some(ticket) = last {
        ticket.await?;
    }
    producer.close().await?;
    let bytes = (records * RECORD_BYTES as u64) as f64;
    println!(
        "{name:>5} linger {linger_ms} ms, {spread:<12} {:>7.1} MB/s  {:>9.0} records/s  {:>5.2} CPU-s/GB  {:>7.1} KB/batch",
        bytes / took / 1e6,
        records as f64 / took,
        cpu / bytes * 1e9,
        bytes / batches.load(Ordering::Relaxed) as f64 / 1e3,
    );
    Ok(())
}

async fn consume(
    name: &str,
    transport: TransportChoice,
    partitions: u32,
    megabytes: u64,
    batches: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let identity = Identity::self_signed(&["localhost".to_owned()])?;
    let addr = serve(identity.clone(), partitions, Arc::default())?;
    let mut options = ClientOptions::new([addr])?;
    options.trust = Trust::Pinned(identity.fingerprint());
    options.transport = transport;
    let client = Client::with_options(options).await?;
    let mut consumer = client.consumer("bench", ConsumerOptions::default()).await?;
    let wanted = megabytes * 1_000_000 / RECORD_BYTES as u64;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    let mut records = 0;
    while records < wanted {
        records += if batches {
            u64::from(consumer.next_batch().await.ok_or("it ended")??.batch.record_count())
        } else {
            consumer.next().await.ok_or("it ended")??;
            1
        };
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    consumer.close().await;
    let bytes = (records * RECORD_BYTES as u64) as f64;
    println!(
        "{name:>5} consume {:<21} {:>7.1} MB/s  {:>9.0} records/s  {:>5.2} CPU-s/GB",
        if batches { "batches" } else { "records" },
        bytes / took / 1e6,
        records as f64 / took,
        cpu / bytes * 1e9,
    );
    Ok(())
}

/// Sends the same batch for ever, under rising offsets.
async fn records(mut stream: Stream, payload_bytes: usize) -> Result<(), WireError> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for _ in 0..BATCH_RECORDS {
        let pushed = builder.push(TimestampMs(1), None, Some(&[b'x'; RECORD_BYTES]), &[]);
        pushed.map_err(|error| WireError::Malformed(error.to_string()))?;
    }
    let batch = builder.finish();
    stream.send.send(FrameKind::Subscribed, &v1::Subscribed::default(), &[]).await?;
    let mut next = 0;
    loop {
        let mut payload = BytesMut::with_capacity(payload_bytes.max(batch.len()));
        while payload.is_empty() || payload.len() + batch.len() <= payload_bytes {
            let start = payload.len();
            payload.extend_from_slice(&batch);
            assign(&mut payload[start..], Offset(next), LeaderEpoch(1));
            next += BATCH_RECORDS;
        }
        let header = v1::Records { next_offset: next, ..v1::Records::default() };
        stream.send.send(FrameKind::Records, &header, &[payload.freeze()]).await?;
    }
}

/// What this process has used, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|f| f.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / 100.0
}

fn serve(
    identity: Identity,
    partitions: u32,
    batches: Arc<AtomicU64>,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut listener = Listener::bind(ListenConfig {
        addr: "127.0.0.1:0".parse()?,
        port: tidelog_wire::Port::Clients(tidelog_wire::Credentials::new(identity)?),
        limits: Limits::default(),
        settings: TransportSettings::default(),
        budget: ByteBudget::new(256 << 20),
        windows: ByteBudget::new(256 << 20),
        software: "bench".to_owned(),
        cluster_id: Bytes::from_static(&[7; 16]),
        clock: Arc::new(NoClock),
    })?;
    let addr = listener.local_addr().to_string();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.clone().spawn(async move {
        while let Some(connection) = listener.accept().await {
            let (batches, inner) = (Arc::clone(&batches), tasks.clone());
            tasks.spawn(async move { streams(connection, partitions, batches, inner).await });
        }
    });
    Ok(addr)
}

async fn streams(
    connection: Connection,
    partitions: u32,
    batches: Arc<AtomicU64>,
    tasks: tokio_util::task::TaskTracker,
) {
    while let Ok(Some(stream)) = connection.accept().await {
        let batches = Arc::clone(&batches);
        tasks.spawn(async move {
            let _ = answer(stream, partitions, &batches).await;
        });
    }
}

async fn answer(mut stream: Stream, partitions: u32, batches: &AtomicU64) -> Result<(), WireError> {
    let frame = stream.recv.expect().await?;
    if frame.kind == FrameKind::Request {
        let request: v1::Request = frame.decode(FrameKind::Request)?;
        let topic = v1::Topic {
            id: Bytes::from_static(&[9; 16]),
            name: "bench".to_owned(),
            partitions,
            ..v1::Topic::default()
        };
        let body = match request.body {
            Some(request::Body::InitProducer(_)) => {
                response::Body::InitProducer(v1::InitProducerResponse { producer_id: 1, producer_epoch: 0 })
            }
            _ => response::Body::DescribeTopic(v1::DescribeTopicResponse {
                topic: Some(topic),
                config: vec![],
            }),
        };
        let response = v1::Response { error: None, body: Some(body) };
        stream.send.send(FrameKind::Response, &response, &[]).await?;
        return stream.send.finish().await;
    }
    if frame.kind == FrameKind::Subscribe {
        let subscribe: v1::Subscribe = frame.decode(FrameKind::Subscribe)?;
        return records(stream, subscribe.payload_bytes_wanted as usize).await;
    }
    stream.send.send(FrameKind::ProducerOpened, &v1::ProducerOpened::default(), &[]).await?;
    let mut ends = vec![0; partitions as usize];
    while let Some(frame) = stream.recv.recv().await? {
        let produce: v1::Produce = frame.decode(FrameKind::Produce)?;
        let count =
            header(&frame.payload).map_err(|error| WireError::Malformed(error.to_string()))?.record_count;
        let end = &mut ends[produce.partition as usize];
        let ack =
            v1::ProduceAck { sequence: produce.sequence, base_offset: *end, ..v1::ProduceAck::default() };
        *end += u64::from(count);
        batches.fetch_add(1, Ordering::Relaxed);
        stream.send.send(FrameKind::ProduceAck, &ack, &[]).await?;
    }
    stream.send.finish().await
}
