//! The process's own HTTP: `/healthz` (also under the name `/livez`), `/readyz`, `/metrics`.
//!
//! Small answers to few callers: connections, header sizes, times and ages are bounded, so that nobody
//! can hold more than a handful of tasks.

mod readiness;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

pub use readiness::Readiness;

use crate::{Metrics, Supervisor, metrics};

/// Most connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's header may take, and how long a connection may be idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may live.
const CONNECTION_AGE_MAX: Duration = Duration::from_mins(5);
/// Most bytes of a request's header.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// How long to wait before accepting again after the system refused (no file descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener could not be opened.
#[derive(Debug, Error)]
pub enum HttpError {
    #[error("HTTP port {address} is in use by another process; stop it, or choose another with --http")]
    InUse { address: SocketAddr },
    #[error("HTTP cannot listen on {address}: {reason}")]
    Listen { address: SocketAddr, reason: io::Error },
}

/// The routes of a process's health and metrics. It is healthy until a task of it has failed: it is on its
/// way out then, and should be started again.
pub fn routes(metrics: Metrics, readiness: Readiness, supervisor: &Supervisor) -> Router {
    let health = get(show_health).with_state(supervisor.clone());
    Router::new()
        .route("/healthz", health.clone())
        .route("/livez", health)
        .route("/readyz", get(show_readiness).with_state(readiness))
        .route("/metrics", get(show_metrics).with_state(metrics))
}

async fn show_health(State(supervisor): State<Supervisor>) -> Response {
    match supervisor.verdict() {
        None => "ok\n".into_response(),
        Some(fatal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fatal}\n")).into_response(),
    }
}

async fn show_readiness(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    let mut lines = String::new();
    for (part, reason) in missing {
        lines.extend([part, ": ", &reason, "\n"]);
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

async fn show_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Serves the routes until the supervisor is cancelled; answers in progress are finished. Returns the
/// address, with its port where 0 was asked for.
pub async fn serve(
    supervisor: &Supervisor,
    address: SocketAddr,
    routes: Router,
) -> Result<SocketAddr, HttpError> {
    let failed = |reason: io::Error| match reason.kind() {
        io::ErrorKind::AddrInUse => HttpError::InUse { address },
        _ => HttpError::Listen { address, reason },
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let own = supervisor.clone();
    supervisor.spawn_until_cancelled("http-listener", accept(own, listener, routes));
    Ok(bound)
}

async fn accept(supervisor: Supervisor, listener: TcpListener, routes: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = serve_one(supervisor.clone(), stream, routes.clone());
                supervisor.spawn("http-connection", async move {
                    let _permit = permit;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                #[expect(clippy::disallowed_methods, reason = "back-off")]
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(supervisor: Supervisor, stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let served = async {
        tokio::select! {
            // What a client does wrong is its own affair.
            _ = connection.as_mut() => return,
            () = supervisor.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(CONNECTION_AGE_MAX, served).await;
}

#[cfg(test)]
mod tests;
