//! `tidelog dev`: everything in one process.

mod banner;
mod cold;
mod identity;
mod server;
mod signals;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tidelog_runtime::config::{ConfigError, Layers, Resolved};
use tidelog_runtime::{Supervisor, telemetry};
use tokio::sync::oneshot;

use crate::exit::{Code, Failure};
use crate::settings::{OTHER_VARIABLES, Settings};
use server::Server;
use signals::Signals;

/// Who reports what is of no interest to an operator, or what an error of ours says again.
const QUIET: &[(&str, &str)] = &[("foyer", "warn"), ("aws_config", "error")];

/// How long a server that has failed takes to end.
const FATAL_STOP: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Where the server's settings come from, and those that have a flag.
#[derive(Debug, clap::Args)]
pub struct SettingsArgs {
    /// A TOML file with settings; variables (TIDELOG_…) and flags go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of everything the server keeps locally [default: ./tidelog-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the native protocol, QUIC and TCP + TLS [default: 127.0.0.1:9440]
    #[arg(long, value_name = "ADDRESS")]
    quic: Option<String>,
    /// Address of health and metrics [default: 127.0.0.1:9444]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// URL of the bucket [default: a directory below the data directory]
    #[arg(long, value_name = "URL")]
    bucket: Option<String>,
}

impl SettingsArgs {
    /// Defaults < file < variables < flags; every problem at once.
    pub fn load(&self) -> Result<(Settings, Resolved), ConfigError> {
        let mut layers = Layers::new();
        if let Some(path) = &self.config {
            layers = layers.file(path)?;
        }
        layers = layers.variables(std::env::vars_os(), OTHER_VARIABLES);
        for (key, flag, value) in [
            ("data_dir", "--data-dir", &self.data_dir),
            ("listen.quic", "--quic", &self.quic),
            ("listen.http", "--http", &self.http),
            ("bucket", "--bucket", &self.bucket),
        ] {
            if let Some(value) = value {
                layers = layers.flag(key, flag, value);
            }
        }
        Settings::load(&layers, Settings::check_together)
    }
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let (settings, _) = args.settings.load()?;
    telemetry::init(&settings.log.0, settings.log_format, QUIET).context("logging")?;
    let mut signals = Signals::listen().context("signals cannot be received")?;
    let within = settings.shutdown_timeout.duration();
    let supervisor = Supervisor::new();
    let server = tokio::select! {
        biased;
        // What was begun is recovered at the next start, as after any other end.
        signal = signals.next() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(Code::Success);
        }
        server = start(settings, &supervisor) => server?,
    };
    banner::print(&server)?;
    tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            stop(server, within, &mut signals).await
        }
        fatal = supervisor.fatal() => {
            // Nothing can be promised any more: clients are told, nothing is waited for.
            let _ = stop(server, FATAL_STOP, &mut signals).await;
            Err(Failure::error(Code::Failed, format!("the server failed: {fatal}")))
        }
    }
}

/// Starts on a task of its own: recovery blocks its thread, and signals must be heard meanwhile.
async fn start(settings: Settings, supervisor: &Supervisor) -> anyhow::Result<Server> {
    let (sender, started) = oneshot::channel();
    let own = supervisor.clone();
    supervisor.spawn("start", async move {
        // Nobody waits when a signal came first.
        let _ = sender.send(Server::start(&settings, own).await);
    });
    match started.await {
        Ok(started) => started,
        Err(_) => {
            Err(Failure::error(Code::Failed, format!("the start failed: {}", supervisor.fatal().await)))
        }
    }
}

/// Stops within the time, or at once at another signal.
async fn stop(server: Server, within: Duration, signals: &mut Signals) -> anyhow::Result<Code> {
    let stopped = tokio::select! {
        biased;
        stopped = tokio::time::timeout(within, server.stop(within)) => stopped,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once; what was not finished is recovered at the next start");
            return Ok(Code::Interrupted);
        }
    };
    let Ok(stopped) = stopped else {
        let message =
            format!("not stopped within {within:?}; what was not finished is recovered at the next start");
        return Err(Failure::error(Code::Failed, message));
    };
    stopped.map(|()| Code::Success).context("stopping")
}
