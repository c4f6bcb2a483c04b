//! Requests with one answer each, on streams that carry one at a time.

use std::time::Duration;

use tidelog_proto::v1::{self, request, response};
use tidelog_wire::{Frame, FrameKind, Stream, WireError};
use tokio::time::{Instant, timeout_at};

use super::Backoff;
use super::link::Link;
use crate::Error;

/// Whether a request may be sent again although it may have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Carrying it out twice is as good as once.
    Always,
    /// Only after an answer that says that nothing happened.
    IfUnchanged,
    /// The first outcome is for the caller to judge: repeating is harmless, and not worth waiting for.
    Never,
}

/// Sends a request until it is answered, refused for good, or `within` is over.
pub(crate) async fn call(
    link: &Link,
    what: &'static str,
    body: request::Body,
    repeat: Repeat,
    within: Duration,
) -> Result<response::Body, Error> {
    let deadline = Instant::now() + within;
    let mut backoff = Backoff::new();
    let mut last = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        let request = v1::Request { timeout_ms, body: Some(body.clone()) };
        let error = match timeout_at(deadline, attempt(link, &request)).await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(error)) => error,
            Err(_) => return Err(timed_out(what, within, last.take(), repeat)),
        };
        let repeatable = match repeat {
            Repeat::Always => true,
            Repeat::IfUnchanged => error.has_no_side_effects(),
            Repeat::Never => false,
        };
        if !error.is_retryable() || !repeatable {
            return Err(error);
        }
        let pause = backoff.pause(error.retry_after());
        if Instant::now() + pause >= deadline {
            return Err(timed_out(what, within, Some(error), Repeat::Always));
        }
        tracing::debug!(request = what, %error, pause_ms = pause.as_millis() as u64, "retrying");
        last = Some(error);
        #[expect(clippy::disallowed_methods, reason = "back-off")]
        tokio::time::sleep(pause).await;
    }
}

/// A request that was under way when the time ran out may still be carried out.
fn timed_out(what: &'static str, after: Duration, last: Option<Error>, repeat: Repeat) -> Error {
    let error = Error::TimedOut { what, after, last: last.map(Box::new) };
    match repeat {
        Repeat::Always | Repeat::Never => error,
        Repeat::IfUnchanged => error.unknown(),
    }
}

async fn attempt(link: &Link, request: &v1::Request) -> Result<response::Body, Error> {
    // Taken before the stream: if the connection is replaced in between, nobody finds the stream again.
    let idle = link.idle();
    let mut control = link.control().await?;
    let frame = match exchange(&mut control.stream, request).await? {
        Some(frame) => frame,
        // The server had ended the stream, and so has not read the request.
        None if control.is_used => {
            control = link.new_control().await?;
            exchange(&mut control.stream, request).await?.ok_or(NO_ANSWER)?
        }
        None => return Err(NO_ANSWER),
    };
    let response: v1::Response = frame.decode(FrameKind::Response)?;
    idle.give_back(control.stream);
    if let Some(error) = response.error {
        return Err(WireError::from(error).into());
    }
    response.body.ok_or(Error::Protocol("the server does not know this request"))
}

const NO_ANSWER: Error = Error::Protocol("the server ended the stream without an answer");

/// Sends a request and waits for its answer; none if the server finishes the stream instead.
async fn exchange(stream: &mut Stream, request: &v1::Request) -> Result<Option<Frame>, Error> {
    let sent = stream.send.send(FrameKind::Request, request, &[]).await;
    match (sent, stream.recv.recv().await?) {
        // Whoever has ended the stream does not read from it either.
        (_, None) => Ok(None),
        (sent, frame) => sent.map(|()| frame).map_err(Error::from),
    }
}

/// Calls and takes the answer of the request's own kind.
macro_rules! ask {
    ($link:expr, $kind:ident, $request:expr, $repeat:expr, $within:expr) => {
        match $crate::client::call::call(
            $link,
            stringify!($kind),
            ::tidelog_proto::v1::request::Body::$kind($request),
            $repeat,
            $within,
        )
        .await?
        {
            ::tidelog_proto::v1::response::Body::$kind(response) => Ok::<_, $crate::Error>(response),
            _ => Err($crate::Error::Protocol("an answer to another request")),
        }
    };
}
pub(crate) use ask;
