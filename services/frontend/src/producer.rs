//! Producer sessions: batches in, acknowledgements out in the same order.
//!
//! Two loops share a bounded queue. One reads frames and gives batches their place in their
//! partitions' order; the other waits for each batch to be durable and acknowledges it. When the
//! queue or the session's bytes in flight are used up, frames are no longer read, and the transport's
//! flow control slows the client. A batch that is refused is answered in its turn; the session goes on.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tidelog_model::{ErrorCode, PartitionId, TopicPartition};
use tidelog_peer::{Ack, Produced, StoreError};
use tidelog_proto::v1;
use tidelog_wire::{
    ByteBudget, BytePermit, CloseCode, Frame, FrameKind, FrameReceiver, FrameSender, Stream, WireError,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::connection::{finish, give_up};
use crate::edge::{Edge, topic_id};
use crate::error;

/// The longest that a client can let a batch wait.
const TIMEOUT_MAX: Duration = Duration::from_mins(10);

/// Acknowledgements are written together up to this many bytes.
const ACK_BYTES_MAX: usize = 16 * 1024;

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
    /// The client has finished its side.
    Finished,
    /// The frontend drains.
    Drained,
    Failed(WireError),
}

pub(crate) async fn serve(mut stream: Stream, first: &Frame, edge: &Arc<Edge>) {
    let open: v1::OpenProducer = match first.decode(FrameKind::OpenProducer) {
        Ok(open) => open,
        Err(error) => return give_up(stream, &error).await,
    };
    let options = &edge.options;
    let timeout = match open.timeout_ms {
        0 => options.produce_timeout,
        ms => Duration::from_millis(u64::from(ms)).min(TIMEOUT_MAX),
    };
    let opened = v1::ProducerOpened {
        in_flight_bytes_max: options.producer_in_flight_bytes as u64,
        in_flight_batches_max: u32::try_from(options.producer_in_flight_batches).unwrap_or(u32::MAX),
    };
    if stream.send.send(FrameKind::ProducerOpened, &opened, &[]).await.is_err() {
        return;
    }
    let Some(read_end) = run(&mut stream, timeout, edge).await else { return };
    match read_end {
        ReadEnd::Finished => finish(stream).await,
        ReadEnd::Drained => {
            stream.fail(&error::shutting_down(), CloseCode::STREAM_SHUTTING_DOWN).await;
        }
        ReadEnd::Failed(error) => give_up(stream, &error).await,
    }
}

/// Both loops, until nothing is left to acknowledge. `None` when nobody listens any more: what is in
/// order stays so, unacknowledged.
async fn run(stream: &mut Stream, timeout: Duration, edge: &Edge) -> Option<ReadEnd> {
    let (queue, pending) = mpsc::channel(edge.options.producer_in_flight_batches.max(1));
    let reading = read(&mut stream.recv, queue, timeout, edge);
    let acknowledging = acknowledge(&mut stream.send, pending, edge);
    tokio::pin!(reading, acknowledging);
    let read_end = tokio::select! {
        biased;
        _ = &mut acknowledging => return None,
        end = &mut reading => end,
    };
    acknowledging.await.ok().map(|()| read_end)
}

async fn read(
    frames: &mut FrameReceiver,
    queue: mpsc::Sender<Pending>,
    timeout: Duration,
    edge: &Edge,
) -> ReadEnd {
    let in_flight = ByteBudget::new(edge.options.producer_in_flight_bytes);
    let mut expected = 0;
    loop {
        let frame = tokio::select! {
            biased;
            () = edge.drain.cancelled() => return ReadEnd::Drained,
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
        let deadline = Instant::now() + timeout;
        let permit = in_flight.acquire(frame.payload.len()).await;
        let Frame { payload, permit: frame_permit, .. } = frame;
        edge.metrics.produced_batches.inc();
        edge.metrics.produced_bytes.inc_by(payload.len() as u64);
        let ack = match partition(&header) {
            Ok(partition) => edge.store.produce(partition, payload).await,
            Err(error) => Err(error),
        };
        let pending = Pending {
            sequence: header.sequence,
            ack: ack.unwrap_or_else(|error| Ack::ready(Err(error))),
            deadline,
            _in_flight: permit,
            _frame: frame_permit,
        };
        if queue.send(pending).await.is_err() {
            return ReadEnd::Finished;
        }
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
    edge: &Edge,
) -> Result<(), WireError> {
    while let Some(mut next) = pending.recv().await {
        loop {
            let result = if let Some(result) = (&mut next.ack).now_or_never() {
                result
            } else {
                send.flush().await?;
                settle(&mut next).await
            };
            if result.is_err() {
                edge.metrics.refused_batches.inc();
            }
            send.push(FrameKind::ProduceAck, &ack_frame(next.sequence, result), &[]);
            if send.queued_bytes() >= ACK_BYTES_MAX {
                send.flush().await?;
            }
            match pending.try_recv() {
                Ok(following) => next = following,
                Err(_) => break,
            }
        }
        send.flush().await?;
    }
    Ok(())
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
            v1::ProduceAck { sequence, error: Some(error::of_store(error)), ..v1::ProduceAck::default() }
        }
    }
}
