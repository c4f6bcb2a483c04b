//! `node/{node}`: which disk a node last started with, and how often.

use serde::{Deserialize, Serialize};
use tidelog_model::DirectoryId;

use super::JsonValue;

/// A node's identity, matched by compare-and-swap at each start: a node that comes back with another or
/// an older directory is not who it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub directory: DirectoryId,
    /// How often the directory was started with; part of what leads a partition.
    pub boot: u64,
}

impl JsonValue for Node {
    const NAME: &'static str = "node";
    const VERSION: u32 = 1;
}
