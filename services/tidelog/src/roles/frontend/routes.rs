//! Where a frontend sends what clients ask: to the stores that lead, by the image of the cluster.

use std::sync::Arc;

use tidelog_peer::{PartitionStore, Topics};

use super::Ground;
use crate::exit::{Code, Failure};
use crate::settings::Settings;

/// The cluster, as a frontend calls it.
pub struct Routes {
    pub store: Arc<dyn PartitionStore>,
    pub topics: Arc<dyn Topics>,
}

/// Opens the ways to the stores.
pub fn open(_settings: &Settings, _ground: &Ground) -> anyhow::Result<Routes> {
    Err(Failure::error(Code::Failed, "this build has no way from a frontend to the stores"))
}
