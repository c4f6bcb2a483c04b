//! Who this node is: a data directory that has to be the one the node ran on last, and no older copy.

use thiserror::Error;
use tidelog_meta::settle::settle;
use tidelog_meta::value::{Leader, Node};
use tidelog_meta::{Compare, Meta, MetaError, Revision, Txn, TxnOutcome, TypedMeta as _, keys};
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
    #[error(
        "node {node} is start {found_boot} of data directory {found} now, and this is start {boot} of \
         {directory}: two processes run as one node, or the data directory was copied or replaced. This one \
         ends; only one of them may be started"
    )]
    Replaced { node: NodeId, directory: DirectoryId, boot: u64, found: DirectoryId, found_boot: u64 },
    #[error(
        "node {node} was taken out of the metadata store while it ran: nothing says any more that it is one"
    )]
    Removed { node: NodeId },
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// A start of a node, and the revision of the node's key that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) leader: Leader,
    revision: Revision,
}

/// Registers this start of the node: start number `boot` of `directory`.
pub(crate) async fn claim(
    meta: &dyn Meta,
    node: NodeId,
    directory: DirectoryId,
    boot: u64,
) -> Result<Claim, IdentityError> {
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
    match settle(meta, &txn).await? {
        TxnOutcome::Committed(revision) => Ok(Claim { leader: Leader { node, directory, boot }, revision }),
        TxnOutcome::Conflict(_) => Err(IdentityError::Contended { node }),
    }
}

impl Claim {
    /// Holds for as long as nobody else claimed the node.
    pub(crate) fn compare(&self) -> Compare {
        Compare::ModRevision { key: keys::node(self.leader.node).to_string(), revision: self.revision }
    }

    /// An error when the node's key, as it was found, is not this start's any more.
    pub(crate) fn check(&self, found: Option<(&Node, Revision)>) -> Result<(), IdentityError> {
        let Leader { node, directory, boot } = self.leader;
        match found {
            Some((_, revision)) if revision == self.revision => Ok(()),
            Some((&Node { directory: found, boot: found_boot }, _)) => {
                Err(IdentityError::Replaced { node, directory, boot, found, found_boot })
            }
            None => Err(IdentityError::Removed { node }),
        }
    }
}
