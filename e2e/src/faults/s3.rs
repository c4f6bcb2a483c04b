//! An S3 server that misbehaves: a reverse proxy before a real one.
//!
//! A proxy, and not a server of our own: the faults are those of HTTP (an answer that is lost, a body
//! that breaks off), and everything that does not fail is answered by the real server of the other
//! scenarios.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::http::response;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::s3_rule::Rules;
use super::{Background, RuleId, S3Fault, S3Request, S3Rule, loopback};
use crate::{Seaweed, free_port};

const CONNECTIONS_MAX: usize = 512;

/// A body is held in memory whole; parts and blocks are far smaller.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Body = BoxBody<Bytes, BoxError>;

/// A proxy before an S3 server. Ends when dropped.
#[derive(Debug)]
pub struct FaultyS3 {
    port: u16,
    rules: Arc<Rules>,
    /// Last: it ends the tasks.
    _background: Background,
}

impl FaultyS3 {
    /// A proxy before SeaweedFS.
    pub fn start(seaweed: &Seaweed) -> Self {
        Self::before(seaweed.port())
    }

    /// A proxy before the server on this port.
    ///
    /// # Panics
    /// When its port cannot be bound.
    pub fn before(server_port: u16) -> Self {
        let (port, rules, background) = (free_port(), Arc::<Rules>::default(), Background::new("faulty-s3"));
        let runtime = background.runtime();
        let listener =
            runtime.block_on(TcpListener::bind(loopback(port))).expect("the proxy's port can be bound");
        runtime.spawn(serve(listener, loopback(server_port), rules.clone()));
        Self { port, rules, _background: background }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `AWS_ENDPOINT_URL` for whoever is to meet the faults.
    pub fn endpoint(&self) -> String {
        format!("http://{}", loopback(self.port))
    }

    /// From now on this goes wrong.
    pub fn inject(&self, rule: S3Rule) -> RuleId {
        self.rules.add(rule)
    }

    /// Nothing goes wrong any longer.
    pub fn heal(&self) {
        self.rules.lift();
    }

    /// How many requests a rule has spoilt.
    pub fn hits(&self, rule: RuleId) -> usize {
        self.rules.hits(rule)
    }

    /// What came, oldest first.
    pub fn requests(&self) -> Vec<S3Request> {
        self.rules.requests()
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, rules: Arc<Rules>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let rules = rules.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, server, rules.clone()));
            // An error here is a fault that was asked for, or a client that went away.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(permit);
        });
    }
}

/// Answers a request, rightly or wrongly. An error ends the connection without an answer.
async fn answer(
    request: Request<Incoming>,
    server: SocketAddr,
    rules: Arc<Rules>,
) -> Result<Response<Body>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
    let path = parts.uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let fault = rules.pick(parts.method.as_str(), path);
    let asked = parts.headers.get(RANGE).cloned();
    match fault {
        Some(S3Fault::Status(status)) => return refuse(status),
        Some(S3Fault::Reset) => return Err("the connection is reset".into()),
        Some(S3Fault::Delay(delay)) => sleep_until(Instant::now() + delay).await,
        Some(S3Fault::WrongRange(by) | S3Fault::OtherBytes(by)) => move_range(&mut parts, by),
        _ => {}
    }
    let is_head = parts.method == Method::HEAD;
    let (mut head, mut body) = forward(Request::from_parts(parts, Full::new(body)), server).await?;
    match fault {
        Some(S3Fault::LostAnswer) => return Err("the answer is lost".into()),
        Some(S3Fault::TruncatedBody(bytes)) => return Ok(truncated(head, &body, bytes)),
        Some(S3Fault::CorruptBody(at)) => body = inverted(&body, at),
        Some(S3Fault::OtherBytes(_)) => lie(&mut head, asked.as_ref()),
        _ => {}
    }
    if !is_head {
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    Ok(Response::from_parts(head, whole(body)))
}

/// Asks the real server, on a connection of its own.
async fn forward(
    mut request: Request<Full<Bytes>>,
    server: SocketAddr,
) -> Result<(response::Parts, Bytes), BoxError> {
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asked = async move {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
        Ok::<_, BoxError>((head, body))
    };
    let (answered, _) = tokio::join!(asked, connection);
    let (mut head, body) = answered?;
    // The body is whole here; how it travelled is no concern of the client's.
    head.headers.remove(TRANSFER_ENCODING);
    head.headers.remove(CONNECTION);
    Ok((head, body))
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|error: Infallible| match error {}).boxed()
}

fn refuse(status: u16) -> Result<Response<Body>, BoxError> {
    let code = match status {
        503 => "SlowDown",
        403 => "AccessDenied",
        _ => "InternalError",
    };
    let document =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>as asked</Message></Error>");
    let answer = Response::builder().status(status).header(CONTENT_TYPE, "application/xml");
    Ok(answer.body(whole(document.into()))?)
}

/// The head promises the whole body; after a part of it the connection ends.
fn truncated(mut head: response::Parts, body: &Bytes, bytes: usize) -> Response<Body> {
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let part = body.slice(..bytes.min(body.len().saturating_sub(1)));
    let broken = async {
        // What came before goes out while this waits.
        tokio::task::yield_now().await;
        Err::<Frame<Bytes>, BoxError>("the body breaks off".into())
    };
    let frames = stream::iter([Ok(Frame::data(part))]).chain(broken.into_stream());
    Response::from_parts(head, BodyExt::boxed(StreamBody::new(frames)))
}

fn inverted(body: &Bytes, at: usize) -> Bytes {
    let mut bytes = body.to_vec();
    let at = at.min(bytes.len().saturating_sub(1));
    if let Some(byte) = bytes.get_mut(at) {
        *byte = !*byte;
    }
    bytes.into()
}

/// `bytes=first-last`, or nothing that this understands.
fn range(value: &HeaderValue) -> Option<(u64, u64)> {
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn move_range(parts: &mut Parts, by: u64) {
    if let Some((first, last)) = parts.headers.get(RANGE).and_then(range)
        && let Ok(moved) = HeaderValue::from_str(&format!("bytes={}-{}", first + by, last + by))
    {
        parts.headers.insert(RANGE, moved);
    }
}

/// Says of an answer that it is the range that was asked for.
fn lie(head: &mut response::Parts, asked: Option<&HeaderValue>) {
    let total = head
        .headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok()?.rsplit_once('/').map(|(_, total)| total.to_owned()));
    if let (Some((first, last)), Some(total)) = (asked.and_then(range), total)
        && let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{total}"))
    {
        head.headers.insert(CONTENT_RANGE, value);
    }
}
