//! Replication, rule by rule, and in a small hostile world.

mod fixture;
mod world;

mod fencing;
mod identity;
mod in_sync;
mod latest;
mod placing;
mod truncation;
mod watermark;
