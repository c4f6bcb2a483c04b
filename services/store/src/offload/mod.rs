//! Moving records from the hot tier to the bucket.

mod commit;
pub(crate) mod cutter;
pub(crate) mod due;
pub(crate) mod error;
mod job;
mod pass;
pub(crate) mod scheduler;
