//! `bench memory`: what a server that does nothing holds resident.

use std::time::Duration;

use super::load::pass;
use super::report::{Figure, Goal, Report, Unit};
use super::target::{Scratch, Target};
use super::{Common, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[arg(long, default_value_t = 5000)]
    partitions: u32,
}

const SETTLE: Duration = Duration::from_secs(5);

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let mut report = Report::new("memory");
    report.setting("partitions", &args.partitions);
    let scratch = Scratch::new(&args.common)?;
    let mut target = Target::start(&scratch, &args.common, None, &[]).await?;
    progress(format_args!("idle"));
    pass(SETTLE).await;
    let idle = target.server.usage()?.resident_mib;
    report.add(Figure::new("resident, idle", idle, Unit::Mebibytes).goal(Goal::AtMost(60.0)));

    progress(format_args!("{} idle partitions", args.partitions));
    target.create_topic("bench-memory", args.partitions, &[]).await?;
    pass(SETTLE).await;
    let created = target.server.usage()?.resident_mib;
    let name = format!("resident, {} idle partitions", args.partitions);
    report.add(Figure::new(name.clone(), created, Unit::Mebibytes).goal(Goal::AtMost(150.0)));

    target.server.kill().await?;
    target.server.spawn_again()?;
    target.server.until_ready().await?;
    pass(SETTLE).await;
    let restarted = target.server.usage()?.resident_mib;
    let name = format!("{name}, restarted");
    report.add(Figure::new(name, restarted, Unit::Mebibytes).goal(Goal::AtMost(150.0)));
    Ok(report)
}
