//! The serving end of a producer session: batches in, acknowledgements out in the same order.
//!
//! Two loops share a bounded queue. One reads frames and gives batches their place in their
//! partitions' order; the other waits for each batch to be durable and acknowledges it. When the
//! queue or the session's bytes in flight are used up, frames are no longer read, and the transport's
//! flow control slows the sender. A batch that is refused is answered in its turn; the session goes on.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tidelog_model::{ErrorCode, PartitionId, TopicPartition};
use tidelog_peer::{Ack, PartitionStore, Produced, StoreError};
use tidelog_proto::v1;
use tidelog_runtime::CancellationToken;
use tidelog_wire::{
    ByteBudget, BytePermit, CloseCode, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::convert::{error_message, topic_id};

/// The longest that a sender can let a batch wait.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// The longest that a sender may leave its acknowledgements unread while they wait to be sent: as long
/// as they do, its batches take up memory that others need.
const ACK_WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Acknowledgements are written together up to this many bytes.
const ACK_BYTES_MAX: usize = 16 * 1024;

/// What a session may take up, and how long things may last.
#[derive(Clone)]
pub struct SessionRules {
    /// Unacknowledged, before the session is no longer read.
    pub in_flight_bytes: usize,
    pub in_flight_batches: usize,
    /// For an acknowledgement, when the sender names no time.
    pub timeout: Duration,
    /// How long nothing may be taken in while what is unread holds up other streams; `None` where a
    /// session's unread bytes are its own.
    pub stall_timeout: Option<Duration>,
    /// Set when nothing new is to be begun.
    pub drain: CancellationToken,
    pub counters: Arc<dyn SessionCounters>,
}

/// What is counted of sessions.
pub trait SessionCounters: Send + Sync {
    fn received(&self, bytes: usize);
    fn refused(&self);
}

/// A batch that has its place, and what it occupies until it is acknowledged.
struct Pending {
    sequence: u64,
    ack: Ack,
    deadline: Instant,
    _in_flight: BytePermit,
    _frame: BytePermit,
}

/// Why the reading loop ended.
enum ReadEnd {
    /// The sender has finished its side.
    Finished,
    Drained,
    /// Nothing can be taken in, and the connection's other streams must not wait for that.
    Stalled,
    Failed(WireError),
}

/// Serves a session from its first frame to its end.
pub async fn serve(mut stream: Stream, first: &Frame, store: &dyn PartitionStore, rules: &SessionRules) {
    let open: v1::OpenProducer = match first.decode(FrameKind::OpenProducer) {
        Ok(open) => open,
        Err(error) => return stream.give_up(&error).await,
    };
    let timeout = match open.timeout_ms {
        0 => rules.timeout,
        ms => Duration::from_millis(u64::from(ms)).min(TIMEOUT_MAX),
    };
    let opened = v1::ProducerOpened {
        in_flight_bytes_max: rules.in_flight_bytes as u64,
        in_flight_batches_max: u32::try_from(rules.in_flight_batches).unwrap_or(u32::MAX),
    };
    if stream.send.send(FrameKind::ProducerOpened, &opened, &[]).await.is_err() {
        return;
    }
    let Some(read_end) = run(&mut stream, timeout, store, rules).await else { return };
    match read_end {
        ReadEnd::Finished => stream.finish().await,
        ReadEnd::Drained => {
            let error = error_message(ErrorCode::ShuttingDown.into());
            stream.fail(&error, CloseCode::STREAM_SHUTTING_DOWN).await;
        }
        ReadEnd::Stalled => {
            let message = "the session waited for too long, and what it has unread holds up its connection";
            let error = error_message(StoreError::new(ErrorCode::ThrottlingQuotaExceeded, message));
            stream.fail(&error, CloseCode::CANCELLED).await;
        }
        ReadEnd::Failed(error) => stream.give_up(&error).await,
    }
}

/// Both loops, until nothing is left to acknowledge. `None` when nobody listens any more: what is in
/// order stays so, unacknowledged.
async fn run(
    stream: &mut Stream,
    timeout: Duration,
    store: &dyn PartitionStore,
    rules: &SessionRules,
) -> Option<ReadEnd> {
    let (queue, pending) = mpsc::channel(rules.in_flight_batches.max(1));
    let in_flight = ByteBudget::new(rules.in_flight_bytes);
    let reading = read(&mut stream.recv, Intake { in_flight, queue, timeout, store, rules });
    let acknowledging = acknowledge(&mut stream.send, pending, rules);
    tokio::pin!(reading, acknowledging);
    let read_end = tokio::select! {
        biased;
        _ = &mut acknowledging => return None,
        end = &mut reading => end,
    };
    acknowledging.await.ok().map(|()| read_end)
}

async fn read(frames: &mut FrameReceiver, intake: Intake<'_>) -> ReadEnd {
    let mut expected = 0;
    loop {
        let frame = tokio::select! {
            biased;
            () = intake.rules.drain.cancelled() => return ReadEnd::Drained,
            frame = frames.recv() => frame,
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return ReadEnd::Finished,
            Err(error) => return ReadEnd::Failed(error),
        };
        let header: v1::Produce = match frame.decode(FrameKind::Produce) {
            Ok(header) => header,
            Err(error) => return ReadEnd::Failed(error),
        };
        if header.sequence != expected {
            let text = format!("batch {} came where {expected} was due", header.sequence);
            return ReadEnd::Failed(WireError::Malformed(text));
        }
        expected += 1;
        let taking = intake.take(&header, frame);
        let taken = if let Some(stall_timeout) = intake.rules.stall_timeout {
            let Ok(taken) = timeout(stall_timeout, taking).await else {
                // What is unread is dropped, which gives the connection its window back.
                frames.stop(CloseCode::CANCELLED);
                return ReadEnd::Stalled;
            };
            taken
        } else {
            taking.await
        };
        if taken.is_err() {
            return ReadEnd::Finished;
        }
    }
}

/// What a batch needs before the next one is read.
struct Intake<'a> {
    in_flight: ByteBudget,
    queue: mpsc::Sender<Pending>,
    timeout: Duration,
    store: &'a dyn PartitionStore,
    rules: &'a SessionRules,
}

