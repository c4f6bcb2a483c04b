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

/// Opens the ways to the stores.
pub fn open(settings: &Settings, ground: &Ground) -> Routes {
    let replies = ByteBudget::new(settings.listen_read_bytes.as_usize());
    let mut options = RouterOptions::new(ground.tls.clone(), replies);
    options.rack = Some(settings.node_rack.clone()).filter(|rack| !rack.is_empty());
    options.client_id = format!("frontend-{}", std::process::id());
    let router =
        Router::start(options, Arc::clone(&ground.mirror), Arc::clone(&ground.meta), &ground.supervisor);
    let store: Arc<dyn PartitionStore> = Arc::new(router.clone());
    let tail = SharedTail::new(store, TailOptions::default(), &ground.metrics, &ground.supervisor);
    Routes { store: Arc::new(tail), topics: Arc::new(router.clone()), cluster: Some(Arc::new(router)) }
}
