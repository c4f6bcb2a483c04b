//! `live/{node}`: a running store. Bound to its lease, so that it vanishes with it.

use serde::{Deserialize, Serialize};
use tidelog_model::{DirectoryId, NodeId};

use super::JsonValue;

/// Where a running node is reached, and what others need to know of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    pub node: NodeId,
    pub directory: DirectoryId,
    pub boot: u64,
    /// `host:port` of its internal port.
    pub address: String,
    /// Where it stands; replicas of a partition are spread over racks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its version, for people.
    pub software: String,
    pub roles: Vec<Role>,
    /// It wants to lead nothing and hold nothing new.
    #[serde(default)]
    pub draining: bool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Store,
    Frontend,
}

impl JsonValue for Live {
    const NAME: &'static str = "live node";
    const VERSION: u32 = 1;
}
