//! The cluster in tables for people and in JSON for programs.

use std::cmp::Reverse;

use serde::Serialize;
use tidelog::{ClusterStatus, Elected, NodeId, NodeStatus, PartitionState, PartitionStatus};

use crate::output::{self, Lean, Output};

#[derive(Serialize)]
struct StatusJson<'a> {
    controller: u32,
    nodes: u32,
    nodes_not_up: u32,
    topics: u32,
    partitions: u32,
    offline: u32,
    below_floor: u32,
    under_replicated: u32,
    moving: u32,
    not_preferred: u32,
    unreadable: u32,
    unreadable_shown: Vec<UnreadableJson<'a>>,
}

#[derive(Serialize)]
struct UnreadableJson<'a> {
    key: &'a str,
    reason: &'a str,
}

pub fn status(status: &ClusterStatus, output: Output) -> anyhow::Result<String> {
    let unreadable = || status.unreadable_shown.iter();
    if output == Output::Json {
        return output::json(&StatusJson {
            controller: status.controller.0,
            nodes: status.nodes,
            nodes_not_up: status.nodes_not_up,
            topics: status.topics,
            partitions: status.partitions,
            offline: status.offline,
            below_floor: status.below_floor,
            under_replicated: status.under_replicated,
            moving: status.moving,
            not_preferred: status.not_preferred,
            unreadable: status.unreadable,
            unreadable_shown: unreadable().map(|(key, reason)| UnreadableJson { key, reason }).collect(),
        });
    }
    let not_up = match status.nodes_not_up {
        0 => String::new(),
        count => format!(", {count} not up"),
    };
    let lines = [
        ("controller", format!("node {}", status.controller)),
        ("nodes", format!("{}{not_up}", status.nodes)),
        ("topics", status.topics.to_string()),
        ("partitions", status.partitions.to_string()),
        ("  offline", status.offline.to_string()),
        ("  below the floor", status.below_floor.to_string()),
        ("  under-replicated", status.under_replicated.to_string()),
        ("  moving", status.moving.to_string()),
        ("  not led by the preferred replica", status.not_preferred.to_string()),
    ];
    let mut lines: Vec<_> = lines.map(|(name, value)| format!("{name:<36}{value}\n")).into();
    if status.unreadable > 0 {
        lines.push(format!("{:<36}{}\n", "records that cannot be read", status.unreadable));
        lines.extend(unreadable().map(|(key, reason)| format!("  {key}: {reason}\n")));
    }
    Ok(lines.concat())
}

#[derive(Serialize)]
struct NodeJson<'a> {
    node: u32,
    state: &'static str,
    draining: bool,
    decommissioned: bool,
    rack: Option<&'a str>,
    address: Option<&'a str>,
    replicas: u32,
    leads: u32,
    local_bytes: u64,
    directory: Option<String>,
    boot: Option<u64>,
    software: Option<&'a str>,
}

pub fn nodes(nodes: &[NodeStatus], output: Output) -> anyhow::Result<String> {
    if output == Output::Json {
        let json = nodes.iter().map(|node| NodeJson {
            node: node.node.0,
            state: node.state.name(),
            draining: node.draining,
            decommissioned: node.decommissioned,
            rack: node.rack.as_deref(),
            address: node.address.as_deref(),
            replicas: node.replicas,
            leads: node.leads,
            local_bytes: node.bytes,
            directory: node.directory.map(|directory| directory.to_string()),
            boot: node.boot,
            software: node.software.as_deref(),
        });
        return output::json(&json.collect::<Vec<_>>());
    }
    let columns = [
        ("node", Lean::Number),
        ("state", Lean::Text),
        ("rack", Lean::Text),
        ("address", Lean::Text),
        ("leads", Lean::Number),
        ("replicas", Lean::Number),
        ("local", Lean::Number),
        ("boot", Lean::Number),
        ("software", Lean::Text),
    ];
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let rows = nodes.iter().map(|node| {
        vec![
            node.node.to_string(),
            state_of(node),
            or_dash(node.rack.as_deref()),
            or_dash(node.address.as_deref()),
            node.leads.to_string(),
            node.replicas.to_string(),
            output::bytes(node.bytes),
            node.boot.map_or_else(|| "-".to_owned(), |boot| boot.to_string()),
            or_dash(node.software.as_deref()),
        ]
    });
    Ok(output::table(&columns, rows))
}

