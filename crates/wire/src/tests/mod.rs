//! Both transports on loopback, with good and with hostile peers.

mod bounds;
mod cluster;
mod document;
mod frames;
mod handshakes;
mod lifecycle;

use std::time::Duration;

use bytes::Bytes;
use tidelog_model::{Clock, TimestampMs};
use tokio::time::timeout;

use crate::{
    ByteBudget, ConnectOptions, Connection, FrameHead, Identity, Limits, ListenConfig, Listener, Stream,
    TransportChoice, TransportSettings, Trust, connect,
};

pub(super) const BOTH: [TransportChoice; 2] = [TransportChoice::Quic, TransportChoice::Tcp];

/// Long enough for anything on loopback; reached only by a test that fails.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(200);

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000)
    }
}

pub(super) struct Server {
    pub listener: Listener,
    pub identity: Identity,
    pub budget: ByteBudget,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut ListenConfig)) -> Self {
        let identity = Identity::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let mut config = ListenConfig {
            addr: "127.0.0.1:0".parse().unwrap(),
            port: crate::Port::Clients(crate::Credentials::new(identity.clone()).unwrap()),
            limits: Limits::default(),
            settings: TransportSettings::default(),
            budget: ByteBudget::new(64 << 20),
            windows: ByteBudget::new(64 << 20),
            software: "tests/1".to_owned(),
            cluster_id: Bytes::from_static(&[7; 16]),
            clock: std::sync::Arc::new(FixedClock),
        };
        change(&mut config);
        let budget = config.budget.clone();
        Self { listener: Listener::bind(config).unwrap(), identity, budget }
    }

    pub(super) fn options(&self, transport: TransportChoice) -> ConnectOptions {
        let trust = Trust::Pinned(self.identity.fingerprint());
        let mut options = ConnectOptions::new(self.listener.local_addr().to_string(), trust);
        options.transport = transport;
        options.client_id = "a-test".to_owned();
        options
    }

    /// Both ends of a connection.
    pub(super) async fn pair(&mut self, transport: TransportChoice) -> (Connection, Connection) {
        let options = self.options(transport);
        let (client, server) = tokio::join!(connect(&options), self.listener.accept());
        (client.unwrap(), server.unwrap())
    }

    pub(super) async fn stop(self) {
        within(self.listener.close(crate::CloseCode::SHUTTING_DOWN, "")).await;
    }
}

/// Both ends of a stream. The server learns of it by the bytes that `first` queues.
pub(super) async fn streams(
    client: &Connection,
    server: &Connection,
    first: impl FnOnce(&mut Stream),
) -> (Stream, Stream) {
    let mut ours = within(client.open()).await.unwrap();
    first(&mut ours);
    let (flushed, theirs) = tokio::join!(ours.send.flush(), within(server.accept()));
    flushed.unwrap();
    (ours, theirs.unwrap().unwrap())
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("nothing happened within the deadline")
}

pub(super) fn head(kind: u8, header_bytes: u32, payload_bytes: u32) -> [u8; 8] {
    FrameHead { kind, header_bytes, payload_bytes }.encode()
}
