//! The cold tier: segments and manifests in a bucket.

pub mod bucket;
pub mod descriptor;
mod flight;
pub mod inspect;
pub mod manifest;
