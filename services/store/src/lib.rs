//! The store: the partitions that a node holds, and those of them that it leads.
//!
//! Gives every batch its place, keeps the hot tier's journal and the bucket in step, recognises repeated
//! batches, answers where a record is, and looks after the topics. Knows nothing of connections: it is
//! called through the traits of `tidelog-peer`.

mod boot;
mod cluster;
mod error;
mod fetch;
mod journal_sink;
mod metrics;
mod node;
mod offload;
mod open;
mod options;
mod partition;
mod produce;
mod producer_ids;
mod records;
mod retention;
mod rot;
mod store;
mod tiered;
mod topics;

pub use boot::bucket::OwnerError;
pub use boot::identity::IdentityError;
pub use boot::memory::MemoryError;
pub use boot::recovery::Gap;
pub use cluster::{ClusterParts, ClusterStore};
pub use open::{OpenError, Parts};
pub use options::StoreOptions;
pub use rot::RotError;
pub use store::Store;
