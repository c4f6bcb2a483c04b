//! The harness of the end-to-end tests: real `tidelog` processes, a real S3 server, real data.
//!
//! Owns starting, killing and asking; knows nothing of what is true of the product. The scenarios in
//! `tests/scenarios/` say that. Every process gets free ports, its own directory and its own home, so
//! scenarios run side by side; what a failed one wrote stays on disk and its place is printed.

mod binary;
mod cli;
pub mod cluster;
pub mod damage;
mod etcd;
pub mod faults;
pub mod history;
pub mod http;
pub mod input;
mod loop_disk;
mod ports;
mod process;
pub mod raw;
mod seaweed;
mod server;
mod storage;
mod wait;
mod workspace;

pub use binary::tidelog_binary;
pub use cli::{Cli, Finished};
pub use cluster::{Cluster, ClusterOptions, Member};
pub use etcd::{Etcd, EtcdOptions};
pub use loop_disk::LoopDisk;
pub use ports::free_port;
pub use process::{Launch, Process, Refusal};
pub use seaweed::Seaweed;
pub use server::{Server, ServerOptions};
pub use storage::{PartitionStorage, Storage};
pub use wait::{pass, until, wait_exit};
pub use workspace::Workspace;

use std::time::Duration;

/// How long a process may take to become ready. Generous: two cores run several scenarios at once.
pub const READY_WITHIN: Duration = Duration::from_mins(1);

/// How long one command of the CLI may take.
pub const COMMAND_WITHIN: Duration = Duration::from_mins(2);
