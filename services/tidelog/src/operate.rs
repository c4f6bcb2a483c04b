//! `tidelog cluster`: what an operator sees of a cluster and does with it.

mod show;

#[cfg(test)]
mod tests;

use clap::Subcommand;
use tidelog::{NodeId, PartitionId};

use crate::connection::ConnectionArgs;
use crate::exit::{Code, Failure};
use crate::output::{self, Output, OutputArgs};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the cluster in numbers, as its controller sees it.
    Status {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// List the nodes that ever were part of the cluster.
    Nodes {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// List partitions and their replicas, those with problems first.
    Partitions {
        /// Those of this topic. Default: all.
        topic: Option<String>,
        /// Only those that are offline, below the floor or under-replicated.
        #[arg(long)]
        unhealthy: bool,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Take a node's leaderships away and give it nothing new, until `undrain`.
    Drain {
        node: u32,
        /// Also move all of its replicas to other nodes, for good.
        #[arg(long)]
        decommission: bool,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// End a drain, or a decommission that is not finished.
    Undrain {
        node: u32,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Move a partition's replicas to other nodes.
    Reassign {
        topic: String,
        partition: u32,
        /// As many nodes as the topic has replicas, the preferred leader first.
        #[arg(long, value_name = "NODE,…", value_delimiter = ',', required = true)]
        replicas: Vec<u32>,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Even leaderships and replicas out now rather than bit by bit.
    Rebalance {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Give a partition without any in-sync replica another leader, though acknowledged records are lost.
    ElectUnclean {
        topic: String,
        partition: u32,
        /// What was acknowledged and is not on the new leader is lost, for good: that is accepted.
        #[arg(long)]
        yes_lose_acknowledged_records: bool,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

pub async fn run(command: Command) -> anyhow::Result<Code> {
    match command {
        Command::Status { output, connection } => {
            let admin = connection.connect().await?.admin();
            output::print(&show::status(&admin.cluster_status().await?, output.output)?)?;
        }
        Command::Nodes { output, connection } => {
            let admin = connection.connect().await?.admin();
            output::print(&show::nodes(&admin.nodes().await?, output.output)?)?;
        }
        Command::Partitions { topic, unhealthy, output, connection } => {
            let admin = connection.connect().await?.admin();
            let partitions = admin.partitions(topic.as_deref(), unhealthy).await?;
            if partitions.is_empty() && output.output == Output::Table {
                output::say(if unhealthy { "no partition has a problem" } else { "there are no partitions" });
            } else {
                output::print(&show::partitions(partitions, output.output)?)?;
            }
        }
        Command::Drain { node, decommission, connection } => drain(node, decommission, &connection).await?,
        Command::Undrain { node, connection } => {
            connection.connect().await?.admin().undrain(NodeId(node)).await?;
            output::say(&format!("node {node} is given leaderships and replicas again"));
        }
        Command::Reassign { topic, partition, replicas, connection } => {
            let replicas: Vec<_> = replicas.into_iter().map(NodeId).collect();
            connection.connect().await?.admin().reassign(&topic, PartitionId(partition), &replicas).await?;
            output::say(&format!(
                "{topic}/{partition} moves; `tidelog cluster partitions {topic}` shows how far it is"
            ));
        }
        Command::Rebalance { output, connection } => {
            let leaderships = connection.connect().await?.admin().rebalance().await?;
            output::print(&show::rebalance(leaderships, output.output)?)?;
        }
        Command::ElectUnclean { topic, partition, yes_lose_acknowledged_records, output, connection } => {
            if !yes_lose_acknowledged_records {
                return Err(Failure::usage(format!(
                    "records of {topic}/{partition} that were acknowledged and are not on the replica that \
                     becomes leader are lost with this, for good; wait for an in-sync replica to come back, \
                     or say --yes-lose-acknowledged-records"
                )));
            }
            let admin = connection.connect().await?.admin();
            let elected = admin.elect_unclean(&topic, PartitionId(partition)).await?;
            output::print(&show::elected(&topic, &elected, output.output)?)?;
        }
    }
    Ok(Code::Success)
}

async fn drain(node: u32, decommission: bool, connection: &ConnectionArgs) -> anyhow::Result<()> {
    let admin = connection.connect().await?.admin();
    let what = if decommission {
        admin.decommission(NodeId(node)).await?;
        "is emptied: its replicas move to other nodes"
    } else {
        admin.drain(NodeId(node)).await?;
        "is drained: its leaderships move to other nodes, its replicas stay"
    };
    output::say(&format!("node {node} {what}; `tidelog cluster nodes` shows how far it is"));
    Ok(())
}
