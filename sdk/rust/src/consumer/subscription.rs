//! The task of one partition: keeps a subscription open and puts what comes onto the shelf.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_format::batch::split;
use tidelog_model::Offset;
use tidelog_model::limits::BATCH_BYTES_MAX;
use tidelog_proto::v1;
use tidelog_wire::{Frame, FrameKind, FrameReceiver, Stream};

use super::options::{Isolation, StartAt};
use super::record::ConsumedBatch;
use super::shelf::{Admission, Item, Place, Shelf};
use crate::Error;
use crate::client::topic::{Topic, by_id};
use crate::client::{Backoff, Link};

/// How often a batch may arrive damaged, one time after the other, before that is the answer.
const DAMAGE_MAX: u32 = 3;

/// What the subscriptions of a consumer share.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) topic: Arc<Topic>,
    pub(super) link: Link,
    pub(super) shelf: Arc<Shelf>,
    pub(super) isolation: Isolation,
    pub(super) stop_at_end: bool,
    pub(super) payload_bytes: u32,
    pub(super) patience: Duration,
    pub(super) request_timeout: Duration,
}

/// How far a subscription has come; outlives its stream.
#[derive(Debug)]
struct Progress {
    place: Place,
    start: StartAt,
    /// The next offset wanted, once the server has said where it begins.
    next: Option<Offset>,
    /// Where to end, fixed when the subscription first began.
    stop: Option<Offset>,
    failing_since: Option<Instant>,
    damaged: u32,
}

enum End {
    /// Everything that was asked for is there.
    Reached,
    /// The stream was let go, because nobody wants its records now.
    Paused,
}

/// Serves a slot, from one seek to the next, until it is cancelled.
pub(super) async fn run(reader: Arc<Reader>, slot: usize) {
    loop {
        let (place, start) = reader.shelf.assignment(slot);
        tokio::select! {
            () = reader.shelf.moved(place) => {}
            item = reader.follow(place, start) => {
                reader.shelf.put(place, item);
                reader.shelf.progressed();
                reader.shelf.moved(place).await;
            }
        }
    }
}

impl Reader {
    /// Reads on until there is nothing more to read or no hope to; says which.
    async fn follow(&self, place: Place, start: StartAt) -> Item {
        let mut progress = Progress { place, start, next: None, stop: None, failing_since: None, damaged: 0 };
        let mut backoff = Backoff::new();
        loop {
            self.shelf.admitted(place).await;
            let error = match self.subscribe(&mut progress).await {
                Ok(End::Reached) => return Item::Ended,
                Ok(End::Paused) => continue,
                Err(error) => error,
            };
            progress.damaged += u32::from(matches!(error, Error::Damaged { .. }));
            if !error.is_retryable() || progress.damaged >= DAMAGE_MAX {
                return Item::Failed(error);
            }
            let failing_since = *progress.failing_since.get_or_insert_with(|| {
                backoff.reset();
                let partition = self.shelf.partition(place.slot);
                tracing::warn!(topic = %self.topic.name, %partition, %error, "reading is interrupted");
                Instant::now()
            });
            let asked = error.retry_after();
            if failing_since.elapsed() > self.patience {
                progress.failing_since = Some(Instant::now());
                self.shelf.put(place, Item::Trouble(error));
            }
            backoff.wait(asked).await;
        }
    }

    /// Opens a subscription and reads it until it ends.
    async fn subscribe(&self, progress: &mut Progress) -> Result<End, Error> {
        let connection = self.link.connection().await?;
        let mut stream = connection.open().await?;
        let request = self.request(progress);
        stream.send.send(FrameKind::Subscribe, &request, &[]).await?;
        let answer = tokio::time::timeout(self.request_timeout, stream.recv.expect()).await;
        let frame = answer.map_err(|_| Error::TimedOut {
            what: "opening a subscription",
            after: self.request_timeout,
            last: None,
        })??;
        let subscribed: v1::Subscribed = frame.decode(FrameKind::Subscribed)?;
        let begin = progress.next.unwrap_or(Offset(subscribed.offset));
        progress.next = Some(begin);
        progress.stop = progress.stop.or(subscribed.stop_offset.map(Offset));
        self.shelf.begun(progress.place, begin);
        self.read(progress, stream).await
    }

    fn request(&self, progress: &Progress) -> v1::Subscribe {
        let start = progress.next.map_or(progress.start, StartAt::Offset);
        v1::Subscribe {
            topic: Some(by_id(self.topic.id)),
            partition: self.shelf.partition(progress.place.slot).0,
            start: Some(start.to_proto()),
            isolation: self.isolation.to_proto() as i32,
            // Begun anew, a subscription ends where it would have ended at first.
            stop_at_end: self.stop_at_end && progress.stop.is_none(),
            stop_offset: progress.stop.map(|offset| offset.0),
            payload_bytes_wanted: self.payload_bytes,
        }
    }

    async fn read(&self, progress: &mut Progress, mut stream: Stream) -> Result<End, Error> {
        loop {
            match self.shelf.admission(progress.place) {
                Admission::Read => {}
                Admission::Full => {
                    self.shelf.admitted(progress.place).await;
                    continue;
                }
                Admission::Paused => return Ok(End::Paused),
            }
            let frame = self.frame(&mut stream.recv).await?;
            match frame.kind {
                FrameKind::Records => self.on_records(progress, frame)?,
                FrameKind::CaughtUp => {
                    let caught_up: v1::CaughtUp = frame.decode(FrameKind::CaughtUp)?;
                    progress.failing_since = None;
                    self.shelf.caught_up_to(progress.place, Offset(caught_up.offset));
                }
                _ => {
                    let end: v1::End = frame.decode(FrameKind::End)?;
                    self.shelf.caught_up_to(progress.place, Offset(end.offset));
                    return Ok(End::Reached);
                }
            }
        }
    }

    async fn frame(&self, recv: &mut FrameReceiver) -> Result<Frame, Error> {
        Ok(recv.expect().await?)
    }

    fn on_records(&self, progress: &mut Progress, frame: Frame) -> Result<(), Error> {
        let records: v1::Records = frame.decode(FrameKind::Records)?;
        let partition = self.shelf.partition(progress.place.slot);
        let _span = tracing::debug_span!(
            "receive",
            otel.kind = "consumer",
            messaging.system = "tidelog",
            messaging.operation.name = "receive",
            messaging.operation.r#type = "receive",
            messaging.destination.name = %self.topic.name,
            messaging.destination.partition.id = %partition,
            messaging.message.envelope.size = frame.payload.len(),
            messaging.tidelog.next_offset = records.next_offset,
        )
        .entered();
        for batch in split(frame.payload.freeze(), BATCH_BYTES_MAX) {
            let next = progress.next.unwrap_or_default();
            let damaged = |error| Error::Damaged {
                topic: self.topic.name.to_string(),
                partition: partition.0,
                offset: next,
                error,
            };
            let batch = batch.map_err(damaged)?;
            batch.verify().map_err(damaged)?;
            if batch.next_offset() <= next {
                return Err(Error::Protocol("records that came before"));
            }
            progress.next = Some(batch.next_offset());
            progress.failing_since = None;
            progress.damaged = 0;
            let high_watermark = Offset(records.high_watermark);
            let topic = Arc::clone(&self.topic.name);
            let batch = ConsumedBatch { topic, partition, batch, first_wanted: next, high_watermark };
            self.shelf.put(progress.place, Item::Batch(batch));
        }
        progress.next = progress.next.max(Some(Offset(records.next_offset)));
        Ok(())
    }
}
