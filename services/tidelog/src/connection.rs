//! Which server a command speaks to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::ValueEnum;
use tidelog::{Client, ClientOptions, Context as ClientContext, TransportChoice};

use crate::exit::Failure;

/// `--bootstrap` and `--transport` of commands that need a server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// The server: HOST:PORT, or a tidelog:// URL with its trust. Default: the one that `tidelog dev` left
    /// in the context.
    #[arg(long, env = "TIDELOG_BOOTSTRAP", value_name = "HOST:PORT", hide_env_values = true)]
    bootstrap: Option<String>,
    /// What to speak: QUIC, TLS over TCP where UDP is blocked, or whichever works.
    #[arg(long, value_enum)]
    transport: Option<Transport>,
}

/// Whether this process was connected to a server.
static CONNECTED: AtomicBool = AtomicBool::new(false);

/// How long a closed connection's last packet gets to leave this process. Without it a server keeps the
/// connection until it has been silent for long.
const GOOD_BYE: Duration = Duration::from_millis(5);

/// Lets closed connections tell the server.
pub async fn say_good_bye() {
    if CONNECTED.load(Ordering::Relaxed) {
        #[expect(clippy::disallowed_methods, reason = "there is no telling when a packet has left")]
        tokio::time::sleep(GOOD_BYE).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Auto,
    Quic,
    Tcp,
}

impl ConnectionArgs {
    /// Connects, so that a server that is not there is the first thing one hears of.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let options = self.options()?;
        let endpoints = options.endpoints.join(", ");
        let client = Client::with_options(options).await.map_err(|error| {
            let named = error.to_string().contains(&endpoints);
            let error = anyhow::Error::new(error);
            if named { error } else { error.context(format!("cannot connect to {endpoints}")) }
        })?;
        CONNECTED.store(true, Ordering::Relaxed);
        Ok(client)
    }

    fn options(&self) -> anyhow::Result<ClientOptions> {
        let mut options = match self.bootstrap.as_deref().filter(|text| !text.is_empty()) {
            Some(url) => named(url)?,
            None => from_context()?,
        };
        options.transport = match self.transport {
            None => options.transport,
            Some(Transport::Auto) => TransportChoice::Auto,
            Some(Transport::Quic) => TransportChoice::Quic,
            Some(Transport::Tcp) => TransportChoice::Tcp,
        };
        if options.client_id.is_empty() {
            "tidelog-cli".clone_into(&mut options.client_id);
        }
        Ok(options)
    }
}

/// A named server. If it is the one of the context, the context's certificate is believed too.
fn named(url: &str) -> anyhow::Result<ClientOptions> {
    let mut options = ClientOptions::from_url(url)?;
    let context = ClientContext::default_path().and_then(|path| ClientContext::load(&path)).ok().flatten();
    if let Some(known) = context.and_then(|context| context.options().ok())
        && options.trust == tidelog_wire::Trust::Platform
        && options.endpoints == known.endpoints
    {
        options.trust = known.trust;
        options.server_name = options.server_name.or(known.server_name);
    }
    Ok(options)
}

fn from_context() -> anyhow::Result<ClientOptions> {
    let path = ClientContext::default_path()?;
    match ClientContext::load(&path)? {
        Some(context) => Ok(context.options()?),
        None => Err(Failure::usage(format!(
            "no server is known: {} does not exist; start one with `tidelog dev`, or name one with --bootstrap",
            path.display()
        ))),
    }
}
