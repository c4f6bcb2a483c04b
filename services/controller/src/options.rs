//! How patient the controller is, and how much it moves at a time.

use std::time::Duration;

/// Times and bounds of a controller. The defaults are what a cluster runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often a store is asked for a sign of life, and how long it has to give it.
    pub heartbeat: Duration,
    /// After how many missed ones in a row it counts as dead.
    pub misses: u32,
    /// How long an election waits for the in-sync replicas that have not told how far their logs reach.
    pub report_wait: Duration,
    /// How long a leader that is to be replaced may take to let what is under way finish.
    pub hand_over_wait: Duration,
    /// How long one metadata transaction may take before its outcome counts as unknown.
    pub commit_wait: Duration,
    /// How long a store that was believed dead has to be well before leaderships are moved to it; doubles
    /// each time it happens again.
    pub probation: Duration,
    pub probation_max: Duration,
    /// How often leaderships go back to the preferred replicas, and how many each time.
    pub prefer_every: Duration,
    pub prefer_at_once: usize,
    /// How many leaderships are taken from draining or slow stores at a time.
    pub relieve_at_once: usize,
    /// Whether replicas are moved to even out stores, how often that is considered, and how many
    /// partitions are on the move for it at a time.
    pub balance: bool,
    pub balance_every: Duration,
    pub balance_at_once: usize,
    /// How many partitions are on the move at a time because a store is decommissioned or a replication
    /// factor was changed.
    pub reassign_at_once: usize,
    /// How often stores are asked for the sizes of partitions.
    pub sizes_every: Duration,
    /// For how long a controller that hears of fewer than half of the live stores stays one.
    pub isolation_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(200),
            misses: 5,
            report_wait: Duration::from_millis(250),
            hand_over_wait: Duration::from_millis(500),
            commit_wait: Duration::from_secs(5),
            probation: Duration::from_secs(2),
            probation_max: Duration::from_mins(1),
            prefer_every: Duration::from_secs(5),
            prefer_at_once: 200,
            relieve_at_once: 1000,
            balance: true,
            balance_every: Duration::from_secs(10),
            balance_at_once: 4,
            reassign_at_once: 64,
            sizes_every: Duration::from_secs(30),
            isolation_max: Duration::from_secs(3),
        }
    }
}
