//! `bench restart`: from kill -9 with a full journal to the first record read.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use tidelog::{ConsumerOptions, ProducerOptions, StartAt};
use tidelog_model::PartitionId;

use super::load::{ClosedLoop, pass};
use super::report::{Figure, Goal, Report, Unit};
use super::target::{Scratch, Target};
use super::{Common, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// Gigabytes of values in the journal.
    #[arg(long, default_value_t = 5.0)]
    gigabytes: f64,
    #[arg(long, default_value_t = 16)]
    partitions: u32,
}

const TOPIC: &str = "bench-restart";
const FILL_WITHIN: Duration = Duration::from_mins(5);

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let mut report = Report::new("restart");
    report.setting("gigabytes", &args.gigabytes);
    report.setting("partitions", &args.partitions);
    let scratch = Scratch::new(&args.common)?;
    let mut target = Target::start(&scratch, &args.common, None, &[]).await?;
    let keep_local = [("tier.max.age.ms", "86400000"), ("segment.bytes", "4294967296")];
    target.create_topic(TOPIC, args.partitions, &keep_local).await?;

    progress(format_args!("filling the journal"));
    let load = ClosedLoop::start(&target, TOPIC, 2, 1024, &ProducerOptions::default()).await?;
    let deadline = Instant::now() + FILL_WITHIN;
    while (load.acknowledged_bytes() as f64) < args.gigabytes * 1e9 {
        if Instant::now() > deadline {
            bail!("the journal was not full within {FILL_WITHIN:?}");
        }
        pass(Duration::from_millis(50)).await;
    }
    load.finish().await?;

    progress(format_args!("kill -9 and restart"));
    target.server.kill().await?;
    let began = Instant::now();
    target.server.spawn_again()?;
    target.server.until_ready().await?;
    let ready = began.elapsed();
    let client = target.connect().await?;
    let options = ConsumerOptions {
        partitions: Some(vec![PartitionId(0)]),
        start: StartAt::Start,
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(TOPIC, options).await.context("a consumer")?;
    consumer.next().await.context("the subscription ended")??;
    let first_read = began.elapsed();
    report.add(Figure::new("restart to ready", ready.as_secs_f64(), Unit::Seconds));
    report.add(
        Figure::new("restart to the first record read", first_read.as_secs_f64(), Unit::Seconds)
            .goal(Goal::AtMost(2.0)),
    );
    Ok(report)
}
