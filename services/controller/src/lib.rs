//! The controller: decides who leads what and where replicas belong.
//!
//! Owns the plan ([`plan`]: pure, an [`Image`](tidelog_meta::Image) of the cluster in, decisions out), the
//! judgement who is alive ([`health`]), what is under way while one leads ([`term`]: pure too), and the
//! task that is elected, watches, asks stores and commits ([`Controller`]). Knows nothing of how a store replicates, and reaches stores only through
//! the trait [`Stores`]. Nothing here is needed for a write to be safe: a decision that is wrong or late
//! costs time, never a record, because every change compares the controller's election key and the
//! record that it was planned from.

mod commit;
mod controller;
pub mod health;
mod lead;
mod operator;
mod options;
pub mod orders;
pub mod plan;
mod standby;
mod stores;
pub mod term;

pub use commit::Committed;
pub use controller::{Controller, Parts};
pub use operator::{ClusterTopics, Operator, Refusal};
pub use options::Options;
pub use stores::{Stores, Unreachable};
/// The name of the election.
pub use tidelog_meta::election::CONTROLLER as ELECTION;
