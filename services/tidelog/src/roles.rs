//! The processes: what they share, and the two that a cluster is made of.

pub mod cold;
pub mod frontend;
pub mod identity;
pub mod journal;
pub mod listener;
mod signals;
pub mod store;

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tidelog_runtime::{Supervisor, telemetry};
use tokio::sync::oneshot;

use crate::exit::{Code, Failure};
use crate::output;
use crate::settings::Settings;
use signals::Signals;

/// Who reports what is of no interest to an operator, or what an error of ours says again.
const QUIET: &[(&str, &str)] = &[("foyer", "warn"), ("aws_config", "error")];

/// How long a server that has failed takes to end.
const FATAL_STOP: Duration = Duration::from_secs(2);

/// What a process calls itself towards others.
pub const SOFTWARE: &str = concat!("tidelog/", env!("CARGO_PKG_VERSION"));

/// A server process.
#[async_trait]
pub trait Process: Sized + Send + 'static {
    /// Starts everything; when this returns, it serves.
    async fn start(settings: &Settings, supervisor: Supervisor) -> anyhow::Result<Self>;

    /// What it says when it serves: where things are.
    fn banner(&self) -> String;

    /// Stops everything within about this time.
    async fn stop(self, within: Duration) -> anyhow::Result<()>;
}

/// Runs a process from its start to its end: until a signal, or a task of it fails.
pub async fn run<P: Process>(settings: Settings) -> anyhow::Result<Code> {
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
        server = start::<P>(settings, &supervisor) => server?,
    };
    output::print(&server.banner())?;
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
async fn start<P: Process>(settings: Settings, supervisor: &Supervisor) -> anyhow::Result<P> {
    let (sender, started) = oneshot::channel();
    let own = supervisor.clone();
    supervisor.spawn("start", async move {
        // Nobody waits when a signal came first.
        let _ = sender.send(P::start(&settings, own).await);
    });
    match started.await {
        Ok(started) => started,
        Err(_) => {
            Err(Failure::error(Code::Failed, format!("the start failed: {}", supervisor.fatal().await)))
        }
    }
}

/// Stops within the time, or at once at another signal.
async fn stop<P: Process>(server: P, within: Duration, signals: &mut Signals) -> anyhow::Result<Code> {
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
