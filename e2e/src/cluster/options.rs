//! What a cluster under test is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// A process of a cluster, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    Store(usize),
    Frontend(usize),
}

impl fmt::Display for Member {
    /// `store-1` is the first one: its node id is 1.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(index) => write!(f, "store-{}", index + 1),
            Self::Frontend(index) => write!(f, "frontend-{}", index + 1),
        }
    }
}

/// Where a process runs, and how it gets there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The address that it listens on and is reached at.
    pub host: IpAddr,
    /// See [`Launch::launcher`](crate::Launch::launcher): a network namespace's, say.
    pub launcher: Vec<String>,
    /// What it calls each member of etcd, where that is not loopback. Empty: as [`crate::Etcd`] says.
    pub etcd: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), launcher: Vec::new(), etcd: Vec::new() }
    }
}

/// How a cluster is started. Everything has a default that fits most scenarios.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    pub stores: usize,
    pub frontends: usize,
    /// Processes stand in these in turn; none: they name none.
    pub racks: Vec<String>,
    pub etcd_members: usize,
    /// The bucket is on a real S3 server; otherwise in a directory that all share.
    pub seaweed: bool,
    /// More environment variables of every process.
    pub env: Vec<(String, String)>,
    /// More of single ones; these go before.
    pub env_of: BTreeMap<Member, Vec<(String, String)>>,
    /// Where single ones run; the others on loopback.
    pub places: BTreeMap<Member, Place>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        let env = [
            // Files small enough that a scenario rolls, seals and recycles some.
            ("TIDELOG_JOURNAL__FILE_BYTES", "16MiB"),
            ("TIDELOG_LOG", "info"),
            // A death that only the lease tells of is not waited for for long.
            ("TIDELOG_CLUSTER__LEASE_TTL", "2s"),
        ];
        Self {
            stores: 3,
            frontends: 2,
            racks: Vec::new(),
            etcd_members: 1,
            seaweed: false,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            env_of: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }
}

impl ClusterOptions {
    /// An environment variable of every process.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An environment variable of one process.
    #[must_use]
    pub fn env_of(mut self, member: Member, name: &str, value: &str) -> Self {
        self.env_of.entry(member).or_default().push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn place(mut self, member: Member, place: Place) -> Self {
        self.places.insert(member, place);
        self
    }

    pub(super) fn place_of(&self, member: Member) -> Place {
        self.places.get(&member).cloned().unwrap_or_default()
    }

    pub(super) fn rack_of(&self, member: Member) -> Option<&str> {
        let (Member::Store(index) | Member::Frontend(index)) = member;
        self.racks.get(index.checked_rem(self.racks.len())?).map(String::as_str)
    }
}
