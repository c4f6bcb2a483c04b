//! Our words to etcd's and back.

use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{Compare as EtcdCompare, CompareOp, KeyValue, PutOptions, Txn as EtcdTxn, TxnOp};

use crate::{Compare, Entry, LeaseId, MetaError, Op, Revision, Txn, ValueError};

pub(super) fn entry(found: KeyValue, prefix: &str) -> Result<Entry, MetaError> {
    let create_revision = revision(found.create_revision());
    let mod_revision = revision(found.mod_revision());
    let version = found.version().max(0).unsigned_abs();
    let lease = Some(LeaseId(found.lease())).filter(|lease| lease.0 != 0);
    let (path, value) = found.into_key_value();
    let key = key(&path, prefix)?;
    Ok(Entry { key, value: Bytes::from(value), create_revision, mod_revision, version, lease })
}

/// The key without the prefix. Only someone else can have put one that is no text.
pub(super) fn key(path: &[u8], prefix: &str) -> Result<Arc<str>, MetaError> {
    let key = std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(prefix));
    key.map(Arc::from).ok_or_else(|| {
        let key = String::from_utf8_lossy(path).into_owned();
        let reason = "the key is not one of this program's".to_owned();
        ValueError::Damaged { key, kind: "etcd", reason }.into()
    })
}

pub(super) fn revision(number: i64) -> Revision {
    Revision(number.max(0).unsigned_abs())
}

pub(super) fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn txn(txn: &Txn, prefix: &str) -> EtcdTxn {
    let compares: Vec<_> = txn.compares.iter().map(|compare| self::compare(compare, prefix)).collect();
    let ops: Vec<_> = txn.ops.iter().map(|op| self::op(op, prefix)).collect();
    EtcdTxn::new().when(compares).and_then(ops)
}

fn compare(compare: &Compare, prefix: &str) -> EtcdCompare {
    let path = format!("{prefix}{}", compare.key());
    match compare {
        Compare::Absent { .. } => EtcdCompare::version(path, CompareOp::Equal, 0),
        Compare::Exists { .. } => EtcdCompare::version(path, CompareOp::Greater, 0),
        // For etcd, a key that does not exist has revision 0; for us, it has none.
        Compare::CreateRevision { revision, .. } | Compare::ModRevision { revision, .. }
            if *revision == Revision::NONE =>
        {
            EtcdCompare::version(path, CompareOp::Less, 0)
        }
        Compare::CreateRevision { revision, .. } => {
            EtcdCompare::create_revision(path, CompareOp::Equal, number(*revision))
        }
        Compare::ModRevision { revision, .. } => {
            EtcdCompare::mod_revision(path, CompareOp::Equal, number(*revision))
        }
        Compare::ValueIs { value, .. } => EtcdCompare::value(path, CompareOp::Equal, value.to_vec()),
    }
}

fn op(op: &Op, prefix: &str) -> TxnOp {
    let path = format!("{prefix}{}", op.key());
    match op {
        Op::Put { value, lease, .. } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(path, value.to_vec(), options)
        }
        Op::Delete { .. } => TxnOp::delete(path, None),
    }
}

/// The lease that a transaction was refused for. etcd does not say which; ours name one at most.
pub(super) fn lease_of(txn: &Txn) -> Option<LeaseId> {
    txn.ops.iter().find_map(|op| match op {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } => None,
    })
}

/// The first key after all that begin with `prefix`, which is text and not empty.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
