//! Where replicas belong: spread over racks first, then where there is least.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;
use tidelog_meta::Live;
use tidelog_model::NodeId;

use super::World;
use super::reassignment::target_of;

/// Parts of a whole are compared in this many pieces.
const WHOLE: u128 = 1_000_000;

/// Fewer stores can take replicas than are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{wanted} replicas are wanted and {stores} stores can take them")]
pub struct TooFewStores {
    pub wanted: usize,
    pub stores: usize,
}

/// What every node has, or will have once what is under way is done.
#[derive(Clone, Debug)]
pub struct Loads {
    nodes: BTreeMap<NodeId, Load>,
    racks: BTreeMap<NodeId, String>,
    /// The nodes that may be given more.
    targets: BTreeSet<NodeId>,
    replicas: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Load {
    pub replicas: u64,
    /// Of how many partitions it is the preferred leader.
    pub preferred: u64,
    pub bytes: u64,
}

impl Loads {
    pub fn of(world: &World<'_>) -> Self {
        let rack = |live: &Live| Some((live.node, live.rack.clone()?));
        let mut loads = Self {
            nodes: BTreeMap::new(),
            racks: world.image.live_nodes().filter_map(rack).collect(),
            targets: world.targets().map(|live| live.node).collect(),
            replicas: 0,
            bytes: 0,
        };
        for (id, held, _) in world.image.current() {
            loads.add(&target_of(&held.value), world.size(id));
        }
        loads
    }

    /// How many nodes may be given replicas.
    pub fn targets(&self) -> &BTreeSet<NodeId> {
        &self.targets
    }

    /// The nodes that have replicas.
    pub fn holders(&self) -> impl Iterator<Item = NodeId> {
        self.nodes.iter().filter(|(_, load)| load.replicas > 0).map(|(node, _)| *node)
    }

    pub fn load(&self, node: NodeId) -> Load {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    /// Counts a partition in.
    pub fn add(&mut self, replicas: &[NodeId], bytes: u64) {
        for (position, node) in replicas.iter().enumerate() {
            let load = self.nodes.entry(*node).or_default();
            load.replicas += 1;
            load.bytes += bytes;
            load.preferred += u64::from(position == 0);
            self.replicas += 1;
            self.bytes += bytes;
        }
    }

    /// Counts a partition out.
    pub fn remove(&mut self, replicas: &[NodeId], bytes: u64) {
        for (position, node) in replicas.iter().enumerate() {
            let load = self.nodes.entry(*node).or_default();
            load.replicas -= 1;
            load.bytes -= bytes;
            load.preferred -= u64::from(position == 0);
            self.replicas -= 1;
            self.bytes -= bytes;
        }
    }

    /// Places a new partition, and counts it in. The preferred leader stands first.
    pub fn place(&mut self, replicas: usize) -> Result<Vec<NodeId>, TooFewStores> {
        let mut chosen = Vec::with_capacity(replicas);
        self.fill(&mut chosen, replicas)?;
        let first =
            chosen.iter().enumerate().min_by_key(|(position, node)| (self.load(**node).preferred, *position));
        if let Some((first, _)) = first {
            chosen.swap(0, first);
        }
        self.add(&chosen, 0);
        Ok(chosen)
    }

    /// Adds nodes to `chosen` until there are `wanted`; counts nothing.
    pub fn fill(&self, chosen: &mut Vec<NodeId>, wanted: usize) -> Result<(), TooFewStores> {
        while chosen.len() < wanted {
            let free = self.targets.iter().filter(|node| !chosen.contains(node));
            let best = free.min_by_key(|node| (self.neighbours(**node, chosen), self.share(**node), **node));
            let stores = self.targets.iter().filter(|node| !chosen.contains(node)).count() + chosen.len();
            chosen.push(*best.ok_or(TooFewStores { wanted, stores })?);
        }
        Ok(())
    }

    /// How many of `others` share the node's rack. A node without a rack shares it with nobody.
    pub fn neighbours(&self, node: NodeId, others: &[NodeId]) -> usize {
        let Some(rack) = self.racks.get(&node) else { return 0 };
        others.iter().filter(|other| **other != node && self.racks.get(other) == Some(rack)).count()
    }

    /// How many pairs of replicas share a rack.
    pub fn crowding(&self, replicas: &[NodeId]) -> usize {
        replicas.iter().map(|node| self.neighbours(*node, replicas)).sum::<usize>() / 2
    }

    /// The node's part of all replicas and of all bytes, together.
    pub fn share(&self, node: NodeId) -> u128 {
        let load = self.load(node);
        let part = |of: u64, all: u64| u128::from(of) * WHOLE / u128::from(all.max(1));
        part(load.replicas, self.replicas) + part(load.bytes, self.bytes)
    }

    /// How uneven the nodes are that may be given replicas: falls when replicas or bytes move from a node
    /// with more to one with less.
    pub fn unevenness(&self, node: NodeId, replicas: i64, bytes: i64) -> u128 {
        let load = self.load(node);
        let part = |of: u64, change: i64, all: u64| {
            let of = u128::from(of.saturating_add_signed(change));
            let part = of * WHOLE / u128::from(all.max(1));
            part * part
        };
        part(load.replicas, replicas, self.replicas) + part(load.bytes, bytes, self.bytes)
    }
}
