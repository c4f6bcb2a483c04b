//! `tidelog bench`: what this machine allows, what the product reaches, and the ratio of the two.
//!
//! A figure without its machine's limit says little, so each one stands beside the raw limit measured
//! in the same run: the disk alone, the transport alone, the bucket alone. Rounds of limit and product
//! alternate, and the median counts, because a virtual machine's speed changes by the minute.

mod bucket;
mod consume;
mod disk;
mod latency;
mod limits;
mod load;
mod memory;
mod open_loop;
mod process;
mod produce;
mod replay;
mod report;
mod restart;
mod target;
mod transport;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Subcommand, ValueEnum};

use report::Report;

/// Measures this machine's raw limits and how near the product comes to them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// The raw limits alone: disk, transports, bucket.
    Limits(limits::Args),
    /// How fast durable appends go.
    Produce(produce::Args),
    /// End-to-end latency of several readers of a live topic.
    Consume(consume::Args),
    /// Offload while producing, then replay from the bucket and from a warm cache.
    Replay(replay::Args),
    /// Latency of acknowledgements at a steady rate.
    Latency(latency::Args),
    /// Resident memory: idle, and with many idle partitions.
    Memory(memory::Args),
    /// Time from kill -9 to the first record read, with a full journal.
    Restart(restart::Args),
    /// The other end of a bare transport measurement; started by the benchmark itself.
    #[command(hide = true)]
    BarePeer(transport::PeerArgs),
}

/// What every benchmark takes.
#[derive(Clone, Debug, clap::Args)]
struct Common {
    /// How the clients connect.
    #[arg(long, value_enum, default_value_t)]
    transport: Transport,
    /// How the figures are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Where data goes; it has to be on the disk that is to be measured. Emptied afterwards.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How many rounds of raw limit and product; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// How long one measurement takes, after its warm-up.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Transport {
    #[default]
    Quic,
    Tcp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    #[default]
    Table,
    Json,
}

/// Runs one benchmark and prints its report.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let (report, output) = match args.command {
        Command::Limits(args) => (limits::run(&args).await?, args.common.output),
        Command::Produce(args) => (produce::run(&args).await?, args.common.output),
        Command::Consume(args) => (consume::run(&args).await?, args.common.output),
        Command::Replay(args) => (replay::run(&args).await?, args.common.output),
        Command::Latency(args) => (latency::run(&args).await?, args.common.output),
        Command::Memory(args) => (memory::run(&args).await?, args.common.output),
        Command::Restart(args) => (restart::run(&args).await?, args.common.output),
        Command::BarePeer(args) => return transport::serve(&args).await,
    };
    print(&report, output)
}

fn print(report: &Report, output: Output) -> anyhow::Result<()> {
    let text = match output {
        Output::Table => report.to_text(),
        Output::Json => serde_json::to_string_pretty(report)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing the report")
}

/// Says on stderr what is going on; a benchmark takes a while.
fn progress(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "bench: {what}");
}
