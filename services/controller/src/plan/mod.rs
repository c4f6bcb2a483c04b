//! What should change, given what is. Pure: an image and a view in, decisions out.
//!
//! Every pass plans from what is there, not from what an earlier pass meant to do: the records hold all
//! that is under way (`adding`, `removing`, the topic's replication factor, an operator's drain), so that
//! a plan that was carried out half, in any order, or by a controller that is no more, is simply planned
//! again from where it stands. A partition gets at most one decision a pass.

pub mod balance;
mod change;
pub mod election;
pub mod leadership;
pub mod placement;
pub mod reassignment;
mod world;

use std::collections::BTreeSet;

use tidelog_model::TopicPartition;

pub use change::{Change, Reason, Violation, check};
pub(crate) use world::leader_of;
pub use world::{View, World};

use crate::Options;

/// What a pass may do beside what cannot wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Allowed {
    /// Most leaderships that may go back to preferred replicas now.
    pub prefer: usize,
    /// Whether replicas may be moved to even out stores.
    pub balance: bool,
}

/// What a pass has decided.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// Partitions without a working leader: their in-sync replicas have to be asked.
    pub elect: Vec<TopicPartition>,
    /// Leaderships to be handed over.
    pub moves: Vec<leadership::Move>,
    /// Records to be changed as they are.
    pub changes: Vec<Change>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.elect.is_empty() && self.moves.is_empty() && self.changes.is_empty()
    }
}

/// Plans a pass. Partitions in `busy` have a decision under way and are left alone.
pub fn plan(world: &World<'_>, busy: &BTreeSet<TopicPartition>, options: &Options, allowed: Allowed) -> Plan {
    let mut busy = busy.clone();
    let elect = election::leaderless(world, &busy);
    busy.extend(&elect);
    let moves = leadership::moves(world, &busy, options.relieve_at_once, allowed.prefer);
    busy.extend(moves.iter().map(|step| step.partition));
    let mut changes = reassignment::completions(world, &busy);
    busy.extend(changes.iter().map(|change| change.partition));
    let begun = reassignment::begin(world, &busy, options.reassign_at_once);
    busy.extend(begun.iter().map(|change| change.partition));
    changes.extend(begun);
    if allowed.balance && elect.is_empty() {
        changes.extend(balance::steps(world, &busy, options.balance_at_once));
    }
    Plan { elect, moves, changes }
}

#[cfg(test)]
mod tests;
