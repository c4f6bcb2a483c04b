//! What frames cost: bare transfers and frames over the same transport, two processes' worth of work
//! in one. `cargo run --release -p tidelog-wire --example throughput [mib] [frame KiB]`.

#![allow(clippy::print_stdout, reason = "it is a program that prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidelog_model::{Clock, TimestampMs};
use tidelog_proto::v1;
use tidelog_wire::bare::{BareServer, transfer};
use tidelog_wire::{
    ByteBudget, ConnectOptions, FrameKind, Identity, Limits, ListenConfig, Listener, Transport,
    TransportChoice, TransportSettings, Trust, connect,
};

#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> TimestampMs {
        TimestampMs::NONE
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mib: u64 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(2048);
    let frame_kib: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(256);
    let mut settings = TransportSettings::default();
    if let Some(mtu) = args.next().and_then(|arg| arg.parse().ok()) {
        settings.mtu_max = mtu;
    }
    let identity = Identity::self_signed(&["localhost".to_owned()]).expect("a certificate");
    let trust = Trust::Pinned(identity.fingerprint());
    for transport in [Transport::Quic, Transport::Tcp] {
        // Each side has a runtime of its own, as two processes would.
        let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
        let (far, near) = (runtime().expect("threads"), runtime().expect("threads"));
        for streams in [1, 4] {
            let server = far.block_on(async {
                BareServer::bind(transport, "127.0.0.1:0".parse().expect("an address"), &identity, &settings)
            });
            let server = server.expect("a port");
            let addr = server.local_addr();
            let serving = far.spawn(server.serve());
            let cpu = cpu_time();
            let done = near
                .block_on(transfer(transport, addr, &trust, &settings, streams, mib << 20))
                .expect("a transfer");
            report(&format!("{transport} bare, {streams} streams"), done.bytes, done.elapsed, cpu);
            serving.abort();
        }
        for streams in [1, 4] {
            let config = ListenConfig {
                addr: "127.0.0.1:0".parse().expect("an address"),
                port: tidelog_wire::Port::Clients(
                    tidelog_wire::Credentials::new(identity.clone()).expect("a certificate"),
                ),
                limits: Limits::default(),
                settings,
                budget: ByteBudget::new(128 << 20),
                windows: ByteBudget::new(128 << 20),
                software: String::new(),
                cluster_id: Bytes::new(),
                clock: Arc::new(NoClock),
            };
            let mut listener = far.block_on(async { Listener::bind(config) }).expect("a port");
            let addr = listener.local_addr();
            far.spawn(async move {
                while let Some(connection) = listener.accept().await {
                    connection.widen_receive();
                    tokio::spawn(async move {
                        while let Ok(Some(mut stream)) = connection.accept().await {
                            tokio::spawn(async move {
                                while let Ok(Some(frame)) = stream.recv.recv().await {
                                    drop(frame);
                                }
                                let ack = v1::ProduceAck::default();
                                let _ = stream.send.send(FrameKind::ProduceAck, &ack, &[]).await;
                                let _ = stream.send.finish().await;
                                stream.send.delivered().await;
                            });
                        }
                    });
                }
            });
            let cpu = cpu_time();
            let elapsed = near.block_on(send_frames(
                transport,
                addr.to_string(),
                &trust,
                settings,
                streams,
                mib << 20,
                frame_kib << 10,
            ));
            report(&format!("{transport} frames, {streams} streams"), mib << 20, elapsed, cpu);
        }
    }
}

async fn send_frames(
    transport: Transport,
    addr: String,
    trust: &Trust,
    settings: TransportSettings,
    streams: u64,
    bytes: u64,
    frame_bytes: usize,
) -> Duration {
    let mut options = ConnectOptions::new(addr, trust.clone());
    options.settings = settings;
    options.transport = match transport {
        Transport::Quic => TransportChoice::Quic,
        Transport::Tcp => TransportChoice::Tcp,
    };
    let connection = connect(&options).await.expect("a connection");
    let mut tasks = tokio::task::JoinSet::new();
    let began = Instant::now();
    for _ in 0..streams {
        let mut stream = connection.open().await.expect("a stream");
        tasks.spawn(async move {
            let payload = [Bytes::from(vec![0; frame_bytes])];
            let header = v1::Produce { topic_id: Bytes::from_static(&[0; 16]), partition: 1, sequence: 1 };
            for _ in 0..bytes / streams / frame_bytes as u64 {
                stream.send.send(FrameKind::Produce, &header, &payload).await.expect("a send");
            }
            stream.send.finish().await.expect("an end");
            stream.recv.recv().await.expect("an answer");
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.expect("no panic");
    }
    began.elapsed()
}

fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn report(what: &str, bytes: u64, elapsed: Duration, cpu_before: f64) {
    let gb = bytes as f64 / 1e9;
    let rate = gb * 1e3 / elapsed.as_secs_f64();
    println!("{what:28} {rate:7.0} MB/s  {:5.2} CPU s/GB", (cpu_time() - cpu_before) / gb);
}
