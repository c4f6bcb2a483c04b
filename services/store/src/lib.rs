//! The store.
#![allow(dead_code)]
mod error;
mod offload;
mod partition;
mod produce;
mod producer_ids;
mod tiered;
mod topics;
