//! Transactions: comparisons, and what to change when they all hold.

use std::collections::HashSet;

use bytes::Bytes;

use crate::limits::{KEY_BYTES_MAX, TXN_BYTES_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};
use crate::{Key, LeaseId, MetaError, Revision, Value};

/// A condition on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent { key: String },
    /// The key exists.
    Exists { key: String },
    /// The key exists and began to at this revision.
    CreateRevision { key: String, revision: Revision },
    /// The key exists and was last put at this revision.
    ModRevision { key: String, revision: Revision },
    /// The key exists and has this value.
    ValueIs { key: String, value: Bytes },
}

impl Compare {
    pub fn key(&self) -> &str {
        match self {
            Self::Absent { key }
            | Self::Exists { key }
            | Self::CreateRevision { key, .. }
            | Self::ModRevision { key, .. }
            | Self::ValueIs { key, .. } => key,
        }
    }
}

/// A change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Sets the value, and binds the key to the lease or frees it from the one it had.
    Put { key: String, value: Bytes, lease: Option<LeaseId> },
    /// Removes the key; a key that does not exist is no error.
    Delete { key: String },
}

impl Op {
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// All of `ops` if all of `compares` hold, else nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[must_use = "a transaction does nothing until it is handed to Meta::txn"]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conflict means that nothing was changed"]
pub enum TxnOutcome {
    /// Applied and durable. The revision is the one that the changed keys now carry.
    Committed(Revision),
    /// A comparison did not hold at this revision; nothing was changed.
    Conflict(Revision),
}

impl TxnOutcome {
    /// The revision of the commit, or `None` on a conflict.
    pub fn committed(self) -> Option<Revision> {
        match self {
            Self::Committed(revision) => Some(revision),
            Self::Conflict(_) => None,
        }
    }
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    /// Only if the key does not exist.
    pub fn when_absent<V>(self, key: &Key<V>) -> Self {
        self.when(Compare::Absent { key: key.to_string() })
    }

    /// Only if the key was last put at `revision`; [`Revision::NONE`] means that it must not exist.
    pub fn when_unchanged<V>(self, key: &Key<V>, revision: Revision) -> Self {
        if revision == Revision::NONE {
            return self.when_absent(key);
        }
        self.when(Compare::ModRevision { key: key.to_string(), revision })
    }

    pub fn op(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    pub fn put<V: Value>(self, key: &Key<V>, value: &V) -> Self {
        self.op(Op::Put { key: key.to_string(), value: value.encode(), lease: None })
    }

    pub fn put_leased<V: Value>(self, key: &Key<V>, value: &V, lease: LeaseId) -> Self {
        self.op(Op::Put { key: key.to_string(), value: value.encode(), lease: Some(lease) })
    }

    pub fn delete<V>(self, key: &Key<V>) -> Self {
        self.op(Op::Delete { key: key.to_string() })
    }

    /// Whether another comparison and another operation fit into this transaction.
    pub fn has_room(&self) -> bool {
        self.compares.len() < TXN_OPS_MAX && self.ops.len() < TXN_OPS_MAX
    }

    pub fn is_empty(&self) -> bool {
        self.compares.is_empty() && self.ops.is_empty()
    }

    /// Every implementation refuses what this refuses, before it sends anything.
    pub fn check(&self) -> Result<(), MetaError> {
        let largest = self.compares.len().max(self.ops.len());
        if largest > TXN_OPS_MAX {
            return invalid(format!(
                "{largest} operations in one transaction, at most {TXN_OPS_MAX} are allowed"
            ));
        }
        let mut bytes = 0;
        for compare in &self.compares {
            check_key(compare.key())?;
            bytes += compare.key().len();
            if let Compare::ValueIs { value, .. } = compare {
                bytes += value.len();
            }
        }
        let mut changed = HashSet::new();
        for op in &self.ops {
            check_key(op.key())?;
            bytes += op.key().len();
            if !changed.insert(op.key()) {
                return invalid(format!("{:?} is changed twice in one transaction", op.key()));
            }
            if let Op::Put { key, value, .. } = op {
                if value.len() > VALUE_BYTES_MAX {
                    return invalid(format!(
                        "the value of {key:?} has {} bytes, at most {VALUE_BYTES_MAX} are allowed",
                        value.len()
                    ));
                }
                bytes += value.len();
            }
        }
        if bytes > TXN_BYTES_MAX {
            return invalid(format!("{bytes} bytes in one transaction, at most {TXN_BYTES_MAX} are allowed"));
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), MetaError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return invalid(format!("a key has 1 to {KEY_BYTES_MAX} bytes, this one has {}", key.len()));
    }
    Ok(())
}

fn invalid<T>(reason: String) -> Result<T, MetaError> {
    Err(MetaError::Invalid(reason))
}
