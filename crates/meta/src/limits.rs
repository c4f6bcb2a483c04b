//! The bounds of the metadata store. They are etcd's defaults or below, so that what one
//! implementation takes the other does not refuse.

use std::time::Duration;

/// Most comparisons, and most operations, in one transaction (etcd's `--max-txn-ops`).
pub const TXN_OPS_MAX: usize = 128;

/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of keys and values in one transaction (etcd's `--max-request-bytes` is 1.5 MiB and counts
/// some framing too).
pub const TXN_BYTES_MAX: usize = 1024 * 1024 + 256 * 1024;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Shortest and longest time to live of a lease.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(1);
pub const LEASE_TTL_MAX: Duration = Duration::from_hours(1);
