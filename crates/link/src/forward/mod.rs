//! Batches on their way to a partition's leader: the frames of a producer session, from a client to a
//! frontend and from there to a store.

mod client;
mod server;

pub use client::{ForwardLane, LaneRoom};
pub use server::{SessionCounters, SessionRules, serve};
