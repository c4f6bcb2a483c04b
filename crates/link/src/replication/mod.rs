//! Replication lanes: one stream from a leader's store to a follower's, for all their partitions.
//!
//! What is said is [`tidelog_replica`]'s; here it is put into frames. A frame carries the messages of
//! one turn and the batches of its pushes, so that a commit group of the journal is one frame. Nothing
//! is promised about delivery beyond TCP's: the protocol allows for loss.

mod follower;
mod leader;

use bytes::Bytes;
use tidelog_model::TopicPartition;
use tidelog_replica::{Ack, Lead, Pushed, Refusal};

pub use follower::{Followers, FromFollower, FromLeader, ReplicationLane};
pub use leader::{LeaderReceiver, LeaderSender};

pub(crate) use follower::serve;
pub(crate) use leader::open;

/// What a leader says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToFollower {
    Lead(TopicPartition, Lead),
    /// With the batch when the push has a span.
    Push(TopicPartition, Pushed, Option<Bytes>),
}

/// What a follower answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToLeader {
    Ack(TopicPartition, Ack),
    Refusal(TopicPartition, Refusal),
}
