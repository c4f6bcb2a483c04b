//! The consumer: the records of a topic's partitions, as a stream.
//!
//! A task for each partition keeps a subscription open (`subscription`) and puts what comes onto a
//! `shelf`, from which the stream takes batches in turn and decodes them as they are asked for.

mod options;
mod record;
mod shelf;
mod subscription;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tidelog_format::batch::{BatchError, Records};
use tidelog_model::{Offset, PartitionId};

pub use options::{ConsumerOptions, Isolation, StartAt};
pub use record::{ConsumedBatch, ConsumerRecord};

use crate::Error;
use crate::client::topic::Topic;
use crate::client::{Link, Shared, Tasks};
use shelf::{Item, Place, Shelf};
use subscription::Reader;

/// Reads partitions of one topic. A `Stream` of records; [`Consumer::next_batch`] gives whole batches.
///
/// Each partition's records come in order, every one once; partitions take turns. A broken connection
/// is made anew and reading goes on where it was; only what lasts longer than
/// [`ConsumerOptions::patience`] shows up as an error, after which reading still goes on. An error
/// that will not pass (see [`Error::is_retryable`]) ends its partition, until [`Consumer::seek`]. The
/// stream ends when every partition has ended.
///
/// Nothing is lost when a future of this type is dropped.
#[derive(Debug)]
pub struct Consumer {
    reader: Arc<Reader>,
    /// The batch that the record stream is in.
    reading: Option<Reading>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Reading {
    place: Place,
    batch: ConsumedBatch,
    records: Records,
}

/// Where a consumer is; for asking and waiting while the consumer itself is in use.
#[derive(Clone, Debug)]
pub struct Progress {
    reader: Arc<Reader>,
}

impl Progress {
    /// Every partition's next offset; `None` before the server has said where it begins.
    pub fn positions(&self) -> Vec<(PartitionId, Option<Offset>)> {
        let shelf = &self.reader.shelf;
        shelf.partitions().enumerate().map(|(slot, partition)| (partition, shelf.position(slot))).collect()
    }

    /// The application has got everything that there was to read when the server last looked.
    pub fn is_caught_up(&self) -> bool {
        self.reader.shelf.is_caught_up()
    }

    /// Waits for that. The consumer has to be read meanwhile.
    pub async fn caught_up(&self) {
        self.reader.shelf.caught_up().await;
    }
}

impl Consumer {
    pub(crate) async fn open(client: &Shared, topic: &str, options: ConsumerOptions) -> Result<Self, Error> {
        options.check()?;
        let topic = Topic::find(&client.link, topic, client.options.request_timeout).await?;
        let partitions: Vec<PartitionId> = match &options.partitions {
            Some(named) => named.iter().map(|p| topic.partition(*p)).collect::<Result<_, _>>()?,
            None => (0..topic.partitions).map(PartitionId).collect(),
        };
        let mut link = client.options.as_ref().clone();
        link.settings = ConsumerOptions::transport(partitions.len(), &link.settings);
        let bytes_max = options.partition_bytes(partitions.len());
        let reader = Arc::new(Reader {
            link: Link::new(Arc::new(link)),
            shelf: Arc::new(Shelf::new(&partitions, options.start, bytes_max)),
            isolation: options.isolation,
            stop_at_end: options.stop_at_end,
            payload_bytes: options.payload_bytes(partitions.len()),
            patience: options.patience,
            request_timeout: client.options.request_timeout,
            topic: Arc::new(topic),
        });
        let tasks = Tasks::default();
        for (slot, partition) in partitions.iter().enumerate() {
            let span = tracing::debug_span!("consumer", topic = %reader.topic.name, %partition);
            tasks.spawn(span, subscription::run(Arc::clone(&reader), slot));
        }
        Ok(Self { reader, reading: None, tasks })
    }

    pub fn topic(&self) -> &str {
        &self.reader.topic.name
    }

    pub fn progress(&self) -> Progress {
        Progress { reader: Arc::clone(&self.reader) }
    }

    /// Every partition's next offset; `None` before the server has said where it begins.
    pub fn positions(&self) -> Vec<(PartitionId, Option<Offset>)> {
        self.progress().positions()
    }

    /// The application has got everything that there was to read when the server last looked.
    pub fn is_caught_up(&self) -> bool {
        self.reader.shelf.is_caught_up()
    }

    /// The next batch, of whichever partition has one; `None` at the end. After records of a batch
    /// were read one by one, the rest of it comes first.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, Error>> {
        poll_fn(|cx| self.poll_next_batch(cx)).await
    }

