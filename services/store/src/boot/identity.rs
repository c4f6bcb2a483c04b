//! Who this node is: a data directory that has to be the one the node ran on last, and no older copy.
//!
//! Among other stores a directory that holds nothing may take its place. In-sync sets name directories, so
//! nobody takes an empty disk for the one that had the records: the node comes back as another replica of
//! each of its partitions, and fills up from the others.

use std::time::Duration;

use thiserror::Error;
use tidelog_journal::{Directory, DirectoryError};
use tidelog_meta::settle::settle;
use tidelog_meta::value::{Leader, Live, Node, Partition, Replica};
use tidelog_meta::{Compare, Meta, MetaError, Revision, Stored, Txn, TxnOutcome, TypedMeta as _, keys};
use tidelog_model::{DirectoryId, NodeId};
use tokio::time::Instant;

/// How often it is looked whether an earlier start of the node has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The node is not who the metadata store says it is.
#[derive(Debug, Error)]
pub enum IdentityError {
    #[error(
        "node {node} last ran on data directory {expected}, and this is {found}, which is not empty: records \
         that only the other one has would be missing. Start with that directory; in a cluster an empty one \
         does as well, and is filled from the other stores"
    )]
    OtherDirectory { node: NodeId, expected: DirectoryId, found: DirectoryId },
    #[error(
        "the data directory was started {directory_boot} times, but the metadata store saw start {boot} of \
         node {node}: the directory is an older copy and records would be missing"
    )]
    OlderDirectory { node: NodeId, boot: u64, directory_boot: u64 },
    #[error(
        "node {node} runs already, at {address} (start {boot} of data directory {directory}): give this store \
         a node.id of its own, or end that one first"
    )]
    Running { node: NodeId, address: String, directory: DirectoryId, boot: u64 },
    #[error(
        "the data directory is empty, and the one that node {node} ran on last, {expected}, is the last that \
         has every acknowledged record of {partition}. Start with that directory (is everything \
         mounted?); if it is lost, delete the topic first, and its records with it"
    )]
    LastInSync { node: NodeId, expected: DirectoryId, partition: String },
    #[error(
        "the data directory {found} is not empty, and the metadata store knows no start of node {node}: it is \
         another node's directory, or the metadata is not what it was used with"
    )]
    Unknown { node: NodeId, found: DirectoryId },
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
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Meta(#[from] MetaError),
}

/// A start of a node, and the revision of the node's key that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) leader: Leader,
    revision: Revision,
}

/// Registers this start of the node, of which there is no other.
pub(crate) async fn claim(
    meta: &dyn Meta,
    node: NodeId,
    directory: &Directory,
) -> Result<Claim, IdentityError> {
    let stored = meta.read(&keys::node(node)).await?;
    if let Some(stored) = &stored {
        check(node, &stored.value, directory)?;
    }
    register(meta, node, directory, stored.as_ref(), Txn::new()).await
}

/// Registers this start of a node among others. An empty directory takes the place of the one that the
/// node ran on last, as another replica. `is_gone` says that nobody listens at an address; a start of the
/// node that may still run is waited for until `patience` is over.
pub(crate) async fn claim_among_others<F: Future<Output = bool>>(
    meta: &dyn Meta,
    node: NodeId,
    directory: &mut Directory,
    is_gone: impl Fn(Live) -> F,
    patience: Duration,
) -> Result<Claim, IdentityError> {
    let is_blank = directory.is_blank()?;
    let Some(stored) = meta.read(&keys::node(node)).await? else {
        if !is_blank {
            return Err(IdentityError::Unknown { node, found: directory.id() });
        }
        return register(meta, node, directory, None, Txn::new()).await;
    };
    let relied_on = if is_blank {
        // Also under the old name: what was here before is lost.
        let others = check_others(meta, node, stored.value.directory).await?;
        directory.renew(stored.value.boot + 1)?;
        others
    } else {
        check(node, &stored.value, directory)?;
        Txn::new()
    };
    until_ended(meta, node, is_gone, patience).await?;
    let claim = register(meta, node, directory, Some(&stored), relied_on).await?;
    if claim.leader.directory != stored.value.directory {
        let (new, old) = (claim.leader.directory, stored.value.directory);
        tracing::warn!(%node, %new, %old, "an empty data directory: this store is another replica of what it held");
    }
    Ok(claim)
}

