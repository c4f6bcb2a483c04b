//! Faults between processes: a network and an S3 server that misbehave when told to.
//!
//! Both are proxies of our own on loopback, steered by a handle; nothing goes wrong by itself, and what
//! is left to chance follows a seed. Each runs on a runtime of its own, so that scenarios steer it from
//! ordinary threads. Everything that waits in a proxy is bounded.

mod link;
mod network;
mod s3;
mod s3_rule;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

pub use link::{Conditions, Link, LinkCounts, RETRANSMIT, Way};
pub use network::NetworkProxy;
pub use s3::FaultyS3;
pub use s3_rule::{RuleId, S3Fault, S3Request, S3Rule};

use std::net::{Ipv4Addr, SocketAddr};

use tokio::runtime::{Builder, Runtime};

/// The address of a port on this machine.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A runtime of one thread, which ends without waiting for anybody.
#[derive(Debug)]
pub(crate) struct Background(Option<Runtime>);

impl Background {
    pub(crate) fn new(name: &str) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build();
        Self(Some(runtime.expect("a runtime")))
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("taken only when it is dropped")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Chance from a seed (splitmix64).
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Streams of one seed have nothing to do with each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// At least 0 and less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }

    pub(crate) fn happens(&mut self, per_mille: u16) -> bool {
        self.below(1000) < u64::from(per_mille)
    }
}
