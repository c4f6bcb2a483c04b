//! `tidelog dev`: everything in one process.

mod banner;
mod cold;
mod identity;
mod server;
mod signals;

use std::path::PathBuf;

use anyhow::Context as _;
use tidelog_runtime::config::{ConfigError, Layers, Resolved};
use tidelog_runtime::telemetry;

use crate::exit::{Code, Failure};
use crate::settings::{OTHER_VARIABLES, Settings};
use server::Server;
use signals::Signals;

/// Who reports what is of no interest to an operator, or what an error of ours says again.
const QUIET: &[(&str, &str)] = &[("foyer", "warn"), ("aws_config", "error")];

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
    let server = tokio::select! {
        biased;
        // What was begun is recovered at the next start, as after any other end.
        signal = signals.next() => {
            tracing::info!(signal, "stopped while starting");
            return Ok(Code::Success);
        }
        server = Server::start(&settings) => server?,
    };
    banner::print(&server)?;
    let reason = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            None
        }
        reason = server.failed() => Some(reason),
    };
    let stopped = tokio::select! {
        biased;
        stopped = server.stop(settings.shutdown_timeout.duration()) => stopped,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once; what was not finished is recovered at the next start");
            return Ok(Code::Interrupted);
        }
    };
    match reason {
        Some(reason) => Err(Failure::error(Code::Failed, format!("the server failed: {reason}"))),
        None => stopped.map(|()| Code::Success).context("stopping"),
    }
}
