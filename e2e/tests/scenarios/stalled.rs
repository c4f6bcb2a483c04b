//! Consumers that subscribe and never read: they cost what is set aside for them, and nobody else
//! anything.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::iter;
use tidelog::{ConsumerOptions, PartitionId, ProducerOptions, ProducerRecord, TransportChoice};
use tidelog_e2e::{Server, ServerOptions, Workspace, http, until};
use tidelog_proto::v1;
use tidelog_wire::{ConnectOptions, Connection, FrameKind, Stream, Trust};
use tokio::runtime::Runtime;

use crate::workload::connect;

/// Connections with so many stalled subscriptions each.
const CROWDED: usize = 4;
const CROWD: usize = 175;
/// Connections with one each.
const QUIC: usize = 200;
const TCP: usize = 100;

/// Handshakes at a time.
const CONCURRENT: usize = 16;

/// What the server may hold in memory with all of them: what `docs/configuration.md` lets windows and
/// records on their way take (96 and 64 MiB), 64 KiB for each subscription, and what it holds anyway.
const RESIDENT_BYTES_MAX: u64 = 400 * 1024 * 1024;

/// Much more than any of them can have in flight.
const BACKLOG_BYTES: usize = 8 * 1024 * 1024;
const BACKLOG_LINE: &[u8] = &[b'x'; 1023];

/// When nothing was sent between so many looks in a row, they have all stalled.
const LOOKS_AT_REST: u32 = 25;

const LIVE_RECORDS: u64 = 200;
const LIVE_WITHIN: Duration = Duration::from_secs(30);

fn options(server: &Server, transport: TransportChoice) -> ConnectOptions {
    let mut options = ConnectOptions::new(server.address(), Trust::Insecure);
    options.transport = transport;
    options.timeout = LIVE_WITHIN;
    // Of the client's memory; the server's is what this is about.
    options.settings.stream_window_bytes = 32 * 1024;
    options.settings.udp_buffer_bytes = 256 * 1024;
    options
}

/// Subscribes from the start, takes the first answer, and reads no more.
async fn stall(connection: &Connection) -> Stream {
    let mut stream = connection.open().await.expect("a stream");
    let by = Some(v1::topic_ref::By::Name("backlog".to_owned()));
    let subscribe = v1::Subscribe { topic: Some(v1::TopicRef { by }), ..v1::Subscribe::default() };
    stream.send.send(FrameKind::Subscribe, &subscribe, &[]).await.expect("a subscription");
    let frame = stream.recv.expect().await.expect("an answer");
    frame.decode::<v1::Subscribed>(FrameKind::Subscribed).expect("a subscription");
    stream
}

async fn crowd(server: &Server, transport: TransportChoice, streams: usize) -> (Connection, Vec<Stream>) {
    let connection = tidelog_wire::connect(&options(server, transport)).await.expect("a connection");
    let mut stalled = Vec::with_capacity(streams);
    for _ in 0..streams {
        stalled.push(stall(&connection).await);
    }
    (connection, stalled)
}

/// A thousand of them.
async fn stall_all(server: &Server) -> Vec<(Connection, Vec<Stream>)> {
    let crowded = (0..CROWDED).map(|_| (TransportChoice::Quic, CROWD));
    let quic = (0..QUIC).map(|_| (TransportChoice::Quic, 1));
    let tcp = (0..TCP).map(|_| (TransportChoice::Tcp, 1));
    let all = crowded.chain(quic).chain(tcp);
    iter(all.map(|(transport, streams)| crowd(server, transport, streams)))
        .buffer_unordered(CONCURRENT)
        .collect()
        .await
}

fn metric(server: &Server, name: &str) -> u64 {
    let text = http::get(server.http_port, "/metrics").expect("metrics").body;
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// From `/proc`: what the process itself says may come from the same mistake.
fn resident_bytes(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// A producer and a consumer of another topic, record by record.
async fn live_pair(server: &Server) {
    let client = connect(server).await;
    let mut consumer = client.consumer("live", ConsumerOptions::default()).await.expect("a consumer");
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = client.producer(options).await.expect("a producer");
    for number in 0..LIVE_RECORDS {
        let value = format!("live-{number}");
        let record = ProducerRecord::new("live", &value).partition(PartitionId(0));
        producer.send(record).await.expect("room").await.expect("an acknowledgement");
        let read = consumer.next().await.expect("no end").expect("a record");
        assert_eq!(read.value.as_deref(), Some(value.as_bytes()));
    }
    producer.close().await.expect("nothing is left");
}

#[test]
#[cfg(target_os = "linux")]
fn a_thousand_stalled_consumers_take_bounded_memory_and_leave_others_alone() {
    let workspace = Workspace::new();
    let mut server = Server::start(&workspace, ServerOptions::default());
    let cli = server.cli();
    cli.create_topic("backlog", 1, &[]);
    cli.create_topic("live", 1, &[]);
    let line = [BACKLOG_LINE, b"\n"].concat();
    cli.produce("backlog", 0, "none", &line.repeat(BACKLOG_BYTES / line.len()));
    let runtime = Runtime::new().expect("a runtime");
    let stalled = runtime.block_on(stall_all(&server));
    assert_eq!(stalled.iter().map(|(_, streams)| streams.len()).sum::<usize>(), 1000);
    // Until nothing moves any more: every one of them has all that it can have.
    let mut before = (0, 0);
    let sent = until(LIVE_WITHIN, "the consumers stall", || {
        let now = metric(&server, "tidelog_frontend_hot_bytes_total ");
        let looks = if before.0 == now { before.1 + 1 } else { 0 };
        before = (now, looks);
        (looks >= LOOKS_AT_REST).then_some(now)
    });
    assert!(sent < 1000 * BACKLOG_BYTES as u64 / 2, "they were sent {sent} bytes without reading any");
    let live = async { tokio::time::timeout(LIVE_WITHIN, live_pair(&server)).await };
    runtime.block_on(live).expect("the others go on");
    let resident = resident_bytes(&server);
    assert!(resident < RESIDENT_BYTES_MAX, "{} MiB are resident", resident >> 20);
    // A subscription that holds room others wait for may be ended; nobody's connection is.
    let connections = metric(&server, "tidelog_frontend_connections ");
    assert!(connections >= (CROWDED + QUIC + TCP) as u64, "{connections} connections are left");
    // They go, and the server with them, without a word.
    runtime.block_on(async { drop(stalled) });
    until(LIVE_WITHIN, "the stalled consumers are gone", || {
        (metric(&server, "tidelog_frontend_streams ") < 100).then_some(())
    });
    assert!(server.is_running() && !server.log().contains("panicked"), "{}", server.log());
}
