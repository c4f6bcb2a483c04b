//! The bounds of the metadata store. They are etcd's defaults or below, so that what one
//! implementation takes the other does not refuse.

use std::time::Duration;

use crate::MetaError;

/// Most comparisons, and most operations, in one transaction (etcd's `--max-txn-ops`).
pub const TXN_OPS_MAX: usize = 128;

/// Largest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Most bytes of keys and values in one transaction (etcd's `--max-request-bytes` is 1.5 MiB and counts
/// some framing too).
pub const TXN_BYTES_MAX: usize = 1024 * 1024 + 256 * 1024;

/// Most bytes of keys and values in one listing. Whoever has more lists it in parts.
pub const LIST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Shortest and longest time to live of a lease.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(1);
pub const LEASE_TTL_MAX: Duration = Duration::from_hours(1);

pub(crate) fn check_list(bytes: usize) -> Result<(), MetaError> {
    if bytes > LIST_BYTES_MAX {
        return Err(MetaError::Invalid(format!(
            "a listing of more than {LIST_BYTES_MAX} bytes; list parts of it"
        )));
    }
    Ok(())
}

/// The time to live to ask for: raised to what is possible, refused when it is too long.
pub(crate) fn check_ttl(ttl: Duration) -> Result<Duration, MetaError> {
    if ttl > LEASE_TTL_MAX {
        return Err(MetaError::Invalid(format!("a lease of {ttl:?}, at most {LEASE_TTL_MAX:?} is allowed")));
    }
    Ok(ttl.max(LEASE_TTL_MIN))
}
