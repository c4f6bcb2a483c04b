//! The asking side.
//!
//! One task writes, one reads. A caller that goes away (its future is dropped) sends a cancellation; its
//! place among the calls is given back when that has been written, so that what is queued stays bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use tidelog_proto::v1;
use tidelog_wire::{BytePermit, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::limits::{CALL_GRACE, CALLS_MAX};

/// Queued frames are written together up to this many bytes.
const WRITE_BYTES: usize = 64 * 1024;

/// An answer that came. Its payload counts against the connection's budget until it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: v1::reply::Body,
    pub(crate) payload: BytesMut,
    pub(crate) _permit: BytePermit,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(crate) enum CallFailure {
    /// The lane ended before the call left.
    NotSent(WireError),
    /// The lane ended before the answer came.
    Lost(WireError),
    TimedOut,
    Refused(v1::Error),
    /// The answer has no body that this version knows.
    Unknown,
}

type Waiting = oneshot::Sender<Result<Answer, CallFailure>>;

enum Outgoing {
    Call(v1::Call),
    Cancel(u64, OwnedSemaphorePermit),
}

/// A lane that calls can be made on until it ends. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct CallLane {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    slots: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    next: u64,
    /// With whether the call has left.
    waiting: HashMap<u64, (Waiting, bool)>,
    ended: Option<WireError>,
}

impl CallLane {
    /// The lane, and the work that it needs done for as long as it lives.
    pub(crate) fn new(stream: Stream) -> (Self, impl Future<Output = ()> + Send) {
        let shared = Arc::<Shared>::default();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let lane = Self { shared: Arc::clone(&shared), outgoing, slots: Arc::new(Semaphore::new(CALLS_MAX)) };
        let Stream { send, recv } = stream;
        let work = async move {
            let error = tokio::select! {
                error = write(send, queue, &shared) => error,
                error = read(recv, &shared) => error,
            };
            shared.end(&error);
        };
        (lane, work)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.shared.calls.lock().ended.is_some()
    }

    pub(crate) async fn call(&self, body: v1::call::Body, within: Duration) -> Result<Answer, CallFailure> {
        // The semaphore is never closed.
        let Ok(slot) = Arc::clone(&self.slots).acquire_owned().await else {
            return Err(CallFailure::NotSent(WireError::LocallyClosed));
        };
        let (answer, receiver) = oneshot::channel();
        let id = self.shared.begin(answer).map_err(CallFailure::NotSent)?;
        let mut asked = Asked { lane: self, id, slot: Some(slot) };
        let timeout_ms = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        // When nobody takes it, the lane is ending, and says so to whoever waits.
        let _ = self.outgoing.send(Outgoing::Call(v1::Call { id, timeout_ms, body: Some(body) }));
        match timeout(within + CALL_GRACE, receiver).await {
            Ok(Ok(answer)) => {
                asked.slot = None;
                answer
            }
            Ok(Err(_)) => Err(CallFailure::Lost(WireError::LocallyClosed)),
            Err(_) => Err(CallFailure::TimedOut),
        }
    }
}

/// A call that somebody waits for.
struct Asked<'a> {
    lane: &'a CallLane,
    id: u64,
    /// `None` once the answer is there.
    slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let known = self.lane.shared.calls.lock().waiting.remove(&self.id).is_some();
        if known {
            let _ = self.lane.outgoing.send(Outgoing::Cancel(self.id, slot));
        }
    }
}

impl Shared {
    fn begin(&self, answer: Waiting) -> Result<u64, WireError> {
        let mut calls = self.calls.lock();
        if let Some(error) = &calls.ended {
            return Err(error.clone());
        }
        let id = calls.next;
        calls.next += 1;
        calls.waiting.insert(id, (answer, false));
        Ok(id)
    }

    /// Whether somebody still waits for it.
    fn leaves(&self, id: u64) -> bool {
        let mut calls = self.calls.lock();
        calls.waiting.get_mut(&id).map(|(_, sent)| *sent = true).is_some()
    }

    fn answer(&self, id: u64, answer: Result<Answer, CallFailure>) {
        // Nobody waits for an answer that crossed its cancellation.
        if let Some((waiting, _)) = self.calls.lock().waiting.remove(&id) {
            let _ = waiting.send(answer);
        }
    }

    fn end(&self, error: &WireError) {
        let mut calls = self.calls.lock();
        calls.ended = Some(error.clone());
        for (_, (waiting, sent)) in calls.waiting.drain() {
            let failure = if sent { CallFailure::Lost } else { CallFailure::NotSent };
            let _ = waiting.send(Err(failure(error.clone())));
        }
    }
}

async fn write(
    mut send: FrameSender,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    shared: &Shared,
) -> WireError {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            match outgoing {
                Outgoing::Call(call) if shared.leaves(call.id) => send.push(FrameKind::Call, &call, &[]),
                Outgoing::Call(_) => {}
                Outgoing::Cancel(id, _slot) => {
                    send.push(FrameKind::CallCancel, &v1::CallCancel { id }, &[]);
                }
            }
            next = (send.queued_bytes() < WRITE_BYTES).then(|| queue.try_recv().ok()).flatten();
        }
        if let Err(error) = send.flush().await {
            return error;
        }
    }
    // The lane was dropped.
    let _ = send.finish().await;
    WireError::LocallyClosed
}

async fn read(mut recv: FrameReceiver, shared: &Shared) -> WireError {
    loop {
        let frame = match recv.expect().await {
            Ok(frame) => frame,
            Err(error) => return error,
        };
        let reply: v1::Reply = match frame.decode(FrameKind::Reply) {
            Ok(reply) => reply,
            Err(error) => return error,
        };
        let Frame { payload, permit, .. } = frame;
        let answer = match (reply.error, reply.body) {
            (Some(error), _) => Err(CallFailure::Refused(error)),
            (None, Some(body)) => Ok(Answer { body, payload, _permit: permit }),
            (None, None) => Err(CallFailure::Unknown),
        };
        shared.answer(reply.id, answer);
    }
}
