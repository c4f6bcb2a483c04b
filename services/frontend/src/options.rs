//! What a frontend can be told, and what it refuses to start with.

use std::net::SocketAddr;
use std::time::Duration;

use thiserror::Error;
use tidelog_model::ClusterId;
use tidelog_wire::{Credentials, Limits, ListenError, TransportSettings};

/// A frontend's settings.
#[derive(Clone, Debug)]
pub struct FrontendOptions {
    /// UDP and TCP; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// What clients are told to connect to; `None` tells them the address that is listened on.
    pub advertised: Option<String>,
    /// Shown to clients; may be replaced while the frontend runs.
    pub credentials: Credentials,
    /// Listen beyond loopback although nobody is asked who they are.
    pub allow_unauthenticated: bool,
    pub cluster_id: Option<ClusterId>,
    pub node: u32,
    /// Name and version, as clients see them.
    pub software: String,
    pub limits: Limits,
    pub settings: TransportSettings,
    /// What all connections together hold in frames they sent: batches on their way to the journal.
    pub frame_budget_bytes: usize,
    /// What transport windows may add to that, beyond each connection's minimum.
    pub window_budget_bytes: usize,
    /// What all subscriptions together hold in records on their way to clients, beyond 64 KiB for each.
    pub read_budget_bytes: usize,
    /// What one producer session may have unacknowledged before it is no longer read.
    pub producer_in_flight_bytes: usize,
    pub producer_in_flight_batches: usize,
    /// How long a producer session for which there is no transport window of its own may go unread:
    /// longer, and it is ended, for it holds up its connection. And how long a subscription may go
    /// unread that holds some of the read budget while others wait for it.
    pub stall_timeout: Duration,
    /// How long a batch may wait for its acknowledgement when the client names no time of its own.
    pub produce_timeout: Duration,
    /// The same for control requests.
    pub request_timeout: Duration,
    /// How large the payload of a records frame becomes.
    pub records_bytes: usize,
    /// Partitions of a topic whose creator named no number.
    pub default_partitions: u32,
}

impl FrontendOptions {
    pub fn new(listen: SocketAddr, credentials: Credentials) -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            listen,
            advertised: None,
            credentials,
            allow_unauthenticated: false,
            cluster_id: None,
            node: 0,
            software: concat!("tidelog/", env!("CARGO_PKG_VERSION")).to_owned(),
            limits: Limits::default(),
            settings: TransportSettings::default(),
            frame_budget_bytes: 128 * MIB,
            window_budget_bytes: 96 * MIB,
            read_budget_bytes: 64 * MIB,
            producer_in_flight_bytes: 16 * MIB,
            producer_in_flight_batches: 4096,
            stall_timeout: Duration::from_secs(5),
            produce_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_mins(1),
            records_bytes: MIB,
            default_partitions: 1,
        }
    }

    /// A listener that strangers can reach must know who they are, or be told not to care.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if self.listen.ip().is_loopback() || self.allow_unauthenticated {
            return Ok(());
        }
        Err(StartError::Exposed { addr: self.listen })
    }
}

/// Why a frontend does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(
        "refusing to listen on {addr}, which others can reach, without authentication; \
         listen on loopback, or allow it with the setting allow_unauthenticated"
    )]
    Exposed { addr: SocketAddr },
    #[error(transparent)]
    Listen(#[from] ListenError),
}
