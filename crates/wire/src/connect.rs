//! The client's way to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use crate::handshake::Introduction;
use crate::limits::FrameLimits;
use crate::{ByteBudget, Connection, MEMBER_NAME, TransportSettings, Trust, WireError, quic, tcp};

/// How long QUIC may take before TCP is tried beside it. The first of the two that is ready wins.
const QUIC_HEAD_START: Duration = Duration::from_secs(1);

/// How long QUIC may still take once TCP was refused.
const QUIC_LAST_CHANCE: Duration = Duration::from_secs(1);

/// What a client may hold in frames that it has received and not yet dropped.
const BUDGET_BYTES: usize = 256 * 1024 * 1024;

/// Which transport to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TransportChoice {
    /// QUIC, or TCP where UDP does not get through.
    #[default]
    Auto,
    Quic,
    Tcp,
}

/// Where to connect, and how.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// `host:port`.
    pub addr: String,
    /// The name that the certificate must carry; `None` takes the host of `addr`.
    pub server_name: Option<String>,
    pub trust: Trust,
    pub transport: TransportChoice,
    pub client_id: String,
    pub software: String,
    /// For everything up to the server's reply.
    pub timeout: Duration,
    pub frames: FrameLimits,
    pub settings: TransportSettings,
    /// Bounds what this connection, and others that share it, hold in received frames.
    pub budget: ByteBudget,
}

impl ConnectOptions {
    pub fn new(addr: impl Into<String>, trust: Trust) -> Self {
        Self {
            addr: addr.into(),
            server_name: None,
            trust,
            transport: TransportChoice::Auto,
            client_id: String::new(),
            software: concat!("tidelog-wire/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeout: Duration::from_secs(10),
            frames: FrameLimits::REPLIES,
            settings: TransportSettings::default(),
            budget: ByteBudget::new(BUDGET_BYTES),
        }
    }

    pub(crate) fn introduction(&self) -> Introduction {
        Introduction { client_id: self.client_id.clone(), software: self.software.clone() }
    }

    /// The name to check the certificate against.
    pub(crate) fn name(&self) -> &str {
        if let Trust::Cluster(_) = self.trust {
            return MEMBER_NAME;
        }
        let host = self.addr.rsplit_once(':').map_or(self.addr.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.server_name.as_deref().unwrap_or(host)
    }

    pub(crate) fn connect_error(&self, reason: &dyn ToString) -> WireError {
        WireError::Connect { addr: self.addr.clone(), reason: reason.to_string() }
    }

    pub(crate) fn tls_error(&self, reason: &dyn ToString) -> WireError {
        WireError::Tls { addr: self.addr.clone(), reason: reason.to_string() }
    }
}

/// Connects and shakes hands.
pub async fn connect(options: &ConnectOptions) -> Result<Connection, WireError> {
    let connecting = async {
        let addrs: Vec<SocketAddr> = lookup_host(&options.addr)
            .await
            .map_err(|error| options.connect_error(&format!("no address found: {error}")))?
            .collect();
        let mut last = options.connect_error(&"the name has no address");
        for addr in addrs {
            match connect_to(options, addr).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    timeout(options.timeout, connecting).await.unwrap_or(Err(WireError::HandshakeTimeout))
}

async fn connect_to(options: &ConnectOptions, addr: SocketAddr) -> Result<Connection, WireError> {
    // The cluster's internal port has no other transport.
    if matches!(options.trust, Trust::Cluster(_)) {
        return tcp::dial(options, addr).await;
    }
    match options.transport {
        TransportChoice::Quic => quic::dial(options, addr).await,
        TransportChoice::Tcp => tcp::dial(options, addr).await,
        TransportChoice::Auto => race(options, addr).await,
    }
}

/// QUIC with a head start over TCP.
#[expect(clippy::disallowed_methods, reason = "the head start is a time")]
async fn race(options: &ConnectOptions, addr: SocketAddr) -> Result<Connection, WireError> {
    let quic = quic::dial(options, addr);
    tokio::pin!(quic);
    let quic_failed = tokio::select! {
        result = &mut quic => match result {
            Err(error) if udp_may_be_blocked(&error) => Some(error),
            done => return done,
        },
        () = sleep(QUIC_HEAD_START) => None,
    };
    let tcp = tcp::dial(options, addr);
    if quic_failed.is_some() {
        return tcp.await;
    }
    tokio::pin!(tcp);
    tokio::select! {
        result = &mut quic => match result {
            Err(error) if udp_may_be_blocked(&error) => tcp.await,
            done => done,
        },
        result = &mut tcp => match result {
            // TCP's reason is the better one: UDP rarely says why.
            Err(refused) => timeout(QUIC_LAST_CHANCE, quic).await.unwrap_or(Err(refused)),
            done => done,
        },
    }
}

/// A server that answered, whatever it said, has settled the question of the transport.
fn udp_may_be_blocked(error: &WireError) -> bool {
    matches!(
        error,
        WireError::Connect { .. }
            | WireError::Refused { .. }
            | WireError::Lost(_)
            | WireError::HandshakeTimeout
    )
}
