//! `bench consume`: several readers of a topic that is being written, and how far behind they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use tidelog::{Client, ConsumerOptions, ProducerOptions, StartAt};
use tidelog_runtime::CancellationToken;

use super::disk::{self, Mode};
use super::latency::SYNC_BYTES;
use super::open_loop::{self, Latencies, Pace, due_of, latencies, quantile_ms, record};
use super::report::{Figure, Goal, Report, Unit, median};
use super::target::{Scratch, Target};
use super::{Common, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Megabytes of values written per second.
    #[arg(long, default_value_t = 30.0)]
    rate: f64,
    /// How many consumers read the whole topic, each with a connection of its own.
    #[arg(long, default_value_t = 4)]
    consumers: usize,
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
}

const WARM_UP: Duration = Duration::from_secs(1);

/// How long after the last acknowledgement the readers may take before they count as left behind.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(10);

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let common = &args.common;
    let mut report = Report::new("consume");
    report.setting("rate_mb_per_s", &args.rate);
    report.setting("consumers", &args.consumers);
    report.setting("partitions", &args.partitions);
    report.setting("record_bytes", &args.record_bytes);
    report.setting("transport", &format!("{:?}", common.transport).to_lowercase());
    report.setting("rounds", &common.rounds);

    let scratch = Scratch::new(common)?;
    let disk_directory = scratch.directory("disk")?;
    let target = Target::start(&scratch, common, None, &[]).await?;
    let (mut syncs, mut rounds) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        progress(format_args!("round {round} of {}", common.rounds));
        syncs.push(disk::measure(&disk_directory, Mode::Direct, SYNC_BYTES, 2).await?);
        let topic = format!("bench-consume-{round}");
        target.create_topic(&topic, args.partitions, &[("tier.max.age.ms", "86400000")]).await?;
        rounds.push(measure(args, &target, &topic).await?);
    }
    let sync_p50 = median(syncs.iter().map(|run| run.p50_ms).collect());
    let sync_p99 = median(syncs.iter().map(|run| run.p99_ms).collect());
    let reached = |of: fn(&Round) -> f64| median(rounds.iter().map(of).collect());
    report.add(
        Figure::new("end to end, p50", reached(|r| r.p50_ms), Unit::Milliseconds)
            .against("fdatasync, p50", sync_p50),
    );
    report.add(
        Figure::new("end to end, p99", reached(|r| r.p99_ms), Unit::Milliseconds)
            .against("fdatasync, p99", sync_p99)
            .goal(Goal::AtMost(4.0)),
    );
    report.add(Figure::new("read by all consumers", reached(|r| r.read_mb_per_s), Unit::MegabytesPerSecond));
    report.add(
        Figure::new("slowest consumer, share read when writing stopped", reached(|r| r.kept_up), Unit::Ratio)
            .goal(Goal::AtLeast(0.99)),
    );
    let memory = target.server.usage()?.resident_peak_mib;
    report.add(Figure::new("server memory, peak", memory, Unit::Mebibytes).goal(Goal::AtMost(400.0)));
    Ok(report)
}

#[derive(Debug)]
struct Round {
    p50_ms: f64,
    p99_ms: f64,
    read_mb_per_s: f64,
    kept_up: f64,
}

async fn measure(args: &Args, target: &Target, topic: &str) -> anyhow::Result<Round> {
    let epoch = Instant::now();
    let stop = CancellationToken::new();
    let mut readers = Vec::new();
    for _ in 0..args.consumers {
        let client = target.connect().await?;
        let position = Arc::new(AtomicU64::new(0));
        let read = read(client, topic.to_owned(), epoch, position.clone(), stop.clone());
        readers.push((position, tokio::spawn(read)));
    }
    let client = target.connect().await?;
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let producer = client.producer(options).await.context("a producer")?;
    let pace = Pace {
        records_per_second: args.rate * 1e6 / args.record_bytes as f64,
        partitions: args.partitions,
        record_bytes: args.record_bytes,
        warm_up: WARM_UP,
        duration: Duration::from_secs(args.common.seconds),
    };
    let paced = open_loop::run(producer, topic, pace, epoch).await?;
    let slowest = readers.iter().map(|(position, _)| position.load(Ordering::Relaxed)).min().unwrap_or(0);
    let deadline = Instant::now() + CATCH_UP_WITHIN;
    while Instant::now() < deadline
        && readers.iter().any(|(position, _)| position.load(Ordering::Relaxed) < paced.records)
    {
        super::load::pass(Duration::from_millis(5)).await;
    }
    stop.cancel();
    let mut all = latencies();
    let mut read = 0;
    for (position, reader) in readers {
        all.add(reader.await??).context("histograms of one shape")?;
        read += position.load(Ordering::Relaxed);
    }
    Ok(Round {
        p50_ms: quantile_ms(&all, 0.5),
        p99_ms: quantile_ms(&all, 0.99),
        read_mb_per_s: super::report::megabytes_per_second(read * args.record_bytes as u64, paced.elapsed),
        kept_up: slowest as f64 / paced.records.max(1) as f64,
    })
}

/// Reads the whole topic until it is stopped; from when each record was due to when it was here.
async fn read(
    client: Client,
    topic: String,
    epoch: Instant,
    position: Arc<AtomicU64>,
    stop: CancellationToken,
) -> anyhow::Result<Latencies> {
    let options = ConsumerOptions { start: StartAt::Start, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(&topic, options).await.context("a consumer")?;
    let mut found = latencies();
    let measured_from = Instant::now() + WARM_UP;
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return Ok(found),
            next = consumer.next() => next,
        };
        let next = next.context("the subscription ended")??;
        position.fetch_add(1, Ordering::Relaxed);
        if let Some(due) = next.value.as_deref().and_then(|value| due_of(value, epoch))
            && due >= measured_from
        {
            record(&mut found, due.elapsed());
        }
    }
}
