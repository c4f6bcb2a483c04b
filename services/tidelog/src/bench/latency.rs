//! `bench latency`: how long an acknowledgement takes at a steady rate, beside the bare fdatasync.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tidelog::ProducerOptions;

use super::disk::{self, Mode};
use super::open_loop::{self, Pace, quantile_ms};
use super::report::{Figure, Goal, Report, Unit, median};
use super::target::{Scratch, Target};
use super::{Common, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Megabytes of values per second; a tenth of the produce figure shows the latency under light load.
    #[arg(long, default_value_t = 30.0)]
    rate: f64,
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
}

const TOPIC: &str = "bench-latency";
const WARM_UP: Duration = Duration::from_secs(1);

/// The bare sync is measured on the smallest direct write: the hardest limit.
pub const SYNC_BYTES: usize = 4096;

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let common = &args.common;
    let mut report = Report::new("latency");
    report.setting("rate_mb_per_s", &args.rate);
    report.setting("partitions", &args.partitions);
    report.setting("record_bytes", &args.record_bytes);
    report.setting("transport", &format!("{:?}", common.transport).to_lowercase());
    report.setting("rounds", &common.rounds);

    let scratch = Scratch::new(common)?;
    let disk_directory = scratch.directory("disk")?;
    let target = Target::start(&scratch, common, None, &[]).await?;
    target.create_topic(TOPIC, args.partitions, &[("tier.max.age.ms", "86400000")]).await?;
    let pace = Pace {
        records_per_second: args.rate * 1e6 / args.record_bytes as f64,
        partitions: args.partitions,
        record_bytes: args.record_bytes,
        warm_up: WARM_UP,
        duration: Duration::from_secs(common.seconds),
    };
    let mut syncs = Vec::new();
    let mut acknowledged = Vec::new();
    for round in 1..=common.rounds {
        progress(format_args!("round {round} of {}", common.rounds));
        syncs.push(disk::measure(&disk_directory, Mode::Direct, SYNC_BYTES, 2).await?);
        let client = target.connect().await?;
        let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
        let producer = client.producer(options).await.context("a producer")?;
        let paced = open_loop::run(producer, TOPIC, pace, Instant::now()).await?;
        acknowledged.push([0.5, 0.99, 0.999].map(|quantile| quantile_ms(&paced.latencies, quantile)));
    }
    let sync = |of: fn(&disk::Run) -> f64| median(syncs.iter().map(of).collect());
    let reached = |at: usize| median(acknowledged.iter().map(|round| round[at]).collect());
    let rows = [
        ("acknowledgement, p50", reached(0), "fdatasync, p50", sync(|run| run.p50_ms), 3.0),
        ("acknowledgement, p99", reached(1), "fdatasync, p99", sync(|run| run.p99_ms), 4.0),
    ];
    for (name, value, limit_name, limit, most) in rows {
        let figure = Figure::new(name, value, Unit::Milliseconds).against(limit_name, limit);
        report.add(figure.goal(Goal::AtMost(most)));
    }
    report.add(Figure::new("acknowledgement, p99.9", reached(2), Unit::Milliseconds));
    Ok(report)
}
