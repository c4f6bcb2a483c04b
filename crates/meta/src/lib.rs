//! Cluster metadata: typed keys, transactions, watches, leases, elections.
//!
//! Owns the trait [`Meta`], which speaks etcd's dialect (revisions, compare-and-put transactions,
//! watches from a revision, leases), the list of keys with what each holds ([`keys`]), and two
//! implementations: [`Etcd`] for clusters, and [`Embedded`] on a local disk for a single process. Both pass
//! one conformance suite. Knows nothing of why a partition's epoch is raised or when: that is the
//! business of the store and the controller.

#[cfg(feature = "conformance")]
pub mod conformance;
mod counts;
pub mod election;
mod embedded;
mod error;
pub mod etcd;
pub mod image;
pub mod keys;
pub mod lease;
pub mod limits;
mod meta;
mod monotonic;
pub mod registration;
pub mod settle;
mod txn;
mod typed;
pub mod value;
mod watch;

pub use counts::Counts;
pub use embedded::{Creation, Embedded, OpenError};
pub use error::MetaError;
pub use etcd::{Etcd, EtcdOptions};
pub use image::{Held, Image, Mirror, NodeImage, Presence};
pub use keys::{Key, Prefix};
pub use lease::{HeldLease, LeaseEnd, LeaseKeeper};
pub use meta::{Entry, Lease, LeaseId, Listing, Meta, Revision, Seen, SharedMeta};
pub use monotonic::{ManualMonotonic, MonotonicClock, SharedMonotonic, SystemMonotonic};
pub use registration::Registration;
pub use txn::{Compare, Op, Txn, TxnOutcome};
pub use typed::{Stored, StoredList, TypedMeta};
pub use value::{
    Cluster, Drain, Frontend, Leader, Live, Node, Partition, ProducerIds, Replica, Role, Topic,
    TopicNameOwner, Value, ValueError,
};
pub use watch::{Changes, Event, Watch, WatchError, WatchSource};
