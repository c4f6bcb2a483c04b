//! One connection that is made when it is needed and made anew when it is gone.

use std::sync::Arc;

use parking_lot::Mutex;
use tidelog_wire::{CloseCode, ConnectOptions, Connection, connect};
use tokio::sync::OnceCell;

use super::ClientOptions;
use super::control::Idle;
use crate::Error;

/// A place for one connection. Everyone who asks while it is being made waits for the same attempt.
#[derive(Debug)]
pub(crate) struct Link {
    options: Arc<ClientOptions>,
    current: Mutex<Arc<OnceCell<Connection>>>,
    /// Of the current connection; a new one begins without any.
    idle: Mutex<Arc<Idle>>,
}

impl Link {
    pub(crate) fn new(options: Arc<ClientOptions>) -> Self {
        Self { options, current: Mutex::default(), idle: Mutex::default() }
    }

    /// The connection, alive as far as is known. One try at every endpoint: trying again is for the
    /// caller, who knows how long it is worth it.
    pub(crate) async fn connection(&self) -> Result<Connection, Error> {
        loop {
            let cell = Arc::clone(&self.current.lock());
            let connection = cell.get_or_try_init(|| dial(&self.options)).await?;
            if !connection.is_closed() && !connection.is_going_away() {
                return Ok(connection.clone());
            }
            let mut current = self.current.lock();
            if Arc::ptr_eq(&current, &cell) {
                *current = Arc::default();
                *self.idle.lock() = Arc::default();
            }
        }
    }

    /// The idle control streams of the connection that is current now. Whoever takes part in a request
    /// gives its stream back to those it was taken from: streams of an older connection go with them.
    pub(crate) fn idle(&self) -> Arc<Idle> {
        Arc::clone(&self.idle.lock())
    }

    /// Closes the connection, if there is one.
    pub(crate) fn close(&self) {
        if let Some(connection) = self.current.lock().get() {
            connection.close(CloseCode::NONE, "");
        }
    }
}

async fn dial(options: &ClientOptions) -> Result<Connection, Error> {
    let mut last = Error::Invalid { what: "the server's address", reason: "no server is named".to_owned() };
    for endpoint in &options.endpoints {
        let mut attempt = ConnectOptions::new(endpoint, options.trust.clone());
        attempt.server_name.clone_from(&options.server_name);
        attempt.transport = options.transport;
        attempt.client_id.clone_from(&options.client_id);
        concat!("tidelog-rust/", env!("CARGO_PKG_VERSION")).clone_into(&mut attempt.software);
        attempt.timeout = options.connect_timeout;
        attempt.settings = options.settings;
        match connect(&attempt).await {
            Ok(connection) => {
                tracing::debug!(
                    server.address = %endpoint,
                    network.transport = %connection.transport(),
                    "connected"
                );
                return Ok(connection);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}
