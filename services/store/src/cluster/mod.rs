//! A store among others: it holds replicas, leads those that the cluster's records give it, and follows
//! the leaders of the rest.
//!
//! The order of a start matters, and each step says why: the start is registered before anything of the
//! cluster is believed, the journal is read before anyone is answered, and every partition is in the
//! catalog before the first of them writes.

mod jobs;
mod outside;
mod pointers;
mod replicas;
mod ticker;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidelog_journal::RecoveryReport;
use tidelog_link::{Mesh, MeshOptions, Replicas};
use tidelog_meta::image::Mirror;
use tidelog_meta::{LeaseId, TypedMeta as _, keys};
use tidelog_peer::StoreControl;
use tidelog_runtime::{CancellationToken, Supervisor};
use tokio::sync::watch;

use self::outside::Together;
use self::pointers::PointerReads;
use self::replicas::Hosted;
use crate::boot::bucket::Owner;
use crate::boot::recovery::Commitment;
use crate::boot::{identity, memory};
use crate::node::{Identity, Node};
use crate::open::{self, Assembled, Frame, OpenError, Parts};
use crate::options::StoreOptions;
use crate::partition::outside::Outside;
use crate::records;
use crate::store::Store;

/// How often the data directory's memory of the metadata store is brought up to date.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// What a store needs to be one of several.
#[derive(Clone, Debug)]
pub struct ClusterParts {
    /// How to reach the others.
    pub mesh: MeshOptions,
    /// `host:port` of this store's internal port, as others connect to it.
    pub address: String,
    /// Where it stands; replicas of a partition are spread over racks.
    pub rack: Option<String>,
    /// Name and version, for people.
    pub software: String,
    pub lease_ttl: Duration,
    pub replication: tidelog_replica::Config,
}
