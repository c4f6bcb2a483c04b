//! What a cluster of processes must show, one claim a test, judged by the history of its clients.

mod cut_off;
mod deliberate;
mod etcd_away;
mod failover;
mod fleet;
mod operations;
mod random_faults;
mod rolling;
mod scene;
mod slow;
mod tiers;
