//! The protocol's knobs and bounds.

use std::time::Duration;

use crate::faults::Faults;

/// Most epochs that one [`Lead`](crate::Lead) carries. A follower whose log shares none of them holds
/// nothing that the leader's hot tier still has, and starts at the tiered end.
pub const HISTORY_SENT_MAX: usize = 1_024;

/// Times and bounds of one replica. All times are real time on monotonic clocks whose rates differ by
/// less than a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// A member of the ISR that has not reached, within this time, what the log's end was, is ejected.
    pub lag_max: Duration,
    /// A leader whose own disk is that late, while another member is ahead of it, gives leadership up.
    pub own_lag_max: Duration,
    /// How long an acknowledgement lets the leader answer "latest", counted from when the leader sent
    /// what was acknowledged. Less than `promotion_wait` by more than clocks may drift.
    pub read_lease: Duration,
    /// How long a new leader keeps the high watermark still, so that its predecessor's leases end first.
    pub promotion_wait: Duration,
    /// A follower that owes an acknowledgement and is silent for so long is led anew.
    pub resend_after: Duration,
    /// An unreachable follower is tried after `lead_retry`, then twice as long, up to this.
    pub lead_retry_max: Duration,
    pub lead_retry: Duration,
    /// How soon followers hear of a high watermark when no batch carries it.
    pub beat_trailing: Duration,
    /// A heartbeat to every follower that nothing else was sent to for so long.
    pub beat_idle: Duration,
    /// Heartbeats that "latest" asks for are at least so far apart.
    pub beat_confirm: Duration,
    /// How long a replica that was ejected for being slow must have kept up before it may return.
    pub rejoin_after: Duration,
    /// An ISR change or a read of the record that got no answer is asked for again after this.
    pub metadata_retry: Duration,
    /// Most records pushed to a follower and not acknowledged by it. The store bounds the bytes.
    pub window_records: u64,
    /// Most records appended and not committed; more are refused.
    pub uncommitted_records_max: u64,
    /// A follower that is this many records below the tiered end starts there instead of copying them.
    pub copy_records_max: u64,
    /// How long a leader that resigns waits for what it has appended to be committed.
    pub resign_wait: Duration,
    pub faults: Faults,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lag_max: Duration::from_secs(1),
            own_lag_max: Duration::from_secs(2),
            read_lease: Duration::from_millis(260),
            promotion_wait: Duration::from_millis(300),
            resend_after: Duration::from_millis(400),
            lead_retry: Duration::from_millis(100),
            lead_retry_max: Duration::from_secs(2),
            beat_trailing: Duration::from_millis(20),
            beat_idle: Duration::from_secs(2),
            beat_confirm: Duration::from_millis(20),
            rejoin_after: Duration::from_secs(2),
            metadata_retry: Duration::from_millis(500),
            window_records: 1 << 20,
            uncommitted_records_max: 1 << 22,
            copy_records_max: 1 << 20,
            resign_wait: Duration::from_millis(200),
            faults: Faults::default(),
        }
    }
}
