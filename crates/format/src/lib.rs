//! The bytes: record batches, journal frames, segments, manifests.

pub mod batch;
pub mod checksum;
mod cursor;
pub mod descriptor;
pub mod journal;
pub mod key;
pub mod manifest;
pub mod object;
pub mod pointer;
pub mod segment;
pub mod state;
