//! This start of the node, registered for as long as it lives and nobody takes its place.
//!
//! Two processes with one node id are the hazard: a copied data directory, a container started twice.
//! The node's key names the newest start; whatever is registered compares the key's revision, so an older
//! start never comes back, and it ends as soon as it sees the key changed. Until it does, epochs keep it
//! from doing harm.

use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::image::Mirror;
use tidelog_meta::registration::{Registration, register_while};
use tidelog_meta::{HeldLease, LeaseId, Live, TypedMeta as _, keys};
use tidelog_replica::Event;
use tidelog_runtime::Supervisor;
use tokio::sync::watch;

use crate::boot::identity::{Claim, IdentityError};
use crate::node::Node;
use crate::partition::step::NoSink;

/// What a registration is made from.
pub(super) struct Site<'a> {
    pub(super) node: &'a Arc<Node>,
    pub(super) mirror: &'a Arc<Mirror>,
    pub(super) claim: Claim,
}

impl Site<'_> {
    /// Registers, again and again for ever. `lease` tells the lease while it may be acted on; the process
    /// ends when the node is not this start's any more.
    pub(super) fn register(
        &self,
        live: Live,
        ttl: Duration,
        lease: &watch::Sender<Option<LeaseId>>,
        tasks: &Supervisor,
    ) -> Registration<Live> {
        let (claim, token) = (self.claim, tasks.token());
        let (node, mirror) = (Arc::clone(self.node), Arc::clone(self.mirror));
        let meta = Arc::clone(&node.meta);
        let key = keys::live(live.node);
        let (registration, task) = register_while(meta, ttl, key, live, vec![claim.compare()]);
        tasks.spawn_until_cancelled("fence", fence(Arc::clone(&node), registration.held(), lease.clone()));
        let stop = token.clone();
        tasks.spawn_fallible("registration", async move {
            match stop.run_until_cancelled(task).await {
                Some(Err(_)) => {
                    let site = Site { node: &node, mirror: &mirror, claim };
                    Err(site.why_refused().await)
                }
                Some(Ok(())) | None => Ok(()),
            }
        });
        let (node, mirror) = (Arc::clone(self.node), Arc::clone(self.mirror));
        tasks.spawn_fallible("identity", async move {
            let replaced = token.run_until_cancelled(replaced(&mirror, claim)).await;
            let Some(replaced) = replaced else { return Ok(()) };
            lead_nothing(&node);
            Err(replaced)
        });
        registration
    }

    /// Why the node is not this start's any more.
    pub(super) async fn why_refused(&self) -> IdentityError {
        let node = self.claim.leader.node;
        match self.node.meta.read(&keys::node(node)).await {
            Ok(found) => {
                let found = found.as_ref().map(|stored| (&stored.value, stored.mod_revision));
                self.claim.check(found).err().unwrap_or(IdentityError::Contended { node })
            }
            Err(error) => error.into(),
        }
    }
}

/// Resolves when the cluster's image shows the node's key as someone else's.
async fn replaced(mirror: &Mirror, claim: Claim) -> IdentityError {
    let node = claim.leader.node;
    let mut versions = mirror.versions();
    loop {
        versions.mark_unchanged();
        let checked = {
            let image = mirror.image();
            // A key that cannot be read is of a newer program; what is known of it stays.
            let found = image.nodes.get(&node).and_then(|node| node.registered.as_ref());
            claim.check(found.map(|held| (&held.value, held.revision)))
        };
        if let Err(replaced) = checked {
            return replaced;
        }
        if versions.changed().await.is_err() {
            // The mirror is no more: neither is the process.
            std::future::pending::<()>().await;
        }
    }
}

/// Leads nothing while there is no lease that it may act on; others may believe it dead then.
async fn fence(
    node: Arc<Node>,
    mut held: watch::Receiver<Option<HeldLease>>,
    lease: watch::Sender<Option<LeaseId>>,
) {
    loop {
        let Some(current) = held.borrow_and_update().clone().filter(HeldLease::is_valid) else {
            if held.changed().await.is_err() {
                return;
            }
            continue;
        };
        lease.send_replace(Some(current.id()));
        let id = Some(current.id());
        // Another lease than this one says that there was a time without any.
        let ended = tokio::select! {
            () = current.lost() => false,
            other = held.wait_for(|held| held.as_ref().map(HeldLease::id) != id) => other.is_err(),
        };
        lease.send_replace(None);
        tracing::warn!("the lease is over, or may be: this store leads nothing until it has another");
        lead_nothing(&node);
        if ended {
            return;
        }
    }
}

fn lead_nothing(node: &Node) {
    for partition in node.catalog.partitions() {
        partition.step(Event::Fenced, None, &mut NoSink);
    }
}
