//! `bench produce`: durable appends, as fast as they go.

use std::time::Duration;

use tidelog::ProducerOptions;

use super::disk::{self, Mode};
use super::load::{ClosedLoop, pass};
use super::process::Usage;
use super::report::{Figure, Goal, Report, Unit, median};
use super::target::{Scratch, Target};
use super::transport::Peer;
use super::{Common, Transport, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    /// How many partitions the topic has.
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    /// How large each record's value is.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// How many producers this process runs, each with a connection of its own.
    #[arg(long, default_value_t = 2)]
    producers: usize,
}

const WARM_UP: Duration = Duration::from_secs(2);
const TOPIC: &str = "bench-produce";

/// Nothing moves to the bucket meanwhile, which has a figure of its own: neither by age or size, nor
/// because the journal fills its budget, as it does within seconds at a gigabyte a second.
const KEEP_LOCAL: [(&str, &str); 2] = [("tier.max.age.ms", "86400000"), ("segment.bytes", "4294967296")];
const BUDGET: (&str, &str) = ("TIDELOG_JOURNAL__BUDGET_BYTES", "1TiB");

/// The journal writes groups of about this size at most; the disk's limit is measured with it.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let common = &args.common;
    let mut report = Report::new("produce");
    report.setting("partitions", &args.partitions);
    report.setting("record_bytes", &args.record_bytes);
    report.setting("producers", &args.producers);
    report.setting("transport", &format!("{:?}", common.transport).to_lowercase());
    report.setting("rounds", &common.rounds);

    let scratch = Scratch::new(common)?;
    let disk_directory = scratch.directory("disk")?;
    let peer = Peer::start(common.transport).await?;

    let options = ProducerOptions::default();
    let over = Duration::from_secs(common.seconds);
    let (mut disks, mut transports, mut products) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = None;
    for round in 1..=common.rounds {
        progress(format_args!("round {round} of {}", common.rounds));
        disks.push(disk::measure(&disk_directory, Mode::Direct, GROUP_BYTES, 1).await?.megabytes_per_second);
        transports.push(peer.megabytes_per_second(2).await?);
        // A server of its own for each round: none works on the disk while that is measured alone.
        let mut target = Target::start(&scratch, common, None, &[BUDGET]).await?;
        target.create_topic(TOPIC, args.partitions, &KEEP_LOCAL).await?;
        let load = ClosedLoop::start(&target, TOPIC, args.producers, args.record_bytes, &options).await?;
        pass(WARM_UP).await;
        let before = (target.server.usage()?, load.acknowledged_bytes());
        products.push(load.megabytes_per_second(over).await);
        let after = (target.server.usage()?, load.acknowledged_bytes());
        used = Some((before, after));
        load.finish().await?;
        target.server.kill().await?;
        scratch.clear("server")?;
    }
    let (disk, transport) = (median(disks), median(transports));
    let limit = disk.min(transport);
    let limit_name = if disk < transport { "disk, direct" } else { "bare transport" };
    let least = match common.transport {
        Transport::Quic => 0.7,
        Transport::Tcp => 0.6,
    };
    report.add(Figure::new("disk write + fdatasync, direct", disk, Unit::MegabytesPerSecond));
    report.add(Figure::new("bare transport", transport, Unit::MegabytesPerSecond));
    let reached = median(products);
    report.add(
        Figure::new("produce, durable", reached, Unit::MegabytesPerSecond)
            .against(limit_name, limit)
            .goal(Goal::AtLeast(least)),
    );
    let records = reached * 1e6 / args.record_bytes as f64;
    report.add(Figure::new("produce, durable", records, Unit::RecordsPerSecond));
    add_server_usage(&mut report, used);
    Ok(report)
}

fn add_server_usage(report: &mut Report, used: Option<((Usage, u64), (Usage, u64))>) {
    let Some(((before, bytes_before), (after, bytes_after))) = used else { return };
    let gigabytes = (bytes_after - bytes_before) as f64 / 1e9;
    let cpu = (after.cpu_seconds - before.cpu_seconds) / gigabytes.max(1e-9);
    report.add(Figure::new("server CPU", cpu, Unit::CpuSecondsPerGigabyte));
    report.add(
        Figure::new("server memory, peak", after.resident_peak_mib, Unit::Mebibytes)
            .goal(Goal::AtMost(400.0)),
    );
}
