//! What every process needs: configuration, telemetry, supervised tasks, health and metrics.
//!
//! Owns the process's surroundings and nothing of the log: it does not know what a record, a partition
//! or a bucket is.

mod clock;
pub mod config;
pub mod crash;
pub mod http;
pub mod metrics;
mod supervisor;
pub mod telemetry;

pub use clock::SystemClock;
pub use http::Readiness;
pub use metrics::Metrics;
pub use supervisor::{Fatal, Supervisor, Unfinished};
pub use telemetry::{LogFormat, TelemetryError};
pub use tokio_util::sync::CancellationToken;