    /// The consumer as a stream of batches.
    pub fn batches(&mut self) -> impl Stream<Item = Result<ConsumedBatch, Error>> + '_ {
        futures::stream::poll_fn(|cx| self.poll_next_batch(cx))
    }

    /// Goes on elsewhere in a partition. Nothing from before comes after this returns.
    pub fn seek(&mut self, partition: PartitionId, start: StartAt) -> Result<(), Error> {
        let slot = self.slot(partition)?;
        self.reading.take_if(|reading| reading.place.slot == slot);
        self.reader.shelf.seek(slot, start);
        Ok(())
    }

    /// Gives no more records of a partition until [`Consumer::resume`]. Others are not affected.
    pub fn pause(&mut self, partition: PartitionId) -> Result<(), Error> {
        let slot = self.slot(partition)?;
        self.reader.shelf.pause(slot);
        if let Some(reading) = self.reading.take_if(|reading| reading.place.slot == slot) {
            let place = reading.place;
            if let Some(rest) = self.rest_of(reading) {
                self.reader.shelf.put_back(place, rest);
            }
        }
        Ok(())
    }

    pub fn resume(&mut self, partition: PartitionId) -> Result<(), Error> {
        let slot = self.slot(partition)?;
        self.reader.shelf.resume(slot);
        Ok(())
    }

    /// Stops reading and waits until every task is gone.
    pub async fn close(self) {
        self.tasks.stop().await;
        self.reader.link.close();
    }

    fn slot(&self, partition: PartitionId) -> Result<usize, Error> {
        self.reader.shelf.find(partition).ok_or_else(|| Error::Invalid {
            what: "partition",
            reason: format!("{partition} is not one that this consumer reads"),
        })
    }

    /// What has not been read of a batch, if anything.
    fn rest_of(&self, reading: Reading) -> Option<ConsumedBatch> {
        let Reading { place, mut batch, .. } = reading;
        let position = self.reader.shelf.position(place.slot).unwrap_or_default();
        batch.first_wanted = batch.first_wanted.max(position);
        (batch.first_wanted < batch.next_offset()).then_some(batch)
    }

    fn poll_next_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ConsumedBatch, Error>>> {
        let (place, batch) = match self.reading.take() {
            Some(reading) => {
                let place = reading.place;
                match self.rest_of(reading) {
                    Some(rest) => (place, rest),
                    None => return self.poll_next_batch(cx),
                }
            }
            None => match ready!(self.poll_item(cx)) {
                Some(Ok(taken)) => taken,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            },
        };
        self.used_up(place, batch.next_offset());
        Poll::Ready(Some(Ok(batch)))
    }

    fn poll_item(&self, cx: &Context<'_>) -> Poll<Option<Result<(Place, ConsumedBatch), Error>>> {
        loop {
            return Poll::Ready(match ready!(self.reader.shelf.poll_take(cx)) {
                Some((place, Item::Batch(batch))) => Some(Ok((place, batch))),
                Some((_, Item::Trouble(error) | Item::Failed(error))) => Some(Err(error)),
                Some((_, Item::Ended)) => {
                    self.reader.shelf.progressed();
                    continue;
                }
                None => None,
            });
        }
    }

    fn used_up(&self, place: Place, next: Offset) {
        self.reader.shelf.advance(place, next);
        self.reader.shelf.progressed();
    }

    fn damaged(batch: &ConsumedBatch, error: BatchError) -> Error {
        let (topic, partition) = (batch.topic.to_string(), batch.partition.0);
        Error::Damaged { topic, partition, offset: batch.batch.base_offset(), error }
    }

    /// The next record of the batch that is being read; `None` when it is used up.
    fn next_in_batch(&mut self) -> Option<Result<ConsumerRecord, Error>> {
        loop {
            let Reading { place, batch, records } = self.reading.as_mut()?;
            let place = *place;
            match records.next() {
                Some(Ok(record)) if record.offset < batch.first_wanted => {}
                Some(Ok(record)) => {
                    self.reader.shelf.advance(place, record.offset + 1);
                    return Some(Ok(ConsumerRecord::new(batch.partition, record)));
                }
                end => {
                    let next = batch.next_offset();
                    let reading = self.reading.take()?;
                    self.used_up(place, next);
                    if let Some(Err(error)) = end {
                        return Some(Err(Self::damaged(&reading.batch, error)));
                    }
                }
            }
        }
    }

    /// Begins to read a batch. A transaction marker has nothing to read.
    fn begin(&mut self, place: Place, batch: ConsumedBatch) -> Result<(), Error> {
        if batch.batch.header().attributes.is_control() {
            self.used_up(place, batch.next_offset());
            return Ok(());
        }
        match batch.batch.records() {
            Ok(records) => {
                self.reading = Some(Reading { place, batch, records });
                Ok(())
            }
            Err(error) => {
                self.used_up(place, batch.next_offset());
                Err(Self::damaged(&batch, error))
            }
        }
    }
}

impl Stream for Consumer {
    type Item = Result<ConsumerRecord, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(record) = self.next_in_batch() {
                return Poll::Ready(Some(record));
            }
            let begun = match ready!(self.poll_item(cx)) {
                Some(Ok((place, batch))) => self.begin(place, batch),
                Some(Err(error)) => Err(error),
                None => return Poll::Ready(None),
            };
            if let Err(error) = begun {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}
