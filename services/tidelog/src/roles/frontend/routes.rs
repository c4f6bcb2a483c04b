//! Where a frontend sends what clients ask: to the stores that lead, by the image of the cluster.

use std::sync::Arc;

use tidelog_frontend::{Router, RouterOptions, SharedTail, TailOptions};
use tidelog_peer::{ClusterAdmin, PartitionStore, Topics};
use tidelog_wire::ByteBudget;

use super::Ground;
use crate::settings::Settings;

/// The cluster, as a frontend calls it.
pub struct Routes {
    pub store: Arc<dyn PartitionStore>,
    pub topics: Arc<dyn Topics>,
    pub cluster: Option<Arc<dyn ClusterAdmin>>,
}

/// Opens the ways to the stores; what is new in a partition comes from its store once, however many read it.
pub fn open(settings: &Settings, ground: &Ground) -> Routes {
    let budget = ByteBudget::new(settings.listen_read_bytes.as_usize());
    let mut options = RouterOptions::new(ground.tls.clone(), budget);
    options.rack = settings.rack();
    "frontend".clone_into(&mut options.client_id);
    let (mirror, meta) = (Arc::clone(&ground.mirror), Arc::clone(&ground.meta));
    let router = Arc::new(Router::start(options, mirror, meta, &ground.supervisor));
    let store = Arc::clone(&router) as Arc<dyn PartitionStore>;
    let tail = SharedTail::new(store, TailOptions::default(), &ground.metrics, &ground.supervisor);
    let (topics, cluster) = (Arc::clone(&router) as Arc<dyn Topics>, Some(router as Arc<dyn ClusterAdmin>));
    Routes { store: Arc::new(tail), topics, cluster }
}
