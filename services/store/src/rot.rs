//! Damage that is found while the store runs.
//!
//! Where enough other replicas are in sync, a replica whose bytes have rotted gives up its place: it leads,
//! acknowledges and serves nothing more, so the leader takes it out of the in-sync set and others answer. It
//! is not filled again in place: in-sync sets name the data directory, and acknowledgements that it gave
//! may still be under way. The directory remembers, and an empty one in its place is another replica.

use std::sync::Arc;

use thiserror::Error;
use tidelog_journal::{Directory, DirectoryError, ReadError};
use tidelog_peer::StoreError;

use crate::boot::recovery::Commitment;
use crate::node::Node;
use crate::partition::{Partition, Status, not_leader};

/// The file, beside the directory's identity, that tells of the first damage that was found.
const FILE: &str = "damaged.txt";

/// The data directory was found damaged while it was in use.
#[derive(Debug, Error)]
pub enum RotError {
    #[error(
        "the data directory is damaged, as was found while the store ran: {0}. Empty it, and this store comes \
         back as another replica and is filled from the others"
    )]
    Found(String),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Refuses a directory in which damage was found.
pub(crate) fn check(directory: &Directory) -> Result<(), RotError> {
    match directory.get(FILE)? {
        Some(found) => Err(RotError::Found(String::from_utf8_lossy(&found).trim_end().to_owned())),
        None => Ok(()),
    }
}

/// Bytes of a partition that others are to have as well could not be read. Returns what to answer when
/// they do: to ask elsewhere.
pub(crate) async fn found(node: &Node, partition: &Arc<Partition>, error: &ReadError) -> Option<StoreError> {
    if node.commitment != Commitment::Checkpoints || !matches!(error, ReadError::Corrupt { .. }) {
        return None;
    }
    let me = node.identity.leader.replica();
    let (record, _) = partition.record();
    let floor = partition.topic.isr_floor().max(1);
    let others = record.isr.iter().filter(|member| crate::records::member(**member) != me).count();
    if others < floor {
        return None;
    }
    let answer = not_leader(partition.id);
    if partition.leave(Status::Failed(answer.clone())) {
        tracing::error!(
            partition = %partition.id, %error,
            "this replica is damaged and gives up its place; stop this store, empty its data directory and start it"
        );
        let (directory, text) = (Arc::clone(&node.directory), format!("{error}\n"));
        let written = tokio::task::spawn_blocking(move || directory.put(FILE, text.as_bytes())).await;
        if let Ok(Err(error)) = written {
            tracing::error!(%error, "the damage is not remembered");
        }
    }
    Some(answer)
}
