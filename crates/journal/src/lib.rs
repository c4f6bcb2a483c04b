//! The hot tier's journal: one sequence of files per data directory, shared by all partitions.
//!
//! Owns the files below `journal/`, the thread that writes them, what is where in them, the newest
//! batches in memory, and the identity and lock of a data directory. Appends are durable when they
//! complete. Knows nothing of leadership, of what a record means, or of the bucket beyond the mark
//! up to which each partition is there.

// Unit tests share the support of the integration tests, which names the crate.
#[cfg(test)]
extern crate self as tidelog_journal;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;

mod aligned;
mod append;
pub mod bare;
mod config;
pub mod directory;
mod disk;
mod error;
mod extent;
mod files;
mod index;
mod journal;
mod keeper;
mod read;
mod recovery;
mod replay;
mod scan;
mod seal;
mod space;
mod writer;

pub use append::{Append, Done, Position, Reservation};
pub use config::{Direct, JournalConfig, OnDamage};
pub use directory::{Directory, DirectoryError};
pub use error::{AppendError, Fatal, OpenError, ReadError};
pub use index::Local;
pub use journal::{Journal, JournalStats};
pub use recovery::{Damage, RecoveryReport};
pub use replay::{Checkpoints, Replay};
pub use scan::Scan;
pub use tidelog_format::journal::PartitionCheckpoint;
