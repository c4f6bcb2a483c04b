//! The bytes: record batches, journal frames, segments, manifests.

pub mod batch;
pub mod checksum;
mod cursor;
pub mod object;
pub mod state;