/// What is thought of a node, and what is wanted of it.
fn state_of(node: &NodeStatus) -> String {
    let wanted = match (node.decommissioned, node.draining) {
        (true, _) if node.replicas == 0 => ", decommissioned",
        (true, _) => ", decommissioning",
        (false, true) => ", draining",
        (false, false) => "",
    };
    format!("{}{wanted}", node.state.name())
}

#[derive(Serialize)]
struct PartitionJson<'a> {
    topic: &'a str,
    topic_id: String,
    partition: u32,
    state: &'static str,
    leader: Option<u32>,
    epoch: u32,
    replication_factor: u32,
    replicas: Vec<u32>,
    isr: Vec<u32>,
    adding: Vec<u32>,
    removing: Vec<u32>,
    unclean_epoch: Option<u32>,
    local_bytes: u64,
}

/// The worst first, then by name and number.
pub fn partitions(mut partitions: Vec<PartitionStatus>, output: Output) -> anyhow::Result<String> {
    partitions.sort_by(|a, b| {
        let order = |p: &PartitionStatus| (rank(p.state), Reverse(p.unclean_epoch.is_some()));
        order(a).cmp(&order(b)).then_with(|| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)))
    });
    if output == Output::Json {
        let json = partitions.iter().map(|partition| PartitionJson {
            topic: &partition.topic,
            topic_id: partition.topic_id.to_string(),
            partition: partition.partition.0,
            state: partition.state.name(),
            leader: partition.leader.map(|node| node.0),
            epoch: partition.epoch.0,
            replication_factor: partition.replicas_wanted,
            replicas: numbers(&partition.replicas),
            isr: numbers(&partition.isr),
            adding: numbers(&partition.adding),
            removing: numbers(&partition.removing),
            unclean_epoch: partition.unclean_epoch.map(|epoch| epoch.0),
            local_bytes: partition.bytes,
        });
        return output::json(&json.collect::<Vec<_>>());
    }
    let columns = [
        ("topic", Lean::Text),
        ("partition", Lean::Number),
        ("state", Lean::Text),
        ("leader", Lean::Number),
        ("epoch", Lean::Number),
        ("replicas", Lean::Text),
        ("in sync", Lean::Text),
        ("move", Lean::Text),
        ("local", Lean::Number),
    ];
    let rows = partitions.iter().map(|partition| {
        vec![
            partition.topic.clone(),
            partition.partition.to_string(),
            partition.state.name().to_owned(),
            partition.leader.map_or_else(|| "-".to_owned(), |node| node.to_string()),
            partition.epoch.to_string(),
            listed(&partition.replicas),
            listed(&partition.isr),
            movement(partition),
            output::bytes(partition.bytes),
        ]
    });
    Ok(output::table(&columns, rows))
}

/// Moves are as they are meant to be and come with those that rest.
fn rank(state: PartitionState) -> PartitionState {
    state.min(PartitionState::Moving)
}

fn numbers(nodes: &[NodeId]) -> Vec<u32> {
    nodes.iter().map(|node| node.0).collect()
}

fn listed(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "-".to_owned();
    }
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// `+4 -2`: node 4 is on its way in, node 2 is to go.
fn movement(partition: &PartitionStatus) -> String {
    let added = partition.adding.iter().map(|node| format!("+{node}"));
    let removed = partition.removing.iter().map(|node| format!("-{node}"));
    added.chain(removed).collect::<Vec<_>>().join(" ")
}

#[derive(Serialize)]
struct RebalanceJson {
    leaderships: u32,
}

pub fn rebalance(leaderships: u32, output: Output) -> anyhow::Result<String> {
    Ok(match (output, leaderships) {
        (Output::Json, leaderships) => output::json(&RebalanceJson { leaderships })?,
        (Output::Table, 1) => "1 leadership moves to its preferred replica\n".to_owned(),
        (Output::Table, count) => format!("{count} leaderships move to their preferred replicas\n"),
    })
}

#[derive(Serialize)]
struct ElectedJson<'a> {
    topic: &'a str,
    partition: u32,
    leader: u32,
    epoch: u32,
}

pub fn elected(topic: &str, elected: &Elected, output: Output) -> anyhow::Result<String> {
    let (partition, leader, epoch) = (elected.partition.0, elected.node.0, elected.epoch.0);
    if output == Output::Json {
        return output::json(&ElectedJson { topic, partition, leader, epoch });
    }
    Ok(format!("node {leader} leads {topic}/{partition} from epoch {epoch} on\n"))
}