fn check(node: NodeId, last: &Node, directory: &Directory) -> Result<(), IdentityError> {
    let Node { directory: expected, boot } = *last;
    if expected != directory.id() {
        return Err(IdentityError::OtherDirectory { node, expected, found: directory.id() });
    }
    if boot >= directory.boot() {
        return Err(IdentityError::OlderDirectory { node, boot, directory_boot: directory.boot() });
    }
    Ok(())
}

async fn register(
    meta: &dyn Meta,
    node: NodeId,
    directory: &Directory,
    last: Option<&Stored<Node>>,
    txn: Txn,
) -> Result<Claim, IdentityError> {
    let key = keys::node(node);
    let revision = last.map_or(Revision::NONE, |stored| stored.mod_revision);
    let start = Node { directory: directory.id(), boot: directory.boot() };
    let leader = Leader { node, directory: start.directory, boot: start.boot };
    match settle(meta, &txn.when_unchanged(&key, revision).put(&key, &start)).await? {
        TxnOutcome::Committed(revision) => Ok(Claim { leader, revision }),
        TxnOutcome::Conflict(_) => Err(IdentityError::Contended { node }),
    }
}

/// Refuses if the directory that is given up is the last which has everything of a partition that has other
/// replicas. Returns the condition that the directories which have it stay the ones of their nodes.
async fn check_others(meta: &dyn Meta, node: NodeId, gone: DirectoryId) -> Result<Txn, IdentityError> {
    let nodes = meta.read_all(&keys::nodes()).await?.items;
    let current: Vec<(Replica, &Stored<Node>)> = nodes
        .iter()
        .filter_map(|stored| {
            let node = keys::parse_node(&stored.key)?;
            Some((Replica { node, directory: stored.value.directory }, stored))
        })
        .collect();
    let mut relied_on = Vec::new();
    for stored in meta.read_all(&keys::partitions()).await?.items {
        let Partition { isr, replicas, .. } = &stored.value;
        if replicas.len() < 2 || !isr.contains(&Replica { node, directory: gone }) {
            continue;
        }
        let Some((other, held)) = current.iter().find(|(other, _)| other.node != node && isr.contains(other))
        else {
            let partition = stored.key.clone();
            return Err(IdentityError::LastInSync { node, expected: gone, partition });
        };
        if !relied_on.iter().any(|(known, _)| known == &other.node) {
            relied_on.push((other.node, held.mod_revision));
        }
    }
    let conditions = relied_on.into_iter();
    Ok(conditions.fold(Txn::new(), |txn, (node, revision)| txn.when_unchanged(&keys::node(node), revision)))
}

/// Waits until no earlier start of the node can be running: its registration is gone, or nobody listens
/// where it was.
async fn until_ended<F: Future<Output = bool>>(
    meta: &dyn Meta,
    node: NodeId,
    is_gone: impl Fn(Live) -> F,
    patience: Duration,
) -> Result<(), IdentityError> {
    let deadline = Instant::now() + patience;
    loop {
        let Some(live) = meta.read(&keys::live(node)).await?.map(|stored| stored.value) else {
            return Ok(());
        };
        if is_gone(live.clone()).await {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let Live { address, directory, boot, .. } = live;
            return Err(IdentityError::Running { node, address, directory, boot });
        }
        #[expect(clippy::disallowed_methods, reason = "a back-off")]
        tokio::time::sleep(LOOK_AGAIN).await;
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

#[cfg(test)]
mod tests;
