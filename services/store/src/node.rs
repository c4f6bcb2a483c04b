//! What everything in a store shares.

use std::sync::Arc;
use std::time::Duration;

use tidelog_cold::descriptor::Descriptors;
use tidelog_cold::{Bucket, ColdReader, Tier};
use tidelog_journal::{Directory, Journal};
use tidelog_meta::SharedMeta;
use tidelog_meta::value::{Cluster, Leader};
use tidelog_model::SharedClock;
use tidelog_peer::StoreError;

use crate::boot::bucket::Owner;
use crate::boot::recovery::Commitment;
use crate::metrics::StoreMetrics;
use crate::offload::scheduler::Offloader;
use crate::partition::outside::Outside;
use crate::partition::step::Ticks;
use crate::producer_ids::ProducerIdSource;
use crate::topics::catalog::Catalog;
use crate::topics::scribe::Scribe;

/// Who this store is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) cluster: Cluster,
    /// This start of this node, as leader of its partitions.
    pub(crate) leader: Leader,
}

pub(crate) struct Node {
    pub(crate) identity: Identity,
    pub(crate) clock: SharedClock,
    pub(crate) meta: SharedMeta,
    pub(crate) journal: Journal,
    /// Whether what the journal has is all committed.
    pub(crate) commitment: Commitment,
    /// How replicas behave.
    pub(crate) replication: tidelog_replica::Config,
    pub(crate) ticks: Ticks,
    pub(crate) outside: Arc<dyn Outside>,
    /// How long a batch may wait for room in it.
    pub(crate) room_timeout: Duration,
    pub(crate) bucket: Bucket,
    pub(crate) descriptors: Descriptors,
    pub(crate) tier: Tier,
    pub(crate) cold: ColdReader,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) producer_ids: ProducerIdSource,
    pub(crate) scribe: Arc<Scribe>,
    pub(crate) offloader: Offloader,
    pub(crate) bucket_owner: Owner,
    pub(crate) metrics: StoreMetrics,
    /// Holds the data directory's lock.
    pub(crate) directory: Arc<Directory>,
}

impl Node {
    /// Nothing is written to the bucket before it was seen to be ours.
    pub(crate) async fn owner(&self) -> Result<(), StoreError> {
        self.bucket_owner.verify(&self.bucket, &self.identity.cluster, self.clock.now()).await
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("identity", &self.identity).finish_non_exhaustive()
    }
}
