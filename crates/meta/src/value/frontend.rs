//! `frontend/{frontend}`: a running frontend. Bound to its lease, so that it vanishes with it.

use serde::{Deserialize, Serialize};

use super::JsonValue;

/// Where clients reach a frontend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// `host:port` that clients are told.
    pub address: String,
    /// `host:port` of health, metrics and administration.
    pub http: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its version, for people.
    pub software: String,
}

impl JsonValue for Frontend {
    const NAME: &'static str = "frontend";
    const VERSION: u32 = 1;
}
