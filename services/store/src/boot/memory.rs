//! What a data directory remembers of its cluster: a store that comes to another metadata store, or to
//! an older copy of its own, is told so before it believes anything of it.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidelog_journal::{Directory, DirectoryError};
use tidelog_meta::Seen;
use tidelog_meta::value::Cluster;
use tidelog_model::{ClusterId, Incarnation};

/// The file, beside the directory's identity.
const FILE: &str = "cluster.json";

/// The metadata store is not the one that this directory was used with, or not as far as it was.
#[derive(Debug, Error)]
pub enum MemoryError {
    #[error(
        "the data directory belongs to cluster {ours}, and the metadata store to cluster {found}: start it \
         with the endpoints of its own cluster, or with an empty directory"
    )]
    OtherCluster { ours: ClusterId, found: ClusterId },
    #[error(
        "the metadata store is at revision {found}, and this directory saw revision {seen} of it: it was \
         restored from an older copy. What happened since is missing in it; nothing is touched"
    )]
    Restored { seen: u64, found: u64 },
    #[error(
        "the metadata of cluster {cluster} is in another etcd cluster now ({found:x}, it was {seen:x}): it was \
         copied or rebuilt, and nothing says that all of it is there; nothing is touched"
    )]
    OtherStore { cluster: ClusterId, seen: u64, found: u64 },
    #[error("{FILE} of the data directory cannot be understood: {0}")]
    Corrupt(serde_json::Error),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    cluster: ClusterId,
    incarnation: Incarnation,
    /// The metadata store's own id and the newest revision seen of it.
    seen: Seen,
}

/// Compares what is remembered with what there is, and remembers that.
pub(crate) fn check(directory: &Directory, cluster: &Cluster, seen: Seen) -> Result<(), MemoryError> {
    if let Some(text) = directory.get(FILE)? {
        let memory: Memory = serde_json::from_slice(&text).map_err(MemoryError::Corrupt)?;
        if memory.cluster != cluster.id {
            return Err(MemoryError::OtherCluster { ours: memory.cluster, found: cluster.id });
        }
        // A later incarnation was rebuilt on purpose, elsewhere.
        if memory.incarnation == cluster.incarnation {
            if memory.seen.store != seen.store {
                let (cluster, seen, found) = (cluster.id, memory.seen.store, seen.store);
                return Err(MemoryError::OtherStore { cluster, seen, found });
            }
            if memory.seen.revision > seen.revision {
                let (seen, found) = (memory.seen.revision.0, seen.revision.0);
                return Err(MemoryError::Restored { seen, found });
            }
        }
    }
    remember(directory, cluster, seen)
}

/// Remembers how far the metadata store has come.
pub(crate) fn remember(directory: &Directory, cluster: &Cluster, seen: Seen) -> Result<(), MemoryError> {
    let memory = Memory { cluster: cluster.id, incarnation: cluster.incarnation, seen };
    let mut text = serde_json::to_vec_pretty(&memory).map_err(MemoryError::Corrupt)?;
    text.push(b'\n');
    Ok(directory.put(FILE, &text)?)
}

#[cfg(test)]
mod tests {
    use tidelog_meta::Revision;
    use tidelog_model::TimestampMs;

    use super::*;

    #[test]
    fn another_cluster_another_store_and_an_older_copy_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let cluster = |id, incarnation| Cluster {
            id: ClusterId::from_bytes([id; 16]),
            incarnation: Incarnation(incarnation),
            created: TimestampMs(1),
        };
        let seen = |store, revision| Seen { store, revision: Revision(revision) };
        check(&directory, &cluster(1, 1), seen(7, 10)).unwrap();
        check(&directory, &cluster(1, 1), seen(7, 12)).unwrap();
        let refused = |cluster, seen| check(&directory, &cluster, seen).unwrap_err();
        assert!(matches!(refused(cluster(2, 1), seen(7, 12)), MemoryError::OtherCluster { .. }));
        assert!(matches!(refused(cluster(1, 1), seen(7, 11)), MemoryError::Restored { seen: 12, found: 11 }));
        assert!(matches!(refused(cluster(1, 1), seen(8, 99)), MemoryError::OtherStore { .. }));
        check(&directory, &cluster(1, 2), seen(8, 3)).unwrap();
        directory.put(FILE, b"{").unwrap();
        assert!(matches!(refused(cluster(1, 2), seen(8, 3)), MemoryError::Corrupt(_)));
    }
}
