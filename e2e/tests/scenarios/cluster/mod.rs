//! What a cluster of processes must show, one claim a test, judged by the history of its clients.

mod cut_off;
mod deliberate;
mod failover;
mod rolling;
mod scene;
mod slow;
