//! The producer: records in, tickets out.
//!
//! `send` encodes a record straight into its partition's open batch and returns a [`Ticket`]. A batch
//! is due when it is full or its linger is over; the task of its lane writes it into a producer
//! session and settles its tickets when the answer comes. What holds between these is in the modules:
//! `queue` (order, sequences, retries; no I/O), `lane` (whose turn it is), `session` (the I/O).

mod lane;
mod memory;
mod options;
mod partitioner;
mod queue;
mod record;
mod session;
mod ticket;
mod topics;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tidelog_format::batch::HEADER_BYTES;
use tidelog_model::{Compression, ErrorCode, PartitionId, ProducerEpoch, ProducerId};
use tidelog_proto::v1;

pub use options::ProducerOptions;
pub use partitioner::{murmur2, partition_of};
pub use record::{Delivery, ProducerRecord};
pub use ticket::Ticket;

use crate::Error;
use crate::client::call::{Repeat, ask};
use crate::client::topic::Topic;
use crate::client::{Link, Shared, Tasks};
use crate::time::now_ms;
use lane::{Lane, Partition};
use memory::Memory;
use queue::{Content, Identity, Rules};
use topics::{Destination, Topics, lane_of};

/// Writes records to any number of topics. Clones share everything.
///
/// Records of one partition are stored in the order in which they were sent, each once
/// ([`ProducerOptions::idempotent`]), through reconnects and server restarts. [`Producer::close`]
/// before the last clone is dropped: dropping gives up what is not acknowledged yet.
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    core: Arc<Core>,
    tasks: Tasks,
}

/// What senders and lanes share.
#[derive(Debug)]
pub(crate) struct Core {
    options: ProducerOptions,
    request_timeout: Duration,
    link: Arc<Link>,
    lanes: Vec<Arc<Lane>>,
    topics: Topics,
    memory: Memory,
    identity: Mutex<Option<Identity>>,
    closed: AtomicBool,
}

impl Producer {
    pub(crate) async fn open(client: &Shared, options: ProducerOptions) -> Result<Self, Error> {
        options.check()?;
        let request_timeout = client.options.request_timeout;
        let identity =
            if options.idempotent { Some(init(&client.link, request_timeout).await?) } else { None };
        let core = Arc::new(Core {
            options,
            request_timeout,
            link: Arc::clone(&client.link),
            lanes: (0..options.sessions).map(|_| Arc::default()).collect(),
            topics: Topics::default(),
            memory: Memory::new(options.buffer_bytes, options.batch_bytes),
            identity: Mutex::new(identity),
            closed: AtomicBool::new(false),
        });
        let tasks = Tasks::default();
        for (i, lane) in core.lanes.iter().enumerate() {
            let span = tracing::debug_span!("producer", lane = i, client_id = %client.options.client_id);
            // The first lane shares the client's connection; each further one has its own, so that
            // encryption is spread over as many tasks.
            let link = match i {
                0 => Arc::clone(&client.link),
                _ => Arc::new(Link::new(Arc::clone(&client.options))),
            };
            tasks.spawn(span, session::run(Arc::clone(&core), Arc::clone(lane), link));
        }
        Ok(Self { handle: Arc::new(Handle { core, tasks }) })
    }

    /// Takes a record over; waits while too much is unacknowledged. The ticket resolves when the
    /// record is durable. Dropping this future sends nothing; dropping the ticket takes nothing back.
    ///
    /// An error here means that the record was not taken over; the server has not seen it.
    pub async fn send(&self, record: ProducerRecord<'_>) -> Result<Ticket, Error> {
        // A loop of sends that never waits would keep its thread from the tasks that do the sending.
        tokio::task::consume_budget().await;
        let core = &self.handle.core;
        let destination = match core.topics.get(record.topic) {
            Some(destination) => destination,
            None => core.find(record.topic).await?,
        };
        let (content, bytes) = core.prepare(&destination, &record)?;
        let partition = destination.choose(&record, bytes)?;
        let charge = match core.memory.try_take(bytes) {
            Some(charge) => charge,
            None => core.wait_for_memory(bytes).await?,
        };
        core.push(partition, &content, charge)
    }

    /// Like [`Producer::send`], without waiting: [`Error::BufferFull`] when too much is unacknowledged.
    /// The topic must have been sent to before (see [`Producer::prepare`]).
    pub fn try_send(&self, record: ProducerRecord<'_>) -> Result<Ticket, Error> {
        let core = &self.handle.core;
        let destination = core.topics.get(record.topic).ok_or_else(|| Error::Invalid {
            what: "topic",
            reason: format!("{} has not been prepared", record.topic),
        })?;
        let (content, bytes) = core.prepare(&destination, &record)?;
        let partition = destination.choose(&record, bytes)?;
        let charge = core.memory.try_take(bytes).ok_or(Error::BufferFull)?;
        core.push(partition, &content, charge)
    }

