//! The commands, and which part runs each.

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::exit::{self, Code};
use crate::roles::{frontend, store};
use crate::{bench, bucket, certs, config_command, consume, dev, operate, output, produce, storage, topic};

/// A log service in the family of Apache Kafka, built for object storage.
#[derive(Debug, Parser)]
#[command(name = "tidelog", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole server in one process, without dependencies.
    Dev(dev::Args),
    /// Run a store of a cluster: it holds the newest records, and leads partitions.
    Store(store::Args),
    /// Run a frontend of a cluster: clients connect to it.
    Frontend(frontend::Args),
    /// Create, list, describe, alter and delete topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Write standard input to a topic, one record a line.
    Produce(produce::Args),
    /// Write a topic's records to standard output.
    Consume(consume::Args),
    /// Where a topic's records are; move them to the bucket; drop local copies.
    #[command(subcommand)]
    Storage(storage::Command),
    /// See how a cluster is; drain nodes, move replicas, bring partitions back.
    #[command(subcommand)]
    Cluster(operate::Command),
    /// Look into a bucket, without a server.
    #[command(subcommand)]
    Bucket(bucket::Command),
    /// Make the cluster's certificate authority and issue certificates.
    #[command(subcommand)]
    Certs(certs::Command),
    /// Measure this machine's limits and how near the product comes to them.
    Bench(Box<bench::Args>),
    /// Show or check the server's configuration.
    #[command(subcommand)]
    Config(config_command::Command),
    /// Print a completion script for a shell.
    Completions { shell: clap_complete::Shell },
}

/// Runs what was asked for.
pub async fn run(cli: Cli) -> anyhow::Result<Code> {
    if !matches!(cli.command, Command::Dev(_) | Command::Store(_) | Command::Frontend(_)) {
        log_quietly();
    }
    match cli.command {
        Command::Dev(args) => dev::run(args).await,
        Command::Store(args) => store::run(args).await,
        Command::Frontend(args) => frontend::run(args).await,
        Command::Topic(command) => topic::run(command).await,
        Command::Produce(args) => produce::run(args).await,
        Command::Consume(args) => consume::run(args).await,
        Command::Storage(command) => storage::run(command).await,
        Command::Cluster(command) => operate::run(command).await,
        Command::Bucket(command) => bucket::run(command).await,
        Command::Certs(command) => certs::run(command),
        Command::Bench(args) => bench::run(*args).await.map(|()| Code::Success),
        Command::Config(command) => config_command::run(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidelog", &mut script);
            output::print(&String::from_utf8_lossy(&script))?;
            Ok(Code::Success)
        }
    }
}

/// Commands say what matters through their result; `TIDELOG_LOG` shows what goes on inside.
fn log_quietly() {
    let filter = std::env::var("TIDELOG_LOG").unwrap_or_else(|_| "off".to_owned());
    // A filter that cannot be read is the server's business to complain about.
    let _ = tidelog_runtime::telemetry::init(&filter, tidelog_runtime::LogFormat::Text, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_commands_are_understood() {
        for line in [
            "dev --data-dir d --quic 127.0.0.1:0 --http 127.0.0.1:0 --bucket memory:// --config f",
            "store --config f --data-dir d --http 127.0.0.1:0 --etcd a:2379,b:2379 --bucket s3://b",
            "frontend --config f --quic 127.0.0.1:0 --http 127.0.0.1:0 --etcd a:2379 --data-dir d",
            "topic create logs --partitions 4 --config segment.bytes=1048576 --config compression.type=zstd",
            "topic list -o json",
            "topic describe logs",
            "topic create logs --replication-factor 3 --config min.insync.replicas=1",
            "topic alter logs --config compression.type= --config segment.bytes=1048576",
            "topic alter logs --partitions 8 -o json",
            "topic alter logs --replication-factor 3",
            "topic delete logs",
            "produce logs --partition 1 --key-separator : --header a=b --header c=d --compression zstd",
            "consume logs --partition 1 --offset -5 -e --max 3 -o json",
            "consume logs --offset +3 --exit-at-end",
            "consume logs --offset @2026-01-01T00:00:00Z",
            "storage describe logs -o json",
            "storage offload logs",
            "storage evict logs --bootstrap localhost:9440",
            "cluster status -o json",
            "cluster nodes",
            "cluster partitions",
            "cluster partitions logs --unhealthy -o json",
            "cluster drain 2",
            "cluster drain 2 --decommission --bootstrap localhost:9440",
            "cluster undrain 2",
            "cluster reassign logs 0 --replicas 3,1,2",
            "cluster rebalance",
            "cluster elect-unclean logs 0 --yes-lose-acknowledged-records",
            "bucket ls file:///x",
            "bucket cat file:///x logs --partition 3",
            "bucket verify s3://x/y logs -o json",
            "certs init --dir c --name test --days 30",
            "certs issue store-1 --renew",
            "certs issue front --for listener --host a --host 10.0.0.1",
            "config print -o json",
            "config check --config f --for store",
            "completions bash",
        ] {
            let words = std::iter::once("tidelog").chain(line.split(' '));
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn a_topic_is_altered_in_one_way_at_a_time() {
        for line in [
            "topic alter logs",
            "topic alter logs --partitions 8 --replication-factor 3",
            "topic alter logs --partitions 8 --config segment.bytes=1048576",
        ] {
            let words = std::iter::once("tidelog").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    /// Every command of the page's table is there, and every command that is there is in the table.
    #[test]
    fn the_page_of_the_command_line_names_every_command() {
        let page = include_str!("../../../docs/cli.md");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| `tidelog "))
            .map(|row| row.split('`').next().unwrap_or_default().split([' ', ',']).collect())
            .collect();
        let cli = Cli::command();
        for command in cli.get_subcommands().filter(|command| command.get_name() != "help") {
            let name = command.get_name();
            let row = rows.iter().find(|row| row[0] == name);
            let row = row.unwrap_or_else(|| panic!("`tidelog {name}` is not in docs/cli.md"));
            let named: Vec<_> = row[1..].iter().filter(|word| word.starts_with(char::is_lowercase)).collect();
            let there: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
            if !there.is_empty() && !row.contains(&"…") {
                assert!(there.iter().all(|sub| row.contains(sub)), "of `tidelog {name}`: {there:?}");
                assert!(named.iter().all(|word| there.contains(word)), "of `tidelog {name}`: {named:?}");
            }
        }
        assert_eq!(rows.len(), cli.get_subcommands().filter(|it| it.get_name() != "help").count());
    }
}
