//! The sending end of a forward lane.
//!
//! Batches leave in the order in which they were handed over, and are acknowledged in that order. What
//! is not acknowledged yet is bounded in bytes; who hands over more waits.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_model::{ErrorCode, Offset, TimestampMs, TopicPartition};
use tidelog_peer::{AckSender, Produced, StoreError};
use tidelog_proto::v1;
use tidelog_wire::{ByteBudget, BytePermit, FrameKind, FrameReceiver, FrameSender, Stream, WireError};
use tokio::sync::mpsc;

use crate::convert::{error, topic_id_bytes};
use crate::limits::FORWARD_BYTES_MAX;

/// Queued batches are written together up to this many bytes.
const WRITE_BYTES: usize = 1024 * 1024;

/// A lane that batches can be handed to until it ends. Dropping it ends it.
#[derive(Debug)]
pub struct ForwardLane {
    queue: mpsc::UnboundedSender<Forwarded>,
    in_flight: ByteBudget,
}

#[derive(Debug)]
struct Forwarded {
    partition: TopicPartition,
    batch: Bytes,
    waiting: Waiting,
}

/// Who waits for an acknowledgement, and what the batch takes until then.
#[derive(Debug)]
struct Waiting {
    ack: AckSender,
    _room: LaneRoom,
}

/// A batch's part of what a lane may have unacknowledged.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct LaneRoom(#[expect(dead_code, reason = "held until the batch is acknowledged")] BytePermit);

/// What has left and is not acknowledged, oldest first.
type Sent = Arc<Mutex<VecDeque<Waiting>>>;

impl ForwardLane {
    /// Opens the lane; with it comes the work that it needs done for as long as it lives. `addr` is for
    /// errors.
    pub(crate) async fn open(
        mut stream: Stream,
        addr: String,
    ) -> Result<(Self, impl Future<Output = ()> + Send), WireError> {
        stream.send.send(FrameKind::OpenProducer, &v1::OpenProducer::default(), &[]).await?;
        let opened = stream.recv.expect().await?;
        let _: v1::ProducerOpened = opened.decode(FrameKind::ProducerOpened)?;
        let (queue, forwarded) = mpsc::unbounded_channel();
        let lane = Self { queue, in_flight: ByteBudget::new(FORWARD_BYTES_MAX) };
        Ok((lane, work(stream, forwarded, addr)))
    }

    pub fn is_over(&self) -> bool {
        self.queue.is_closed()
    }

    /// Waits for room for a batch of so many bytes.
    pub async fn room(&self, batch_bytes: usize) -> LaneRoom {
        LaneRoom(self.in_flight.acquire(batch_bytes).await)
    }

    /// Room for a batch of so many bytes, if there is some now.
    pub fn try_room(&self, batch_bytes: usize) -> Option<LaneRoom> {
        self.in_flight.try_acquire(batch_bytes).map(LaneRoom)
    }

    /// Hands a batch over: batches leave in the order of these calls, and are answered in that order.
    /// When the lane has ended nothing leaves, and the acknowledgement's sender comes back.
    pub fn send(
        &self,
        room: LaneRoom,
        partition: TopicPartition,
        batch: Bytes,
        ack: AckSender,
    ) -> Result<(), AckSender> {
        let waiting = Waiting { ack, _room: room };
        let handed_over = self.queue.send(Forwarded { partition, batch, waiting });
        handed_over.map_err(|refused| refused.0.waiting.ack)
    }
}

async fn work(stream: Stream, mut forwarded: mpsc::UnboundedReceiver<Forwarded>, addr: String) {
    let sent = Sent::default();
    let Stream { send, recv } = stream;
    let ended = tokio::select! {
        error = write(send, &mut forwarded, &sent) => error,
        error = read(recv, &sent) => error,
    };
    let lost = |code, what| StoreError::new(code, format!("{addr} {what}: {ended}"));
    let unanswered = std::mem::take(&mut *sent.lock());
    for waiting in unanswered {
        let error = lost(ErrorCode::RequestTimedOut, "went away before it acknowledged the batch");
        waiting.ack.send(Err(error));
    }
    forwarded.close();
    while let Ok(unsent) = forwarded.try_recv() {
        let error = lost(ErrorCode::BrokerNotAvailable, "went away before the batch was sent");
        unsent.waiting.ack.send(Err(error));
    }
}

async fn write(
    mut send: FrameSender,
    forwarded: &mut mpsc::UnboundedReceiver<Forwarded>,
    sent: &Sent,
) -> WireError {
    let mut sequence = 0;
    while let Some(first) = forwarded.recv().await {
        let mut next = Some(first);
        while let Some(Forwarded { partition, batch, waiting }) = next {
            // Before it leaves: its acknowledgement could otherwise be there first.
            sent.lock().push_back(waiting);
            let topic_id = topic_id_bytes(partition.topic);
            let header = v1::Produce { topic_id, partition: partition.partition.0, sequence };
            send.push(FrameKind::Produce, &header, &[batch]);
            sequence += 1;
            next = (send.queued_bytes() < WRITE_BYTES).then(|| forwarded.try_recv().ok()).flatten();
        }
        if let Err(error) = send.flush().await {
            return error;
        }
    }
    // The lane was dropped; what has left is still acknowledged.
    match send.finish().await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

async fn read(mut recv: FrameReceiver, sent: &Sent) -> WireError {
    let mut expected = 0;
    loop {
        let ack: v1::ProduceAck =
            match recv.expect().await.and_then(|frame| frame.decode(FrameKind::ProduceAck)) {
                Ok(ack) => ack,
                Err(error) => return error,
            };
        let waiting = sent.lock().pop_front();
        let Some(waiting) = waiting.filter(|_| ack.sequence == expected) else {
            return WireError::Malformed(format!("acknowledgement {} instead of {expected}", ack.sequence));
        };
        expected += 1;
        waiting.ack.send(match ack.error {
            Some(refused) => Err(error(refused)),
            None => Ok(Produced {
                base_offset: Offset(ack.base_offset),
                append_time: ack.append_time_ms.map(TimestampMs),
                log_start: Offset(ack.log_start),
            }),
        });
    }
}
