//! The receiving half of a stream: bytes in, whole frames out.
//!
//! Hazard: every length here was chosen by the peer. It is held against the limits first, then the
//! budget is asked, and only then is memory allocated.
//!
//! [`FrameReceiver::recv`] keeps what it has read in `self`, so dropping its future loses nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidelog_proto::v1;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf, ReadHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsStream;

use crate::frame::{Frame, FrameHead, FrameKind};
use crate::limits::{FRAME_BYTES_PER_SECOND_MIN, FRAME_HEAD_BYTES, FrameLimits};
use crate::session::SessionEnd;
use crate::stream::StreamGuard;
use crate::{ByteBudget, BytePermit, CloseCode, WireError};

/// Read-ahead for heads and headers. It starts small (most streams are idle) and doubles while reads
/// fill it, so that many small frames cost one read.
const SCRATCH_BYTES_MIN: usize = 512;
const SCRATCH_BYTES_MAX: usize = 32 * 1024;

/// Frames up to this size do not wait for the budget, so that requests and pings pass while producers
/// have used it up. There is at most one such frame for each stream.
const UNBUDGETED_BYTES_MAX: usize = 1024;

/// The receiving half of a stream.
#[derive(Debug)]
pub struct FrameReceiver {
    io: RecvHalf,
    limits: FrameLimits,
    budget: ByteBudget,
    scratch: BytesMut,
    scratch_bytes: usize,
    begun: Option<Begun>,
    end: Option<End>,
    session: SessionEnd,
    guard: StreamGuard,
}

/// A frame whose head is there.
#[derive(Debug)]
struct Begun {
    head: FrameHead,
    /// `None`: to be skipped.
    kind: Option<FrameKind>,
    deadline: Instant,
    permit: Option<BytePermit>,
    body: Option<(Bytes, BytesMut)>,
}

#[derive(Debug)]
enum End {
    Finished,
    Failed(WireError),
}

#[derive(Debug)]
pub(crate) enum RecvHalf {
    Quic(quinn::RecvStream),
    Tcp(ReadHalf<TlsStream<TcpStream>>),
}

