//! A store among others: it holds replicas, leads those that the cluster's records give it, and follows
//! the leaders of the rest.
//!
//! The order of a start matters: the start is registered under the node's key before anything of the
//! cluster is believed, the journal is read before anyone is answered, and every partition is in the
//! catalog before the first of them writes.

mod control;
mod follow;
mod isr;
mod jobs;
mod outside;
mod pointers;
mod registration;
mod replicas;
mod resigned;
mod ticker;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_journal::{OnDamage, RecoveryReport};
use tidelog_link::{Mesh, MeshOptions, Remote, RemoteOptions, Replicas};
use tidelog_meta::image::Mirror;
use tidelog_meta::value::{Leader, Live, Role as NodeRole};
use tidelog_meta::{LeaseId, Registration, TypedMeta as _, keys};
use tidelog_model::ClusterId;
use tidelog_peer::StoreControl;
use tidelog_runtime::{CancellationToken, Supervisor};
use tokio::sync::watch;

use self::control::Control;
use self::follow::{Follow, Follower, Found};
use self::isr::IsrChanges;
use self::outside::Together;
use self::pointers::PointerReads;
use self::registration::Site;
use self::replicas::Hosted;
use self::resigned::Resigned;
use crate::boot::bucket::Owner;
use crate::boot::identity::{self, Claim, IdentityError};
use crate::boot::memory;
use crate::boot::recovery::Commitment;
use crate::node::{Identity, Node};
use crate::open::{self, Assembled, Frame, OpenError, Parts};
use crate::options::StoreOptions;
use crate::partition::outside::Outside;
use crate::records;
use crate::rot;
use crate::store::Store;

/// How often the data directory's memory of the metadata store is brought up to date.
const REMEMBER_EVERY: Duration = Duration::from_secs(10);

/// How long the lanes to other stores may take to end.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What a store needs to be one of several.
#[derive(Clone, Debug)]
pub struct ClusterParts {
    /// How to reach the others.
    pub mesh: MeshOptions,
    /// Where it stands; replicas of a partition are spread over racks.
    pub rack: Option<String>,
    /// Name and version, for people.
    pub software: String,
    pub lease_ttl: Duration,
    pub replication: tidelog_replica::Config,
}

/// A store that takes part in its cluster.
pub struct ClusterStore {
    store: Store,
    mirror: Arc<Mirror>,
    mesh: Mesh,
    control: Arc<Control>,
    claim: Claim,
    parts: ClusterParts,
    tasks: Supervisor,
    registration: Mutex<Option<Registration<Live>>>,
    lease: watch::Sender<Option<LeaseId>>,
}

impl ClusterStore {
    /// Opens the store: what it acknowledged before is there when this returns. It is not registered yet,
    /// and nobody asks anything of it before it [joined](Self::join).
    pub async fn open(
        options: StoreOptions,
        mut parts: Parts,
        cluster: ClusterParts,
        supervisor: &Supervisor,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        let bucket_owner = Owner::default();
        let meta = Arc::clone(&parts.meta);
        let record = open::cluster(&meta, &parts.bucket, &parts.clock, &bucket_owner).await?;
        memory::check(&parts.directory, &record, meta.seen())?;
        rot::check(&parts.directory)?;
        let is_gone = |live: Live| is_gone(live, cluster.mesh.clone(), supervisor.clone());
        let patience = 2 * cluster.lease_ttl;
        let directory = &mut parts.directory;
        let claim = identity::claim_among_others(&*meta, options.node, directory, is_gone, patience).await?;
        let leader = claim.leader;
        let follow = Arc::new(Follow::default());
        let (mirror, following) = Mirror::open(Arc::clone(&meta), Some(Arc::clone(&follow) as _)).await?;
        let mut pointers = std::collections::HashMap::new();
        for stored in meta.read_all(&keys::pointers()).await?.items {
            let id = keys::parse_partition(&stored.key);
            let id = id.ok_or_else(|| OpenError::StrangeKey(stored.key.clone()))?;
            pointers.insert(id, stored.value);
        }

        let mesh = Mesh::new(cluster.mesh.clone(), records::instance(leader), supervisor);
        let (isr, reads, resigned) =
            (Arc::<IsrChanges>::default(), Arc::<PointerReads>::default(), Arc::<Resigned>::default());
        let frame = Frame {
            identity: Identity { cluster: record, leader },
            commitment: Commitment::Checkpoints,
            replication: cluster.replication,
            bucket_owner,
        };
        let tasks = supervisor.clone();
        let together = |node: &Weak<Node>| -> Arc<dyn Outside> {
            Arc::new(Together {
                node: Weak::clone(node),
                mesh: mesh.clone(),
                isr: Arc::clone(&isr),
                pointers: Arc::clone(&reads),
                resigned: Arc::clone(&resigned),
                tasks: tasks.clone(),
            })
        };
        // In-sync sets count on this directory for everything that was acknowledged: with a hole it must not
        // come back as the same replica.
        parts.journal.on_damage = OnDamage::Refuse;
        let assembled = open::assemble(&options, parts, frame, pointers.clone(), together);
        let Assembled { node, mut recovery, inbox, report } = assembled.map_err(|error| match error {
            OpenError::Journal(error) if error.is_damage() => OpenError::Replica(error),
            error => error,
        })?;
        let hosted: Arc<dyn Replicas> = Arc::new(Hosted(Arc::downgrade(&node)));
        mesh.attach(Arc::downgrade(&hosted));

        open::start(&node, &options, inbox, Vec::new(), supervisor);
        let stop = || supervisor.token();
        supervisor.spawn("isr", isr::run(Arc::clone(&node), Arc::clone(&mirror), isr, stop()));
        supervisor.spawn("pointers", pointers::run(Arc::clone(&node), reads, stop()));
        supervisor.spawn("ticker", ticker::run(Arc::clone(&node), stop()));
        supervisor.spawn("remember", remember(Arc::clone(&node), hosted, stop()));
        supervisor.spawn_until_cancelled("image", following);
        let mut follower = Follower {
            node: Arc::clone(&node),
            mirror: Arc::clone(&mirror),
            mesh: mesh.clone(),
            found: Found { logs: recovery.take_all(), pointers },
            tasks: supervisor.clone(),
        };
        follower.open_all().await;
        supervisor.spawn("follow", follower.run(follow, stop()));

        let control = Arc::new(Control {
            node: Arc::clone(&node),
            mirror: Arc::clone(&mirror),
            resigned,
            token: AtomicU64::new(0),
        });
        let opened = Self {
            store: Store { node },
            mirror,
            mesh,
            control,
            claim,
            parts: cluster,
            tasks: supervisor.clone(),
            registration: Mutex::default(),
            lease: watch::Sender::new(None),
        };
        Ok((opened, report))
    }

