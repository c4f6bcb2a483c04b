//! What the processes of a cluster share: the way to etcd, to each other, and what they show of both.

pub mod controller;
pub mod etcd;
pub mod member;
pub mod metrics;
pub mod stores;
