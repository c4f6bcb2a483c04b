//! The sending half of a stream: frames in, as few and as large writes as possible out.
//!
//! Frames are queued by [`FrameSender::push`] and written by [`FrameSender::flush`]. Small frames are
//! gathered in one block; payloads are passed on without a copy. What is queued stays in `self`, so
//! dropping a flush loses nothing: the next one goes on where it stopped.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use tidelog_proto::v1;

use crate::frame::{FrameHead, FrameKind, HEADER_BYTES_STATED_MAX};
use crate::limits::FRAME_HEAD_BYTES;
use crate::session::SessionEnd;
use crate::stream::StreamGuard;
use crate::{CloseCode, WireError};

/// Payload chunks up to this are copied into the block: cheaper than a chunk of their own.
const COPY_BYTES_MAX: usize = 2 * 1024;

/// The block grows by this much at a time.
const BLOCK_BYTES: usize = 4 * 1024;

/// Most slices in one vectored write.
const SLICES_MAX: usize = 32;

/// The sending half of a stream.
#[derive(Debug)]
pub struct FrameSender {
    io: SendHalf,
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    block: BytesMut,
    /// Bytes of the queue's first chunk were written: what follows is the middle of a frame.
    mid_write: bool,
    state: State,
    session: SessionEnd,
    guard: StreamGuard,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Open,
    Finished,
    Reset,
}

#[derive(Debug)]
pub(crate) enum SendHalf {
    Quic(quinn::SendStream),
    Tcp(WriteHalf<TlsStream<TcpStream>>),
}

impl FrameSender {
    pub(crate) fn new(io: SendHalf, session: SessionEnd, guard: StreamGuard) -> Self {
        Self {
            io,
            queue: VecDeque::new(),
            queue_bytes: 0,
            block: BytesMut::new(),
            mid_write: false,
            state: State::Open,
            session,
            guard,
        }
    }

    pub(crate) fn join(&mut self, session: SessionEnd, guard: StreamGuard) {
        self.session = session;
        self.guard = guard;
    }

    /// Queues a frame and writes everything that is queued. Returns when the transport has taken it,
    /// which is the back-pressure: it waits while the peer does not read.
    pub async fn send(
        &mut self,
        kind: FrameKind,
        header: &impl Message,
        payload: &[Bytes],
    ) -> Result<(), WireError> {
        self.push(kind, header, payload);
        self.flush().await
    }

    /// Queues a frame without writing it. The caller bounds the queue with
    /// [`FrameSender::queued_bytes`] and [`FrameSender::flush`].
    ///
    /// # Panics
    /// When a header has 16 MiB or a payload 4 GiB: the frame could not state it.
    pub fn push(&mut self, kind: FrameKind, header: &impl Message, payload: &[Bytes]) {
        let header_bytes = header.encoded_len();
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
        assert!(header_bytes <= HEADER_BYTES_STATED_MAX, "a header's length has three bytes");
        let payload_stated = u32::try_from(payload_bytes).expect("a payload's length has four bytes");
        let head =
            FrameHead { kind: kind as u8, header_bytes: header_bytes as u32, payload_bytes: payload_stated };
        let copied = if payload_bytes <= COPY_BYTES_MAX { payload_bytes } else { 0 };
        self.reserve(FRAME_HEAD_BYTES + header_bytes + copied);
        self.block.put_slice(&head.encode());
        header.encode_raw(&mut self.block);
        if copied > 0 {
            for chunk in payload {
                self.block.put_slice(chunk);
            }
        } else if payload_bytes > 0 {
            self.close_block();
            self.queue_bytes += payload_bytes;
            self.queue.extend(payload.iter().filter(|chunk| !chunk.is_empty()).cloned());
        }
    }

    /// Bytes that wait for a flush.
    pub fn queued_bytes(&self) -> usize {
        self.queue_bytes + self.block.len()
    }

    /// Writes everything that is queued. Dropping the future loses nothing.
    pub async fn flush(&mut self) -> Result<(), WireError> {
        if self.state != State::Open {
            return Err(WireError::Finished);
        }
        self.close_block();
        let session = self.session.clone();
        let result = tokio::select! {
            biased;
            result = self.write_queue() => result,
            error = session.ended() => Err(error),
        };
        if result.is_err() {
            self.queue.clear();
            self.queue_bytes = 0;
        }
        result
    }

