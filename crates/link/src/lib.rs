//! The internal protocol, both ends: what the processes of one cluster say to each other.
//!
//! A [`Remote`] stands for another process and has the traits of [`tidelog_peer`]; a [`LinkServer`]
//! serves whoever implements them here. Calls share one stream and are answered in any order;
//! replication has a stream of its own for each pair of stores. A [`Mesh`] is all other stores, as one
//! store sees them: it keeps a replication lane to each of them open, takes turns through the
//! partitions, and says who can be reached. Sockets, TLS and frames are [`tidelog_wire`]'s; what a call
//! means is its implementer's.
//!
//! docs/internal-protocol.md says what is sent.

mod calls;
mod convert;
pub mod forward;
mod limits;
mod mesh;
mod remote;
mod replication;
mod server;
mod store;

#[cfg(test)]
mod tests;

/// What a controller's answers look like as messages, for those who pass them on to clients.
pub mod messages {
    pub use crate::convert::cluster::{
        elected_reply, nodes, nodes_of, nodes_reply, partitions, partitions_reply, status_reply,
    };
}

pub use convert::BadMessage;
pub use mesh::{Mesh, MeshCounts, MeshOptions, PeerAddress, Replicas};
pub use remote::{LinkError, Remote, RemoteOptions};
pub use replication::{
    Followers, FromFollower, FromLeader, LeaderReceiver, LeaderSender, ReplicationLane, ToFollower, ToLeader,
};
pub use server::{LinkServer, LinkServerOptions, Services};
