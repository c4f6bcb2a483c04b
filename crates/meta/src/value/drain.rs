//! `drain/{node}`: an operator wants a node to be spared. Outlives the node's process and the controller.

use serde::{Deserialize, Serialize};
use tidelog_model::TimestampMs;

use super::JsonValue;

/// What an operator asked for: the node leads nothing and gets no new replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// The replicas that it has move elsewhere too: it is to leave for good.
    pub decommission: bool,
    pub asked: TimestampMs,
}

impl JsonValue for Drain {
    const NAME: &'static str = "drain";
    const VERSION: u32 = 1;
}
