//! Cluster metadata: typed keys, transactions, watches, leases, elections.
//!
//! Owns the trait [`Meta`], which speaks etcd's dialect (revisions, compare-and-put transactions,
//! watches from a revision, leases), the list of keys with what each holds ([`keys`]), and the
//! implementation on a local disk ([`Embedded`]). Knows nothing of why a partition's epoch is raised or
//! when: that is the store's business.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod election;
mod embedded;
mod error;
pub mod keys;
pub mod limits;
mod meta;
mod monotonic;
mod txn;
mod typed;
pub mod value;
mod watch;

pub use embedded::{Creation, Embedded, OpenError};
pub use error::MetaError;
pub use keys::{Key, Prefix};
pub use meta::{Entry, Lease, LeaseId, Listing, Meta, Revision, SharedMeta};
pub use monotonic::{ManualMonotonic, MonotonicClock, SystemMonotonic};
pub use txn::{Compare, Op, Txn, TxnOutcome};
pub use typed::{Stored, StoredList, TypedMeta};
pub use value::{
    Cluster, Leader, Node, Partition, ProducerIds, Replica, Topic, TopicNameOwner, Value, ValueError,
};
pub use watch::{Changes, Event, Watch, WatchError, WatchSource};
