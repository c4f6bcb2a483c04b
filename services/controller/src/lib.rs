//! The controller: decides who leads what and where replicas belong.
//!
//! Owns the plan ([`plan`]: pure, image in, decisions out), the [`Image`] of the cluster that it is made
//! from, the judgement who is alive ([`health`]), and the task that is elected, watches, asks stores and
//! commits ([`Controller`]). Knows nothing of how a store replicates, and reaches stores only through
//! the trait [`Stores`]. Nothing here is needed for a write to be safe: a decision that is wrong or late
//! costs time, never a record, because every change compares the controller's election key and the
//! record that it was planned from.

mod commit;
mod controller;
mod feed;
pub mod health;
mod image;
mod lead;
mod operator;
mod options;
pub mod plan;
mod standby;
mod stores;

pub use controller::{Controller, ELECTION, Parts};
pub use image::{Held, Image, NodeImage, Presence};
pub use operator::{
    ClusterStatus, Elected, NewTopic, NodeState, NodeStatus, Operator, PartitionState, PartitionStatus,
    Refusal,
};
pub use options::Options;
pub use stores::{Stores, Unreachable};