impl AsyncRead for RecvHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Quic(stream) => AsyncRead::poll_read(Pin::new(stream), cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl FrameReceiver {
    pub(crate) fn new(
        io: RecvHalf,
        limits: FrameLimits,
        budget: ByteBudget,
        session: SessionEnd,
        guard: StreamGuard,
    ) -> Self {
        Self {
            io,
            limits,
            budget,
            scratch: BytesMut::new(),
            scratch_bytes: SCRATCH_BYTES_MIN,
            begun: None,
            end: None,
            session,
            guard,
        }
    }

    /// The next frame; `None` once the peer has finished its side. Waits without limit for a frame to
    /// begin, and with the limit of [`FrameLimits::frame_timeout`] for one that was begun.
    ///
    /// After an error the stream is of no more use: [`crate::Stream::fail`] or drop it.
    /// Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Result<Option<Frame>, WireError> {
        match &self.end {
            Some(End::Finished) => return Ok(None),
            Some(End::Failed(error)) => return Err(error.clone()),
            None => {}
        }
        let session = self.session.clone();
        let result = tokio::select! {
            biased;
            result = self.next() => result,
            error = session.ended() => Err(error),
        };
        match &result {
            Ok(Some(_)) => {}
            Ok(None) => self.end = Some(End::Finished),
            Err(error) => self.end = Some(End::Failed(error.clone())),
        }
        result
    }

    /// The next frame, which must be there: the end of the stream is an error.
    pub async fn expect(&mut self) -> Result<Frame, WireError> {
        self.recv().await?.ok_or(WireError::Reset(CloseCode::NONE))
    }

    /// Tells the peer that nothing more will be read.
    pub fn stop(&mut self, code: CloseCode) {
        if self.end.is_none() {
            self.end = Some(End::Failed(WireError::Finished));
        }
        if let RecvHalf::Quic(stream) = &mut self.io {
            // An error says that the stream is over already.
            let _ = stream.stop(code.varint());
        }
    }

    pub(crate) fn join(&mut self, session: SessionEnd, guard: StreamGuard, limits: FrameLimits) {
        self.session = session;
        self.guard = guard;
        self.limits = limits;
    }

    /// Reads and drops what still comes, so that closing the socket does not cut off what was sent.
    pub(crate) async fn drain(&mut self, bytes_max: usize) {
        let mut left = bytes_max;
        while left > 0 {
            self.scratch.clear();
            match self.fill().await {
                Ok(read) if read > 0 => left = left.saturating_sub(read),
                _ => return,
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if self.begun.is_none() {
                let Some(begun) = self.begin().await? else { return Ok(None) };
                if self.is_fin(&begun)? {
                    return Ok(None);
                }
                self.begun = Some(begun);
            }
            let deadline = self.admit().await;
            timeout_at(deadline, self.body()).await.map_err(|_| WireError::FrameTimeout)??;
            let Some(frame) = self.take() else { continue };
            if frame.kind == FrameKind::Reset {
                let reset: v1::Reset = frame.decode(FrameKind::Reset)?;
                return Err(WireError::Reset(CloseCode(reset.code)));
            }
            return Ok(Some(frame));
        }
    }

    /// Waits for a head and checks it. `None`: the stream ended between two frames.
    async fn begin(&mut self) -> Result<Option<Begun>, WireError> {
        while self.scratch.is_empty() {
            if self.fill().await? == 0 {
                return self.on_end();
            }
        }
        let began = Instant::now();
        let in_time = began + self.limits.frame_timeout;
        timeout_at(in_time, self.read_ahead(FRAME_HEAD_BYTES))
            .await
            .map_err(|_| WireError::FrameTimeout)??;
        let mut bytes = [0; FRAME_HEAD_BYTES];
        self.scratch.copy_to_slice(&mut bytes);
        let head = FrameHead::decode(bytes);
        let kind = head.known_kind()?;
        head.check(&self.limits)?;
        let seconds = (head.body_bytes() / FRAME_BYTES_PER_SECOND_MIN) as u64;
        let deadline = in_time + Duration::from_secs(seconds);
        Ok(Some(Begun { head, kind, deadline, permit: None, body: None }))
    }

    /// The frames that stand for what QUIC does by itself are allowed on TCP alone. Says whether this
    /// one ends the stream.
    fn is_fin(&self, begun: &Begun) -> Result<bool, WireError> {
        let tcp = matches!(self.io, RecvHalf::Tcp(_));
        match begun.kind {
            Some(FrameKind::Fin) if tcp && begun.head.body_bytes() == 0 => Ok(true),
            Some(FrameKind::Fin) => Err(WireError::unexpected(FrameKind::Fin)),
            Some(kind @ (FrameKind::Attach | FrameKind::Close | FrameKind::Reset)) if !tcp => {
                Err(WireError::unexpected(kind))
            }
            _ => Ok(false),
        }
    }

    /// Takes the frame's bytes from the budget and says when the frame must be there. The time in the
    /// budget's queue is ours, not the peer's, and moves that on.
    async fn admit(&mut self) -> Instant {
        let Some(begun) = &mut self.begun else { return Instant::now() };
        if begun.permit.is_none() {
            let bytes = begun.head.body_bytes();
            if bytes <= UNBUDGETED_BYTES_MAX {
                begun.permit = Some(BytePermit::none());
                return begun.deadline;
            }
            if let Some(permit) = self.budget.try_acquire(bytes) {
                begun.permit = Some(permit);
            } else {
                let began = Instant::now();
                begun.permit = Some(self.budget.acquire(bytes).await);
                begun.deadline += began.elapsed();
            }
        }
        begun.deadline
    }

    /// Reads header and payload, the payload straight into its place.
    async fn body(&mut self) -> Result<(), WireError> {
        let Some(head) = self.begun.as_ref().map(|begun| begun.head) else { return Ok(()) };
        if self.begun.as_ref().is_some_and(|begun| begun.body.is_none()) {
            let header_bytes = head.header_bytes as usize;
            self.read_ahead(header_bytes).await?;
            let header = Bytes::copy_from_slice(&self.scratch[..header_bytes]);
            self.scratch.advance(header_bytes);
            let mut payload = BytesMut::with_capacity(head.payload_bytes as usize);
            let there = self.scratch.len().min(head.payload_bytes as usize);
            payload.put_slice(&self.scratch[..there]);
            self.scratch.advance(there);
            if let Some(begun) = &mut self.begun {
                begun.body = Some((header, payload));
            }
        }
        let Some(Begun { body: Some((_, payload)), .. }) = &mut self.begun else { return Ok(()) };
        while payload.len() < head.payload_bytes as usize {
            let missing = head.payload_bytes as usize - payload.len();
            let read = self.io.read_buf(&mut (&mut *payload).limit(missing)).await;
            if read.map_err(|error| WireError::from_io(&error))? == 0 {
                return Err(Self::cut_off());
            }
        }
        Ok(())
    }

    /// The frame that is complete; `None` when it is one to be skipped.
    fn take(&mut self) -> Option<Frame> {
        let begun = self.begun.take()?;
        let (header, payload) = begun.body?;
        let kind = begun.kind?;
        Some(Frame { kind, header, payload, permit: begun.permit.unwrap_or_default() })
    }

    /// Reads until the scratch holds `bytes` at least.
    async fn read_ahead(&mut self, bytes: usize) -> Result<(), WireError> {
        while self.scratch.len() < bytes {
            self.scratch.reserve(bytes - self.scratch.len());
            if self.fill().await? == 0 {
                return Err(Self::cut_off());
            }
        }
        Ok(())
    }

    /// One read into the scratch.
    async fn fill(&mut self) -> Result<usize, WireError> {
        let free = self.scratch.capacity() - self.scratch.len();
        if free < self.scratch_bytes / 2 {
            self.scratch.reserve(self.scratch_bytes);
        }
        let room = self.scratch.capacity() - self.scratch.len();
        let read = self.io.read_buf(&mut self.scratch).await.map_err(|error| WireError::from_io(&error))?;
        if read == room {
            self.scratch_bytes = (self.scratch_bytes * 2).min(SCRATCH_BYTES_MAX);
        }
        Ok(read)
    }

    /// QUIC marks the end of a stream by itself; on TCP only a FIN frame does, so that a connection
    /// that was cut cannot pass for a stream that ended.
    fn on_end<T>(&self) -> Result<Option<T>, WireError> {
        match self.io {
            RecvHalf::Quic(_) => Ok(None),
            RecvHalf::Tcp(_) => Err(Self::cut_off()),
        }
    }

    fn cut_off() -> WireError {
        WireError::Reset(CloseCode::CANCELLED)
    }
}

impl Drop for FrameReceiver {
    fn drop(&mut self) {
        if self.end.is_none() {
            self.stop(CloseCode::CANCELLED);
        }
    }
}
