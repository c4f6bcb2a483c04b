//! The SDK against a server of the protocol in the same process, over both transports.

mod admin;
mod cluster;
mod consume;
mod produce;
mod server;

use std::future::Future;
use std::time::Duration;

use tidelog::{Client, TransportChoice};

use server::Server;

const BOTH: [TransportChoice; 2] = [TransportChoice::Quic, TransportChoice::Tcp];

/// Long enough for anything on loopback; reached only by a test that fails.
const DEADLINE: Duration = Duration::from_secs(30);

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it takes too long")
}

async fn client(server: &Server, transport: TransportChoice) -> Client {
    within(Client::with_options(server.options(transport))).await.unwrap()
}

/// Waits until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    within(async {
        while !condition() {
            ticks.tick().await;
        }
    })
    .await;
}
