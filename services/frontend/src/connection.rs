//! One client's connection: each stream by its first frame to the task that serves it.

use std::sync::Arc;
use std::time::Duration;

use tidelog_model::ErrorCode;
use tidelog_runtime::Supervisor;
use tidelog_wire::{CloseCode, Connection, FrameKind, Stream, WireError};
use tokio::time::timeout;
use tracing::debug;

use crate::edge::Edge;
use crate::metrics::Counted;
use crate::{control, error, producer, subscription};

/// How long a client is told to take for its good-bye.
const DRAIN_MS: u32 = 5_000;

/// Once nothing is left to serve, how long a client that was told good-bye may take to leave by itself.
const LEAVE: Duration = Duration::from_millis(500);

/// Serves a connection until either side ends it.
pub(crate) async fn serve(connection: Connection, edge: Arc<Edge>, tasks: Supervisor) {
    let peer = connection.peer();
    debug!(peer = %peer.addr, client = peer.client_id, transport = %connection.transport(), "connected");
    let _counted = Counted::one(&edge.metrics.connections);
    let streams = tasks.child();
    let ended = tokio::select! {
        biased;
        error = accept_all(&connection, &edge, &streams) => error,
        () = drain(&connection, &edge, &streams) => None,
    };
    debug!(peer = %peer.addr, error = ended.map(tracing::field::display), "disconnected");
}

/// Serves every stream that the client opens; returns when it has left.
async fn accept_all(connection: &Connection, edge: &Arc<Edge>, streams: &Supervisor) -> Option<WireError> {
    loop {
        match connection.accept().await {
            Ok(Some(stream)) => {
                let task = dispatch(stream, connection.clone(), Arc::clone(edge));
                streams.spawn_until_cancelled("frontend-stream", task);
            }
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

/// When the frontend drains: says good-bye, waits for the streams that are open, closes.
async fn drain(connection: &Connection, edge: &Edge, streams: &Supervisor) {
    edge.drain.cancelled().await;
    connection.go_away(DRAIN_MS, "the server is shutting down");
    // However it ends, whoever shuts the frontend down has the last word on how long this may take.
    let _ = streams.join(Duration::from_millis(u64::from(DRAIN_MS))).await;
    let _ = timeout(LEAVE, connection.closed()).await;
    connection.close(CloseCode::SHUTTING_DOWN, "the server is shutting down");
}

/// `connection` stays open as long as one of its streams is served.
async fn dispatch(mut stream: Stream, connection: Connection, edge: Arc<Edge>) {
    let _counted = Counted::one(&edge.metrics.streams);
    let first = timeout(edge.options.limits.handshake_timeout, stream.recv.recv()).await;
    let frame = match first {
        Ok(Ok(Some(frame))) => frame,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return stream.give_up(&error).await,
        Err(_) => return stream.give_up(&WireError::FrameTimeout).await,
    };
    if edge.drain.is_cancelled() {
        return stream.fail(&error::shutting_down(), CloseCode::STREAM_SHUTTING_DOWN).await;
    }
    match frame.kind {
        FrameKind::Request => control::serve(stream, frame, &edge).await,
        FrameKind::OpenProducer => {
            let window = connection.widen_receive();
            producer::serve(stream, &frame, window, &edge).await;
        }
        FrameKind::Subscribe => {
            connection.widen_send();
            subscription::serve(stream, &frame, &edge).await;
        }
        kind => unexpected(stream, kind).await,
    }
}

pub(crate) async fn unexpected(stream: Stream, kind: FrameKind) {
    let message = format!("a frame of kind {kind:?} is not expected here");
    let error = error::of(ErrorCode::InvalidRequest, message);
    stream.fail(&error, CloseCode::UNEXPECTED_FRAME).await;
}