    /// Registers where others reach it, and stays registered: from here on it follows and leads. Returns
    /// when it is registered. The process ends when another start of the node takes its place.
    pub async fn join(&self, address: String) -> Result<(), IdentityError> {
        let Leader { node: id, directory, boot } = self.claim.leader;
        let live = Live {
            node: id,
            directory,
            boot,
            address,
            rack: self.parts.rack.clone(),
            software: self.parts.software.clone(),
            roles: vec![NodeRole::Store],
            draining: false,
        };
        let site = Site { node: &self.store.node, mirror: &self.mirror, claim: self.claim };
        let registration = site.register(live, self.parts.lease_ttl, &self.lease, &self.tasks);
        let mut registered = registration.lease();
        *self.registration.lock() = Some(registration);
        let is_registered = registered.wait_for(Option::is_some).await.is_ok();
        if is_registered { Ok(()) } else { Err(site.why_refused().await) }
    }

    pub fn cluster(&self) -> ClusterId {
        self.store.cluster()
    }

    /// This start of the store.
    pub fn leader(&self) -> Leader {
        self.store.node.identity.leader
    }

    /// The cluster as the store knows it.
    pub fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.mirror)
    }

    /// The lease that it is registered under, while it may act on it.
    pub fn lease(&self) -> watch::Receiver<Option<LeaseId>> {
        self.lease.subscribe()
    }

    /// Its partitions and topics.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What serves the lanes that leaders open.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// What serves the controller.
    pub fn control(&self) -> Arc<dyn StoreControl> {
        Arc::clone(&self.control) as _
    }

    /// Tells the cluster that it wants to lead nothing and hold nothing new.
    pub fn drain(&self) {
        if let Some(registration) = &*self.registration.lock() {
            registration.replace(|live| Live { draining: true, ..live.clone() });
        }
    }

    /// Ends its registration and its lanes, waits until what it took is durable, and closes the journal.
    /// The internal port is closed before.
    pub async fn close(&self) {
        let registration = self.registration.lock().take();
        if let Some(registration) = registration {
            registration.end().await;
        }
        if let Err(unfinished) = self.mesh.shut_down(CLOSE_WITHIN).await {
            tracing::warn!(%unfinished, "lanes to other stores did not end in time");
        }
        let node = &self.store.node;
        if let Err(error) = memory::remember(&node.directory, &node.identity.cluster, node.meta.seen()) {
            tracing::warn!(%error, "how far the metadata store has come is not remembered");
        }
        self.store.close().await;
    }
}

impl std::fmt::Debug for ClusterStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterStore").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Whether nobody listens where a start of a store registered. A host that does not answer says nothing.
async fn is_gone(live: Live, mesh: MeshOptions, supervisor: Supervisor) -> bool {
    let mut options = RemoteOptions::new(live.address, mesh.tls, mesh.budget);
    options.client_id = mesh.client_id;
    options.connect_timeout = mesh.connect_timeout;
    Remote::new(options, &supervisor).connect().await.is_err_and(|error| error.is_refused())
}

/// Keeps the data directory's memory of the metadata store. Owns what the mesh calls, which holds the
/// node weakly.
async fn remember(node: Arc<Node>, _hosted: Arc<dyn Replicas>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(REMEMBER_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let seen = node.meta.seen();
        let owner = Arc::clone(&node);
        let written = tokio::task::spawn_blocking(move || {
            memory::remember(&owner.directory, &owner.identity.cluster, seen)
        });
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "how far the metadata store has come is not remembered");
        }
    }
}

#[cfg(test)]
mod tests;
