//! Who this node is: a data directory that has to be the one the node ran on last, and no older copy.

use thiserror::Error;
use tidelog_meta::value::{Leader, Node};
use tidelog_meta::{Meta, MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::{DirectoryId, NodeId};

/// The node is not who the metadata store says it is.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error(
        "node {node} last ran on data directory {expected}, and this is {found}: records that only the \
         other one has would be missing. Start with that directory"
    )]
    OtherDirectory { node: NodeId, expected: DirectoryId, found: DirectoryId },
    #[error(
        "the data directory was started {directory_boot} times, but the metadata store saw start {boot} of \
         node {node}: the directory is an older copy and records would be missing"
    )]
    OlderDirectory { node: NodeId, boot: u64, directory_boot: u64 },
    #[error("node {node} is being started elsewhere at the same time")]
    Contended { node: NodeId },
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// Registers this start of the node: start number `boot` of `directory`.
pub(crate) async fn claim(
    meta: &dyn Meta,
    node: NodeId,
    directory: DirectoryId,
    boot: u64,
) -> Result<Leader, IdentityError> {
    let key = keys::node(node);
    let stored = meta.read(&key).await?;
    let revision = stored.as_ref().map_or(Revision::NONE, |stored| stored.mod_revision);
    if let Some(stored) = stored {
        let Node { directory: expected, boot: last } = stored.value;
        if expected != directory {
            return Err(IdentityError::OtherDirectory { node, expected, found: directory });
        }
        if last >= boot {
            return Err(IdentityError::OlderDirectory { node, boot: last, directory_boot: boot });
        }
    }
    let txn = Txn::new().when_unchanged(&key, revision).put(&key, &Node { directory, boot });
    match meta.txn(txn).await? {
        TxnOutcome::Committed(_) => Ok(Leader { node, directory, boot }),
        TxnOutcome::Conflict(_) => Err(IdentityError::Contended { node }),
    }
}
