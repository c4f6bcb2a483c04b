//! The connection to one member of etcd, and the change to another.
//!
//! Everybody shares one connection. It is made when it is first needed, by whoever needs it, while the
//! others wait for the same. Given up, it is forgotten for new calls at once; those under way on it end by
//! themselves, and watches begin anew elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions, Error};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::fault::{Fault, of_transport};
use super::{EtcdOptions, tls};
use crate::MetaError;

/// How long a member may take to be connected to, with TLS and the password checked. etcd takes its time
/// over passwords on purpose.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// How long a member may take to say why it does not want us.
const EXPLAIN_WITHIN: Duration = Duration::from_millis(500);

/// Pings while something is under way, so that watches notice a member that hangs. etcd cuts off who
/// pings more often than every five seconds, or without a call under way.
const PING_EVERY: Duration = Duration::from_secs(6);
const PING_WITHIN: Duration = Duration::from_secs(4);

/// What a stream, and all together, may have on the way to us. A watch that nobody reads holds a stream's
/// worth back; the others must still get through.
const STREAM_WINDOW_BYTES: u32 = 512 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

pub(super) struct Connections {
    options: EtcdOptions,
    slot: Mutex<Arc<Slot>>,
    /// The member that is tried first.
    first: AtomicUsize,
}

/// A connection that is there, is being made, or will be when it is needed.
struct Slot {
    connection: OnceCell<Connection>,
    given_up: watch::Sender<bool>,
}

struct Connection {
    client: Client,
    member: String,
}

/// A connection in use.
#[derive(Clone)]
pub(super) struct Link(Arc<Slot>);

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.options.fmt(f)
    }
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self { connection: OnceCell::new(), given_up: watch::Sender::new(false) })
    }
}

impl Link {
    fn connection(&self) -> &Connection {
        self.0.connection.get().expect("a link is handed out when its connection is there")
    }

    pub(super) fn client(&self) -> Client {
        self.connection().client.clone()
    }

    pub(super) fn member(&self) -> &str {
        &self.connection().member
    }

    /// Resolves when the connection was given up.
    pub(super) async fn given_up(&self) {
        let mut given_up = self.0.given_up.subscribe();
        // The sender lives in the slot, which this borrows.
        let _ = given_up.wait_for(|given_up| *given_up).await;
    }
}

impl Connections {
    pub(super) fn new(options: EtcdOptions) -> Self {
        Self { options, slot: Mutex::new(Slot::new()), first: AtomicUsize::new(0) }
    }

    /// The connection to use now. Cancelled, it has done no harm.
    pub(super) async fn current(&self) -> Result<Link, Fault> {
        let slot = Arc::clone(&self.slot.lock());
        slot.connection.get_or_try_init(|| self.connect()).await?;
        Ok(Link(slot))
    }

    /// Forgets a connection; false when that was done before.
    pub(super) fn give_up(&self, link: &Link) -> bool {
        let mut slot = self.slot.lock();
        if !Arc::ptr_eq(&slot, &link.0) {
            return false;
        }
        *slot = Slot::new();
        self.first.fetch_add(1, Ordering::Relaxed);
        link.0.given_up.send_replace(true);
        true
    }

    /// There is more than one member to turn to.
    pub(super) fn has_choice(&self) -> bool {
        self.options.endpoints.len() > 1
    }

    pub(super) fn has_user(&self) -> bool {
        self.options.credentials.is_some()
    }

    /// For a caller who ran out of time.
    pub(super) fn silence(&self) -> String {
        format!("no connection to any of {} in time", self.options.endpoints.join(", "))
    }

    /// Tries the members one after the other.
    async fn connect(&self) -> Result<Connection, Fault> {
        let members = &self.options.endpoints;
        let first = self.first.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        let mut untrusted = 0;
        for step in 0..members.len() {
            let index = (first + step) % members.len();
            let member = &members[index];
            let late = || Fault::NotDone("no answer in time".to_owned());
            match timeout(CONNECT_WITHIN, self.connect_to(member)).await.unwrap_or_else(|_| Err(late())) {
                Ok(client) => {
                    self.first.store(index, Ordering::Relaxed);
                    tracing::debug!(member, "connected to etcd");
                    return Ok(Connection { client, member: member.clone() });
                }
                Err(Fault::Refused(MetaError::Untrusted(reason))) => {
                    untrusted += 1;
                    reasons.push(format!("{member}: {reason}"));
                }
                // What one member says of users and passwords is true of all.
                Err(Fault::Refused(error)) => return Err(Fault::Refused(error)),
                Err(fault) => reasons.push(format!("{member}: {}", fault.reason())),
            }
        }
        let reasons = reasons.join("; ");
        // Only where no member at all can be trusted is there nothing to wait for.
        Err(if untrusted == members.len() {
            Fault::Refused(MetaError::Untrusted(reasons))
        } else {
            Fault::NotDone(reasons)
        })
    }

    /// Connects to a member and makes sure that it works: TLS tells a client that its certificate is not
    /// accepted only when it asks for something.
    async fn connect_to(&self, member: &str) -> Result<Client, Fault> {
        let endpoint = self.endpoint(member).await?;
        let channel = endpoint.connect().await.map_err(|error| of_transport(&error))?;
        let client = self.log_in(Channel::Tonic(channel), member).await.map_err(Fault::of)?;
        match client.maintenance_client().status().await.map_err(Fault::of) {
            Ok(status) if status.leader() == 0 => Err(Fault::NotDone("it has no leader".to_owned())),
            Err(fault) if fault.blames_connection() => Err(self.explain(member, fault).await),
            Err(fault) if fault.is_untrusted() => Err(fault),
            _ => Ok(client),
        }
    }

    /// Why a member does not answer over a connection that was just made.
    async fn explain(&self, member: &str, fault: Fault) -> Fault {
        let Some(files) = &self.options.tls else { return fault };
        let refusal = timeout(EXPLAIN_WITHIN, tls::refusal(files, member)).await;
        match refusal.ok().flatten() {
            Some(reason) => Fault::Refused(MetaError::Untrusted(reason)),
            None => fault,
        }
    }

    async fn log_in(&self, channel: Channel, member: &str) -> Result<Client, Error> {
        let options = ConnectOptions::new().with_require_leader(true);
        let Some(credentials) = &self.options.credentials else {
            return Client::from_channel(channel, Some(options)).await;
        };
        let as_user = options
            .clone()
            .with_user(&credentials.user, credentials.password.reveal())
            .with_auto_token_refresh(true);
        match Client::from_channel(channel.clone(), Some(as_user)).await {
            Err(Error::GRpcStatus(status)) if status.message().contains("authentication is not enabled") => {
                tracing::warn!(member, "a user is configured, and etcd does not ask for one");
                Client::from_channel(channel, Some(options)).await
            }
            connected => connected,
        }
    }

    async fn endpoint(&self, member: &str) -> Result<Endpoint, Fault> {
        let invalid = |error: tonic::transport::Error| Fault::Refused(MetaError::Invalid(error.to_string()));
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{member}")).map_err(invalid)?;
        if let Some(files) = &self.options.tls {
            // Read anew for every connection, so that renewed certificates are used.
            let config = tls::load(files).await.map_err(Fault::Refused)?;
            endpoint = endpoint.tls_config(config).map_err(|error| {
                Fault::Refused(MetaError::Untrusted(format!("the certificates cannot be used: {error}")))
            })?;
        }
        Ok(endpoint
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_WITHIN)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
    }
}
