//! The end of a session, and the stream that stays open for its whole life.
//!
//! The session stream carries pings, the server's good-bye, and on TCP the close that QUIC has built
//! in. One task owns it on each side.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidelog_proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{CloseCode, Frame, FrameKind, Stream, Transport, TransportSettings, WireError};

/// How long a close frame may take to leave.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Good-byes that wait to be sent; the second would say what the first did.
const NOTICES_MAX: usize = 2;

/// Known to everything that belongs to a session; says when and why it is over.
#[derive(Clone, Debug, Default)]
pub(crate) struct SessionEnd(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    over: CancellationToken,
    why: OnceLock<WireError>,
    /// What to tell the peer, when the end was decided here.
    farewell: OnceLock<(CloseCode, String)>,
}

impl SessionEnd {
    /// Ends the session with a reason for whoever waits on it. The first reason stays.
    pub(crate) fn end(&self, why: WireError) {
        let _ = self.0.why.set(why);
        self.0.over.cancel();
    }

    /// Ends the session from this side.
    pub(crate) fn close(&self, code: CloseCode, reason: &str) {
        if !self.0.over.is_cancelled() {
            let _ = self.0.farewell.set((code, reason.to_owned()));
        }
        self.end(WireError::LocallyClosed);
    }

    pub(crate) async fn ended(&self) -> WireError {
        self.0.over.cancelled().await;
        self.why()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.over.is_cancelled()
    }

    fn why(&self) -> WireError {
        self.0.why.get().cloned().unwrap_or(WireError::LocallyClosed)
    }

    fn farewell(&self) -> Option<(CloseCode, String)> {
        self.0.farewell.get().cloned()
    }
}

/// The task that owns a session stream. The stream itself belongs to no session, so that it can carry
/// the last words of this one.
pub(crate) struct SessionTask {
    stream: Stream,
    transport: Transport,
    end: SessionEnd,
    going_away: CancellationToken,
    notices: mpsc::Receiver<v1::GoAway>,
    keep_alive: Duration,
    idle_timeout: Duration,
}

/// The parts of a session that its connection holds.
pub(crate) struct SessionParts {
    pub end: SessionEnd,
    /// Set when the server has said good-bye.
    pub going_away: CancellationToken,
    pub notices: mpsc::Sender<v1::GoAway>,
}

impl SessionParts {
    pub(crate) fn new() -> (Self, mpsc::Receiver<v1::GoAway>) {
        let (notices, receiver) = mpsc::channel(NOTICES_MAX);
        (Self { end: SessionEnd::default(), going_away: CancellationToken::new(), notices }, receiver)
    }
}

/// Starts a client's session task. It ends with the connection: dropping that ends the session.
pub(crate) fn start_session(task: SessionTask) {
    TaskTracker::new().spawn(task.run());
}

enum Step {
    GoOn,
    Over,
}

impl SessionTask {
    pub(crate) fn new(
        stream: Stream,
        transport: Transport,
        parts: &SessionParts,
        notices: mpsc::Receiver<v1::GoAway>,
        settings: &TransportSettings,
    ) -> Self {
        Self {
            stream,
            transport,
            end: parts.end.clone(),
            going_away: parts.going_away.clone(),
            notices,
            keep_alive: settings.keep_alive,
            idle_timeout: settings.idle_timeout,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut tick = interval(self.keep_alive);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.reset();
        let mut heard = Instant::now();
        let mut notices_open = true;
        loop {
            let end = self.end.clone();
            let step = tokio::select! {
                biased;
                _ = end.ended() => break,
                frame = self.stream.recv.recv() => {
                    heard = Instant::now();
                    self.on_frame(frame).await
                }
                notice = self.notices.recv(), if notices_open => {
                    notices_open = notice.is_some();
                    self.on_notice(notice).await
                }
                _ = tick.tick(), if self.transport == Transport::Tcp => self.on_tick(heard).await,
            };
            if matches!(step, Step::Over) {
                break;
            }
        }
        self.say_farewell().await;
    }

    async fn on_frame(&mut self, frame: Result<Option<Frame>, WireError>) -> Step {
        match frame {
            Ok(Some(frame)) => match self.act(&frame).await {
                Ok(step) => step,
                Err(error) => {
                    self.end.close(CloseCode::PROTOCOL_VIOLATION, &error.to_string());
                    Step::Over
                }
            },
            Ok(None) => {
                self.end.end(WireError::Closed { code: CloseCode::NONE, reason: String::new() });
                Step::Over
            }
            Err(error @ (WireError::FrameTooLarge { .. } | WireError::Unexpected { .. })) => {
                self.end.close(CloseCode::PROTOCOL_VIOLATION, &error.to_string());
                Step::Over
            }
            Err(WireError::Reset(_)) if self.transport == Transport::Tcp => {
                self.end.end(WireError::Lost("the peer went away".to_owned()));
                Step::Over
            }
            Err(error) => {
                self.end.end(error);
                Step::Over
            }
        }
    }

    async fn act(&mut self, frame: &Frame) -> Result<Step, WireError> {
        match frame.kind {
            FrameKind::Ping => {
                let nonce = frame.decode::<v1::Ping>(FrameKind::Ping)?.nonce;
                self.stream.send.send(FrameKind::Pong, &v1::Pong { nonce }, &[]).await?;
            }
            FrameKind::Pong => {}
            FrameKind::GoAway => self.going_away.cancel(),
            FrameKind::Close => {
                let close: v1::Close = frame.decode(FrameKind::Close)?;
                self.end.end(WireError::Closed { code: CloseCode(close.code), reason: close.reason });
                return Ok(Step::Over);
            }
            kind => return Err(WireError::unexpected(kind)),
        }
        Ok(Step::GoOn)
    }

    async fn on_notice(&mut self, notice: Option<v1::GoAway>) -> Step {
        if let Some(notice) = notice {
            // A failure shows on the receiving side too.
            let _ = self.stream.send.send(FrameKind::GoAway, &notice, &[]).await;
        }
        Step::GoOn
    }

    async fn on_tick(&mut self, heard: Instant) -> Step {
        if heard.elapsed() > self.idle_timeout {
            self.end.close(CloseCode::IDLE, "");
            self.end.end(WireError::Lost("nothing arrived for too long".to_owned()));
            return Step::Over;
        }
        let ping = self.stream.send.send(FrameKind::Ping, &v1::Ping { nonce: 0 }, &[]);
        if let Ok(Ok(())) = timeout(self.idle_timeout, ping).await {
            return Step::GoOn;
        }
        self.end.end(WireError::Lost("the peer does not read".to_owned()));
        Step::Over
    }

    async fn say_farewell(mut self) {
        let Some((code, reason)) = self.end.farewell() else { return };
        if self.transport == Transport::Tcp {
            let close = v1::Close { code: code.0, reason };
            let _ = timeout(CLOSE_TIMEOUT, self.stream.send.send(FrameKind::Close, &close, &[])).await;
            self.stream.send.shut_down().await;
        }
    }
}
