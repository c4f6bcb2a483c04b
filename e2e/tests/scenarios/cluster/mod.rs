//! What a cluster of processes must show, one claim a test, judged by the history of its clients.

mod cut_off;
mod deliberate;
mod disk_faults;
mod etcd_away;
mod etcd_faults;
mod failover;
mod fleet;
mod operations;
mod random_faults;
mod replaced_disks;
mod replica_logs;
mod rolling;
mod scene;
mod site;
mod slow;
mod tiers;
mod wrong_orders;
