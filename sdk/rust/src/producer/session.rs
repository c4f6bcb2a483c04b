//! The task of a lane: keeps a producer session open, writes batches into it, takes the answers.
//!
//! Both directions run in one task. When either fails, the session is over: what was unanswered goes
//! back to its queues, and the next session begins with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tidelog_model::{Offset, TimestampMs};
use tidelog_proto::v1;
use tidelog_wire::{Connection, FrameKind, FrameReceiver, FrameSender, Stream};
use tokio::sync::Notify;
use tracing::Span;
use tracing::field::Empty;

use super::Core;
use super::lane::{Lane, Outgoing, Partition, Turn};
use super::ticket::Acked;
use crate::Error;
use crate::client::{Backoff, Link};

/// Batches are gathered up to this much before they are handed to the transport.
const WRITE_BYTES: usize = 512 * 1024;

/// How often overdue batches are looked for.
const SWEEP: Duration = Duration::from_millis(250);

/// A batch that was sent and not answered yet.
#[derive(Debug)]
struct Flight {
    sequence: u64,
    partition: Arc<Partition>,
    number: u64,
    /// Open while the batch is on its way.
    span: Span,
}

/// One session's batches on their way, oldest first.
#[derive(Debug, Default)]
struct Flights {
    queue: Mutex<VecDeque<Flight>>,
    /// Told when the last one was answered.
    landed: Notify,
}

impl Flights {
    fn is_empty(&self) -> bool {
        self.queue.lock().is_empty()
    }

    fn push(&self, flight: Flight) {
        self.queue.lock().push_back(flight);
    }

    fn pop(&self) -> Option<Flight> {
        self.queue.lock().pop_front()
    }

    /// Waits until nothing is on its way.
    async fn landed(&self) {
        // One task both waits and tells: a permit that is left over costs one look more.
        while !self.is_empty() {
            self.landed.notified().await;
        }
    }
}

/// Runs a lane until it is cancelled.
pub(super) async fn run(core: Arc<Core>, lane: Arc<Lane>, link: Arc<Link>) {
    let _end = End { core: Arc::clone(&core), lane: Arc::clone(&lane) };
    tokio::join!(keep_connected(&core, &lane, &link), sweep(&core, &lane));
}

/// Leaves no ticket without an outcome, however the task ends.
struct End {
    core: Arc<Core>,
    lane: Arc<Lane>,
}

impl Drop for End {
    fn drop(&mut self) {
        for settled in self.lane.abandon(&Error::Closed("producer")) {
            self.core.memory.settle(settled);
        }
    }
}

async fn sweep(core: &Core, lane: &Lane) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for settled in lane.expire() {
            core.memory.settle(settled);
        }
    }
}

