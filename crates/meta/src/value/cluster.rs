//! `cluster`: who this cluster is.

use serde::{Deserialize, Serialize};
use tidelog_model::{ClusterId, Incarnation, TimestampMs};

use super::JsonValue;

/// The cluster's identity. It must agree with the descriptor in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub id: ClusterId,
    /// Which of its lives in the bucket this is.
    pub incarnation: Incarnation,
    pub created: TimestampMs,
}

impl JsonValue for Cluster {
    const NAME: &'static str = "cluster";
    const VERSION: u32 = 1;
}