    /// Ends this side of the stream after what is queued: the peer reads everything and then `None`.
    pub async fn finish(&mut self) -> Result<(), WireError> {
        if matches!(self.io, SendHalf::Tcp(_)) {
            self.push(FrameKind::Fin, &(), &[]);
        }
        self.flush().await?;
        self.state = State::Finished;
        if let SendHalf::Quic(stream) = &mut self.io {
            stream.finish().map_err(|_| WireError::Finished)?;
        }
        Ok(())
    }

    /// Abandons this side of the stream: what is queued or under way may never arrive.
    pub fn reset(&mut self, code: CloseCode) {
        if self.state != State::Open {
            return;
        }
        self.state = State::Reset;
        let mid_frame = self.mid_write;
        self.queue.clear();
        self.queue_bytes = 0;
        match &mut self.io {
            SendHalf::Quic(stream) => {
                // An error says that the stream is over already.
                let _ = stream.reset(code.varint());
            }
            SendHalf::Tcp(_) if mid_frame => {}
            SendHalf::Tcp(_) => {
                self.block.clear();
                self.state = State::Open;
                self.push(FrameKind::Reset, &v1::Reset { code: code.0 }, &[]);
                self.state = State::Reset;
                self.write_now();
            }
        }
    }

    /// After [`FrameSender::finish`]: waits until the peer has everything, or has stopped reading. A
    /// connection that closes earlier may take the end of the stream with it. Immediate on TCP, where
    /// the kernel sees to it.
    pub async fn delivered(&mut self) {
        if let SendHalf::Quic(stream) = &mut self.io {
            let _ = stream.stopped().await;
        }
    }

    /// Closes the sending direction of a TCP connection, after [`FrameSender::finish`].
    pub(crate) async fn shut_down(&mut self) {
        if let SendHalf::Tcp(stream) = &mut self.io {
            let _ = stream.shutdown().await;
        }
    }

    /// Bytes that are no frame, for tests of what a hostile peer may send.
    #[cfg(test)]
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.block.put_slice(bytes);
    }

    fn reserve(&mut self, bytes: usize) {
        if self.block.capacity() - self.block.len() < bytes {
            self.block.reserve(bytes.max(BLOCK_BYTES));
        }
    }

    fn close_block(&mut self) {
        if !self.block.is_empty() {
            self.queue_bytes += self.block.len();
            self.queue.push_back(self.block.split().freeze());
        }
    }

    async fn write_queue(&mut self) -> Result<(), WireError> {
        while !self.queue.is_empty() {
            let written = match &mut self.io {
                SendHalf::Quic(stream) => {
                    let chunks = self.queue.make_contiguous();
                    let written =
                        stream.write_chunks(chunks).await.map_err(|error| WireError::from_write(&error))?;
                    self.queue.drain(..written.chunks);
                    self.queue_bytes -= written.bytes;
                    self.mid_write = true;
                    continue;
                }
                SendHalf::Tcp(stream) => {
                    let slices = slices(&self.queue);
                    stream.write_vectored(&slices).await.map_err(|error| WireError::from_io(&error))?
                }
            };
            if written == 0 {
                return Err(WireError::from_io(&io::ErrorKind::WriteZero.into()));
            }
            self.mid_write = true;
            self.advance(written);
        }
        if let SendHalf::Tcp(stream) = &mut self.io {
            stream.flush().await.map_err(|error| WireError::from_io(&error))?;
        }
        self.mid_write = false;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.queue_bytes -= written;
        while written > 0 {
            let Some(first) = self.queue.front_mut() else { return };
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }

    /// One try to hand a last small frame to the socket, without waiting.
    fn write_now(&mut self) {
        let block = self.block.split();
        if let SendHalf::Tcp(stream) = &mut self.io {
            let waker = std::task::Waker::noop();
            let mut cx = std::task::Context::from_waker(waker);
            let _ = Pin::new(&mut *stream).poll_write(&mut cx, &block);
            let _ = Pin::new(stream).poll_flush(&mut cx);
        }
    }
}

fn slices(queue: &VecDeque<Bytes>) -> Vec<IoSlice<'_>> {
    queue.iter().take(SLICES_MAX).map(|chunk| IoSlice::new(chunk)).collect()
}

impl Drop for FrameSender {
    fn drop(&mut self) {
        self.reset(CloseCode::CANCELLED);
    }
}
