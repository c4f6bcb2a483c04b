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

/// Room for the key of a record in a transaction that compares the record and puts it.
pub const RECORD_KEY_ROOM: usize = 256;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// Shortest and longest time to live of a lease.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(1);
pub const LEASE_TTL_MAX: Duration = Duration::from_hours(1);

/// Puts items that go into transactions together, in their order: as many to each as there may be, with at
/// most `bytes_max` by what `bytes` says of each, and at least one.
pub fn pack<T>(
    items: Vec<T>,
    items_max: usize,
    bytes_max: usize,
    bytes: impl Fn(&T) -> usize,
) -> Vec<Vec<T>> {
    let mut packed: Vec<Vec<T>> = Vec::new();
    let mut filled = 0;
    for item in items {
        let size = bytes(&item);
        match packed.last_mut() {
            Some(last) if last.len() < items_max && filled + size <= bytes_max => {
                last.push(item);
                filled += size;
            }
            _ => {
                packed.push(vec![item]);
                filled = size;
            }
        }
    }
    packed
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_packed_by_number_and_by_size_and_none_is_left_out() {
        let packed = pack(vec![3, 3, 3, 9, 1, 1, 1], 3, 6, |size| *size);
        assert_eq!(packed, [vec![3, 3], vec![3], vec![9], vec![1, 1, 1]]);
        assert!(pack(Vec::<usize>::new(), 3, 6, |size| *size).is_empty());
    }
}
