//! `bench limits`: what the machine allows, with nothing of the product in the way.

use super::bucket::{self, BucketOption};
use super::disk::{self, Mode};
use super::report::{Figure, Report, Unit, median};
use super::target::Scratch;
use super::transport::Peer;
use super::{Common, Transport, progress};

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(flatten)]
    bucket: BucketOption,
}

const BLOCK_BYTES: [usize; 5] = [4 * 1024, 64 * 1024, 256 * 1024, 1024 * 1024, 4 * 1024 * 1024];

pub async fn run(args: &Args) -> anyhow::Result<Report> {
    let mut report = Report::new("limits");
    let scratch = Scratch::new(&args.common)?;
    report.setting("rounds", &args.common.rounds);
    report.setting("dir", &scratch.path().display());

    let directory = scratch.directory("disk")?;
    for mode in [Mode::Direct, Mode::Buffered] {
        for block_bytes in BLOCK_BYTES {
            progress(format_args!("disk, {mode}, {} KiB", block_bytes / 1024));
            let mut rounds = Vec::new();
            for _ in 0..args.common.rounds {
                rounds.push(disk::measure(&directory, mode, block_bytes, 1).await?);
            }
            let name = format!("disk write + fdatasync, {mode}, {} KiB", block_bytes / 1024);
            let speed = median(rounds.iter().map(|r| r.megabytes_per_second).collect());
            report.add(Figure::new(name.clone(), speed, Unit::MegabytesPerSecond));
            for (quantile, of) in [("p50", 0), ("p99", 1)] {
                let value = median(rounds.iter().map(|r| [r.p50_ms, r.p99_ms][of]).collect());
                report.add(Figure::new(format!("{name}, {quantile}"), value, Unit::Milliseconds));
            }
        }
    }
    for (transport, name) in [(Transport::Quic, "bare QUIC"), (Transport::Tcp, "bare TCP + TLS")] {
        progress(format_args!("{name} between two processes"));
        let peer = Peer::start(transport).await?;
        let mut rounds = Vec::new();
        for _ in 0..args.common.rounds {
            rounds.push(peer.megabytes_per_second(args.common.seconds.min(2)).await?);
        }
        report.add(Figure::new(name, median(rounds), Unit::MegabytesPerSecond));
    }
    progress(format_args!("bucket"));
    let limits = bucket::measure(&args.bucket, &scratch, args.common.rounds).await?;
    report.add(Figure::new("bucket, ranged GETs", limits.get, Unit::MegabytesPerSecond));
    report.add(Figure::new("bucket, multipart PUTs", limits.put, Unit::MegabytesPerSecond));
    Ok(report)
}
