//! Control streams that are used again: on TCP each one costs a TLS handshake.
//!
//! A stream carries one request at a time. Those that are idle wait here, with the connection that they
//! belong to; whoever finds none opens one, so that calls never wait for each other.

use std::time::{Duration, Instant};

use futures::FutureExt;
use parking_lot::Mutex;
use tidelog_wire::{Connection, Stream};

use super::link::Link;
use crate::Error;

/// So many idle streams are kept.
const IDLE_MAX: usize = 4;

/// An idle stream is not trusted for longer than this: something between here and the server may have
/// forgotten its socket.
const IDLE_TIME_MAX: Duration = Duration::from_secs(15);

/// The idle control streams of one connection.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    stream: Stream,
    since: Instant,
}

/// A stream for one request.
pub(crate) struct Control {
    pub(crate) stream: Stream,
    /// It has carried requests before, and the server may have ended it meanwhile.
    pub(crate) is_used: bool,
}

impl Link {
    /// A stream that waits, or a new one.
    pub(crate) async fn control(&self) -> Result<Control, Error> {
        let connection = self.connection().await?;
        if let Some(stream) = self.idle().take(&connection) {
            return Ok(Control { stream, is_used: true });
        }
        self.new_control().await
    }

    pub(crate) async fn new_control(&self) -> Result<Control, Error> {
        let stream = self.connection().await?.open().await?;
        Ok(Control { stream, is_used: false })
    }
}

impl Idle {
    /// The stream used last that is still open.
    fn take(&self, connection: &Connection) -> Option<Stream> {
        let mut waiting = self.0.lock();
        while let Some(Waiting { mut stream, since }) = waiting.pop() {
            let is_open = since.elapsed() < IDLE_TIME_MAX && stream.recv.recv().now_or_never().is_none();
            if is_open && !connection.is_closed() {
                return Some(stream);
            }
        }
        None
    }

    /// The stream has been answered and nothing is under way on it.
    pub(crate) fn give_back(&self, stream: Stream) {
        let mut waiting = self.0.lock();
        if waiting.len() < IDLE_MAX {
            waiting.push(Waiting { stream, since: Instant::now() });
        }
    }
}