    /// Looks a topic up, as the first record for it would; says how many partitions it has.
    pub async fn prepare(&self, topic: &str) -> Result<u32, Error> {
        let core = &self.handle.core;
        let known = core.topics.get(topic);
        let destination = match known {
            Some(destination) => destination,
            None => core.find(topic).await?,
        };
        Ok(destination.topic.partitions)
    }

    /// Sends everything that was taken over so far, and waits until all of it has an outcome. Fails
    /// with the first failure among it.
    pub async fn flush(&self) -> Result<(), Error> {
        let mut unsettled = Vec::new();
        for lane in &self.handle.core.lanes {
            lane.flush(&mut unsettled);
        }
        let mut result = Ok(());
        for batch in unsettled {
            let outcome = ticket::settled(&batch).await;
            result = result.and(outcome);
        }
        result
    }

    /// Takes nothing more over, flushes, and stops. Fails with the first failure of what was flushed.
    pub async fn close(&self) -> Result<(), Error> {
        let core = &self.handle.core;
        core.closed.store(true, Ordering::Release);
        let result = self.flush().await;
        core.memory.close();
        self.handle.tasks.stop().await;
        result
    }

    /// The id under which records are numbered; `None` without idempotence.
    pub fn producer_id(&self) -> Option<ProducerId> {
        self.handle.core.identity.lock().map(|identity| identity.id)
    }
}

impl Core {
    async fn find(&self, name: &str) -> Result<Arc<Destination>, Error> {
        let topic = Topic::find(&self.link, name, self.request_timeout).await?;
        Ok(self.topics.add(topic, |topic| self.destination(topic)))
    }

    fn destination(&self, topic: Arc<Topic>) -> Destination {
        let rules = Rules {
            batch_bytes: self.options.batch_bytes.min(topic.max_message_bytes),
            linger: self.options.linger,
            delivery_timeout: self.options.delivery_timeout,
            max_in_flight: self.options.max_in_flight,
            compression: self.options.compression,
        };
        let identity = *self.identity.lock();
        let partitions = (0..topic.partitions)
            .map(PartitionId)
            .map(|id| {
                let lane = &self.lanes[lane_of(topic.id, id, self.lanes.len())];
                Partition::new(Arc::clone(&topic), id, lane, rules, identity)
            })
            .collect();
        Destination::new(topic, partitions, rules.batch_bytes)
    }

    /// The record as it goes into the batch, and what it takes there at most.
    fn prepare<'a>(
        &self,
        destination: &Destination,
        record: &ProducerRecord<'a>,
    ) -> Result<(Content<'a>, usize), Error> {
        let ProducerRecord { key, value, headers, timestamp, .. } = *record;
        let content = Content::new(timestamp.unwrap_or_else(now_ms), key, value, headers);
        let (bytes, max) = (HEADER_BYTES + content.bytes_alone, destination.topic.max_message_bytes);
        // Compression may make it fit; then the server decides.
        if bytes > max && self.options.compression == Compression::None {
            return Err(Error::RecordTooLarge { bytes, max });
        }
        let bytes = content.bytes_max();
        Ok((content, bytes))
    }

    /// When nothing is under way that will free memory, the lanes end the linger of what holds it.
    async fn wait_for_memory(&self, bytes: usize) -> Result<usize, Error> {
        self.memory.take(bytes, || self.lanes.iter().for_each(|lane| lane.wake())).await
    }

    fn push(
        &self,
        partition: &Arc<Partition>,
        content: &Content<'_>,
        charge: usize,
    ) -> Result<Ticket, Error> {
        let pushed = if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed("producer"))
        } else {
            partition.push(content, charge, &self.memory)
        };
        if pushed.is_err() {
            self.memory.give_back(charge);
        }
        pushed
    }

    /// An identity that is not `old`: the one that another partition got meanwhile, or a new one.
    async fn identity_after(&self, old: Identity) -> Result<Identity, Error> {
        if let Some(current) = *self.identity.lock()
            && current != old
        {
            return Ok(current);
        }
        let new = init(&self.link, self.request_timeout).await?;
        *self.identity.lock() = Some(new);
        Ok(new)
    }

    /// A topic that is gone, or whose limits have changed, is looked up again for the next record.
    fn refused(&self, partition: &Partition, error: &Error) {
        if let Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::MessageTooLarge) = error.code() {
            self.topics.forget(&partition.topic.name, partition.topic.id);
        }
    }
}

async fn init(link: &Link, within: Duration) -> Result<Identity, Error> {
    let answer = ask!(link, InitProducer, v1::InitProducerRequest {}, Repeat::Always, within)?;
    let epoch = i16::try_from(answer.producer_epoch).ok().filter(|epoch| *epoch >= 0);
    match (answer.producer_id, epoch) {
        (id @ 0.., Some(epoch)) => Ok(Identity { id: ProducerId(id), epoch: ProducerEpoch(epoch) }),
        _ => Err(Error::Protocol("a producer id that is none")),
    }
}