/// Nobody is there any more who acknowledges.
struct NobodyListens;

impl Intake<'_> {
    /// Waits for bytes in flight, for the batch's place in the log, and for a place in the queue.
    async fn take(&self, header: &v1::Produce, frame: Frame) -> Result<(), NobodyListens> {
        let deadline = Instant::now() + self.timeout;
        let Frame { payload, permit: frame_permit, .. } = frame;
        let permit = self.in_flight.acquire(payload.len()).await;
        self.rules.counters.received(payload.len());
        let ack = match partition(header) {
            Ok(partition) => self.store.produce(partition, payload).await,
            Err(error) => Err(error),
        };
        let pending = Pending {
            sequence: header.sequence,
            ack: ack.unwrap_or_else(|error| Ack::ready(Err(error))),
            deadline,
            _in_flight: permit,
            _frame: frame_permit,
        };
        self.queue.send(pending).await.map_err(|_| NobodyListens)
    }
}

fn partition(header: &v1::Produce) -> Result<TopicPartition, StoreError> {
    Ok(TopicPartition::new(topic_id(&header.topic_id)?, PartitionId(header.partition)))
}

/// Acknowledges until the queue is closed and empty. Acknowledgements that are there already share a
/// write.
async fn acknowledge(
    send: &mut FrameSender,
    mut pending: mpsc::Receiver<Pending>,
    rules: &SessionRules,
) -> Result<(), WireError> {
    while let Some(mut next) = pending.recv().await {
        loop {
            let result = if let Some(result) = (&mut next.ack).now_or_never() {
                result
            } else {
                write(send).await?;
                settle(&mut next).await
            };
            if result.is_err() {
                rules.counters.refused();
            }
            send.push(FrameKind::ProduceAck, &ack_frame(next.sequence, result), &[]);
            if send.queued_bytes() >= ACK_BYTES_MAX {
                write(send).await?;
            }
            match pending.try_recv() {
                Ok(following) => next = following,
                Err(_) => break,
            }
        }
        write(send).await?;
    }
    Ok(())
}

async fn write(send: &mut FrameSender) -> Result<(), WireError> {
    timeout(ACK_WRITE_TIMEOUT, send.flush()).await.unwrap_or(Err(WireError::FrameTimeout))
}

async fn settle(pending: &mut Pending) -> Result<Produced, StoreError> {
    timeout_at(pending.deadline, &mut pending.ack).await.unwrap_or_else(|_| {
        let message = "the batch was not acknowledged in time; its outcome is unknown";
        Err(StoreError::new(ErrorCode::RequestTimedOut, message))
    })
}

fn ack_frame(sequence: u64, result: Result<Produced, StoreError>) -> v1::ProduceAck {
    match result {
        Ok(produced) => v1::ProduceAck {
            sequence,
            base_offset: produced.base_offset.0,
            append_time_ms: produced.append_time.map(|time| time.0),
            log_start: produced.log_start.0,
            error: None,
        },
        Err(error) => {
            v1::ProduceAck { sequence, error: Some(error_message(error)), ..v1::ProduceAck::default() }
        }
    }
}

impl std::fmt::Debug for SessionRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRules")
            .field("in_flight_bytes", &self.in_flight_bytes)
            .field("in_flight_batches", &self.in_flight_batches)
            .finish_non_exhaustive()
    }
}
