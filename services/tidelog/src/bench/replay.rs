//! `bench replay`: to the bucket while producing, back from the bucket, back from a warm cache.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidelog::{ConsumerOptions, ProducerOptions, StartAt};

use super::bucket::{self, BucketOption};
use super::open_loop::{self, Pace};
use super::report::{Figure, Goal, Report, Unit, median, megabytes_per_second};
use super::target::{Scratch, Target};
use super::transport::Peer;
use super::{Common, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    bucket: BucketOption,
    /// Gigabytes of values that go to the bucket and come back; the default fits into the disk cache.
    #[arg(long, default_value_t = 0.8)]
    gigabytes: f64,
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
}

const TOPIC: &str = "bench-replay";

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let common = &args.common;
    let mut report = Report::new("replay");
    report.setting("gigabytes", &args.gigabytes);
    report.setting("partitions", &args.partitions);
    report.setting("transport", &format!("{:?}", common.transport).to_lowercase());
    report.setting("rounds", &common.rounds);
    let scratch = Scratch::new(common)?;

    progress(format_args!("the bucket alone"));
    let limits = bucket::measure(&args.bucket, &scratch, common.rounds).await?;
    let transport = Peer::start(common.transport).await?.megabytes_per_second(2).await?;
    report.add(Figure::new("bare multipart PUTs", limits.put, Unit::MegabytesPerSecond));
    report.add(Figure::new("bare ranged GETs", limits.get, Unit::MegabytesPerSecond));
    report.add(Figure::new("bare transport", transport, Unit::MegabytesPerSecond));

    let url = args.bucket.url(&scratch);
    let mut target = Target::start(&scratch, common, Some(&url), &[]).await?;
    target.create_topic(TOPIC, args.partitions, &[("segment.bytes", "67108864")]).await?;
    progress(format_args!("producing at the rate of the bucket's PUTs, and offloading"));
    let offloaded = offload(args, &target, limits.put).await?;
    report.add(
        Figure::new("offload while producing", offloaded, Unit::MegabytesPerSecond)
            .against("bare multipart PUTs", limits.put)
            .goal(Goal::AtLeast(0.8)),
    );

    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        progress(format_args!("replay, round {round} of {}", common.rounds));
        let topic_bytes = args.gigabytes * 1e9;
        target.server.restart_without_cache().await?;
        // The journal brings back what its files still hold.
        target.connect().await?.admin().evict(TOPIC).await.context("evicting after a restart")?;
        cold.push(topic_bytes / 1e6 / replay(&target).await?);
        // The second reading admits blocks to the disk cache, the third finds them there.
        replay(&target).await?;
        warm.push(topic_bytes / 1e6 / replay(&target).await?);
        let hot = target.server.counter("frontend_hot_bytes").await?;
        anyhow::ensure!(hot < topic_bytes / 100.0, "{hot} bytes of the replays came from the journal");
    }
    let (cold, warm) = (median(cold), median(warm));
    let add = |report: &mut Report, name: &str, value: f64, limit: &str, of: f64, least: Option<f64>| {
        let figure = Figure::new(name, value, Unit::MegabytesPerSecond).against(limit, of);
        report.add(match least {
            Some(least) => figure.goal(Goal::AtLeast(least)),
            None => figure,
        });
    };
    add(&mut report, "cold replay", cold, "bare ranged GETs", limits.get, Some(0.8));
    // The same cores fetch and send: a replay with no cost of its own would take as long as both.
    let both = 1.0 / (1.0 / limits.get + 1.0 / transport);
    add(&mut report, "cold replay", cold, "bare GETs, then bare transport", both, None);
    add(&mut report, "warm replay", warm, "bare transport", transport, None);
    add(&mut report, "warm replay", warm, "cold replay", cold, Some(1.0));
    let memory = target.server.usage()?.resident_peak_mib;
    report.add(Figure::new("server memory, peak", memory, Unit::Mebibytes).goal(Goal::AtMost(400.0)));
    Ok(report)
}

/// How long the server is left alone between two commands to offload. Longer, and the bucket would wait
/// for the next command instead of for the server.
const COMMAND_EVERY: Duration = Duration::from_millis(50);

/// Produces everything at the given rate while the server is told, again and again, to offload; the
/// rate at which the bucket got it, up to the moment when it had all.
async fn offload(args: &Args, target: &Target, rate: f64) -> anyhow::Result<f64> {
    let client = target.connect().await?;
    let producer = client.producer(ProducerOptions::default()).await.context("a producer")?;
    let pace = Pace {
        records_per_second: rate * 1e6 / args.record_bytes as f64,
        partitions: args.partitions,
        record_bytes: args.record_bytes,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs_f64(args.gigabytes * 1e3 / rate),
    };
    let admin = target.connect().await?.admin();
    let began = Instant::now();
    let producing = open_loop::run(producer, TOPIC, pace, began);
    let offloading = async {
        loop {
            super::load::pass(COMMAND_EVERY).await;
            admin.offload(TOPIC).await?;
        }
    };
    let paced = tokio::select! {
        paced = producing => paced?,
        result = offloading => return result,
    };
    admin.offload(TOPIC).await.context("the last offload")?;
    let elapsed = began.elapsed();
    admin.evict(TOPIC).await.context("evicting")?;
    Ok(megabytes_per_second(paced.records * args.record_bytes as u64, elapsed))
}

/// Reads the topic from start to end; seconds.
async fn replay(target: &Target) -> anyhow::Result<f64> {
    let client = target.connect().await?;
    let began = Instant::now();
    let options = ConsumerOptions { start: StartAt::Start, stop_at_end: true, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(TOPIC, options).await.context("a consumer")?;
    while let Some(batch) = consumer.next_batch().await {
        batch?;
    }
    Ok(began.elapsed().as_secs_f64())
}
