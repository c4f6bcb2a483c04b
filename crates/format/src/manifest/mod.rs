//! The manifest of a partition: a tree of immutable nodes that lists its segments in order.
//!
//! ```text
//!                        root (named by the pointer)
//!    ┌────────────┬──────────┬──────────┬─────────┬─────────┐
//!  group L2     group L1   group L1   segment   segment   segment     oldest … newest
//!    │            └ 512 segments …
//!    └ 512 groups of level 1 …
//! ```
//!
//! A node holds entries of one size. The root takes new segments at its end; when it has more than
//! [`ROOT_ENTRIES_MAX`] entries, the oldest [`GROUP_ENTRIES_MAX`] of one level fold into a group. So
//! a root stays near 100 KiB however long the log is, publishing rewrites only the root, and any
//! offset or timestamp of a hundred million segments is found in three small reads.
//!
//! This module is the bytes and the arithmetic of that tree. It reads and writes nothing: a lookup
//! says which node to look into next.

mod entry;
mod group;
mod root;
mod tree;

#[cfg(test)]
mod tests;

pub use entry::{ENTRY_BYTES, Entry, LEVEL_MAX, NODE_ENTRIES_MAX};
pub use group::Group;
pub use root::{Root, RootRef, StateRef};
pub use tree::{Publication, PublicationError, Shape, Step, find_offset, find_timestamp};

/// A root with more entries folds the oldest.
pub const ROOT_ENTRIES_MAX: usize = 1024;

/// Most entries that fold into one group.
pub const GROUP_ENTRIES_MAX: usize = 512;
