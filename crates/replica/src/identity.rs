//! Who is who. A replica is a data directory, not a node: a node that comes back with another disk is
//! another replica. Leadership belongs to one start of one data directory.

use std::fmt;

use tidelog_model::{DirectoryId, NodeId};

/// A replica on one data directory: what ISR entries name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId {
    pub node: NodeId,
    pub directory: DirectoryId,
}

/// One start of a replica's process: what leads, and what answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    pub replica: ReplicaId,
    /// Counts the starts of the data directory; matched with the metadata store at each start.
    pub boot: u64,
}

impl Instance {
    pub fn node(&self) -> NodeId {
        self.replica.node
    }
}

impl fmt::Debug for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.0.as_u128() >> 112;
        write!(f, "{}:{directory:04x}", self.node)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.replica, self.boot)
    }
}
