//! The frontend: the protocol's server side.
//!
//! Owns what happens on a client's connection: control requests, producer sessions, subscriptions. It
//! holds no record that is not elsewhere: appends and tail reads go to the store through
//! `tidelog_peer`'s traits, old reads go to the bucket. In a cluster a [`Router`] stands behind those
//! traits, which finds each partition's store and goes on at the next one when it moves. It knows neither sockets (that is
//! `tidelog_wire`) nor disks.

mod cluster;
mod cold;
mod connection;
mod control;
mod edge;
mod error;
mod metrics;
mod options;
mod producer;
mod server;
mod subscription;
mod tail;

pub use cluster::{Router, RouterOptions};
pub use cold::{ColdBatches, ColdSource};
pub use options::{FrontendOptions, StartError};
pub use server::{Frontend, Parts};
pub use tail::{SharedTail, TailOptions};