async fn keep_connected(core: &Core, lane: &Lane, link: &Link) {
    let mut backoff = Backoff::new();
    loop {
        let error = match open(core, link).await {
            Ok((connection, stream)) => {
                backoff.reset();
                match serve(core, lane, &connection, stream).await {
                    Ended::Moved => {
                        tracing::debug!("the server is going away; the producer session moves");
                        // A server that is always about to go must not be asked without pause.
                        backoff.wait(None).await;
                        continue;
                    }
                    Ended::Failed(error) => {
                        tracing::warn!(%error, "the producer session is interrupted; reconnecting");
                        error
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot open a producer session yet");
                error
            }
        };
        for settled in lane.disconnected(&error) {
            core.memory.settle(settled);
        }
        backoff.wait(error.retry_after()).await;
    }
}

/// How a session ended.
enum Ended {
    /// The server has said that it is going away, and everything that was sent is answered.
    Moved,
    Failed(Error),
}

async fn open(core: &Core, link: &Link) -> Result<(Connection, Stream), Error> {
    let connection = link.connection().await?;
    let mut stream = connection.open().await?;
    let timeout_ms = u32::try_from(core.options.delivery_timeout.as_millis()).unwrap_or(u32::MAX);
    stream.send.send(FrameKind::OpenProducer, &v1::OpenProducer { timeout_ms }, &[]).await?;
    let opened = tokio::time::timeout(core.request_timeout, stream.recv.expect()).await;
    let frame = opened.map_err(|_| Error::TimedOut {
        what: "opening a producer session",
        after: core.request_timeout,
        last: None,
    })??;
    frame.decode::<v1::ProducerOpened>(FrameKind::ProducerOpened)?;
    Ok((connection, stream))
}

/// Uses a session until it fails or the server goes away.
async fn serve(core: &Core, lane: &Lane, connection: &Connection, mut stream: Stream) -> Ended {
    let flights = Flights::default();
    let ended = tokio::select! {
        ended = write(core, lane, &flights, connection, &mut stream.send) => ended,
        ended = read(core, &flights, &mut stream.recv) => ended,
        () = lane.restarted() => Err(Error::TimedOut {
            what: "an answer of the server",
            after: core.options.delivery_timeout,
            last: None,
        }),
    };
    match ended {
        Ok(()) => Ended::Moved,
        // The server may be quicker to end the session.
        Err(_) if connection.is_going_away() && flights.is_empty() => Ended::Moved,
        Err(error) => Ended::Failed(error),
    }
}

async fn write(
    core: &Core,
    lane: &Lane,
    flights: &Flights,
    connection: &Connection,
    sender: &mut FrameSender,
) -> Result<(), Error> {
    let mut sequence = 0;
    loop {
        if connection.is_going_away() {
            sender.finish().await?;
            flights.landed().await;
            return Ok(());
        }
        let now = Instant::now();
        while sender.queued_bytes() < WRITE_BYTES {
            let nothing_under_way = || sender.queued_bytes() == 0 && flights.is_empty();
            match lane.next_turn(now, core.memory.is_short() && nothing_under_way()) {
                Some(Turn::Send(outgoing)) => {
                    send(sender, flights, sequence, outgoing);
                    sequence += 1;
                }
                Some(Turn::Nothing) => {}
                Some(Turn::NeedsIdentity(partition, old)) => {
                    let identity = core.identity_after(old).await?;
                    tracing::warn!(
                        topic = %partition.topic.name, partition = %partition.id,
                        old = %old.id, new = %identity.id,
                        "the partition goes on under another producer id"
                    );
                    for settled in partition.adopt(identity) {
                        core.memory.settle(settled);
                    }
                }
                None => break,
            }
        }
        if sender.queued_bytes() > 0 {
            sender.flush().await?;
        } else {
            tokio::select! {
                () = lane.due() => {}
                () = connection.going_away() => {}
            }
        }
    }
}

fn send(sender: &mut FrameSender, flights: &Flights, sequence: u64, outgoing: Outgoing) {
    let Outgoing { partition, number, records, bytes } = outgoing;
    let produce = v1::Produce {
        topic_id: Bytes::copy_from_slice(partition.topic_id().as_bytes()),
        partition: partition.id.0,
        sequence,
    };
    let span = span_of(&partition, records, bytes.len());
    sender.push(FrameKind::Produce, &produce, &[bytes]);
    flights.push(Flight { sequence, partition, number, span });
}

/// OpenTelemetry's messaging conventions: one span for the sending of a batch.
fn span_of(partition: &Partition, records: u32, bytes: usize) -> Span {
    tracing::debug_span!(
        "send",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "tidelog",
        messaging.operation.name = "send",
        messaging.operation.r#type = "send",
        messaging.destination.name = %partition.topic.name,
        messaging.destination.partition.id = %partition.id,
        messaging.batch.message_count = records,
        messaging.message.envelope.size = bytes,
        messaging.tidelog.offset = Empty,
        error.r#type = Empty,
    )
}

async fn read(core: &Core, flights: &Flights, receiver: &mut FrameReceiver) -> Result<(), Error> {
    loop {
        let frame = receiver.expect().await?;
        let ack: v1::ProduceAck = frame.decode(FrameKind::ProduceAck)?;
        let flight = flights.pop();
        let Some(flight) = flight.filter(|flight| flight.sequence == ack.sequence) else {
            return Err(Error::Protocol("an acknowledgement out of turn"));
        };
        let answer = match ack.error {
            None => Ok(Acked {
                base_offset: Offset(ack.base_offset),
                append_time: ack.append_time_ms.map(TimestampMs),
            }),
            Some(error) => Err(Error::from(error)),
        };
        record(&flight.span, &answer);
        if let Err(error) = &answer {
            core.refused(&flight.partition, error);
        }
        if let Some(settled) = flight.partition.answered(flight.number, answer) {
            core.memory.settle(settled);
        }
        if flights.is_empty() {
            flights.landed.notify_one();
        }
    }
}

fn record(span: &Span, answer: &Result<Acked, Error>) {
    if span.is_disabled() {
        return;
    }
    match answer {
        Ok(acked) => {
            span.record("messaging.tidelog.offset", acked.base_offset.0);
        }
        Err(error) => {
            span.record("otel.status_code", "ERROR");
            span.record("error.type", error.code().map_or("other", tidelog_model::ErrorCode::name));
        }
    }
}
