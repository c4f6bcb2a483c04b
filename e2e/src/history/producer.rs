//! A producer that records: many records under way, each an operation of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tidelog::{Client, Delivery, Error, PartitionId, Producer as Handle, ProducerOptions, ProducerRecord};
use tidelog_checker::{Op, Outcome, ProcessId, Produce, Producer};
use tokio::time::{MissedTickBehavior, interval};

use super::{Identity, Recorder, Running, Topic, is_stopped, value};

/// Records that one producer leaves open at most.
const OPEN_MAX: usize = 2_000;

/// A producer's pace: enough to be load, little enough that every record can be remembered.
const BURST: u64 = 25;
const BURST_EVERY: Duration = Duration::from_millis(10);

impl Recorder {
    /// Starts an idempotent producer that writes to all partitions in turn.
    pub fn produce(&self, client: Client, topic: &Topic) -> Running {
        let (identity, topic) = (self.identity(), topic.clone());
        Running::spawn(|stop| run(identity, client, topic, stop))
    }

    /// Writes one record with a producer of its own, tried for so long; what came of it.
    ///
    /// # Panics
    /// When there is no producer to be had.
    pub async fn write_once(
        &self,
        client: &Client,
        topic: &Topic,
        partition: u32,
        within: Duration,
    ) -> Outcome {
        let mut identity = self.identity();
        let options = ProducerOptions { delivery_timeout: within, ..ProducerOptions::default() };
        let handle = client.producer(options).await.expect("a producer");
        let (sent, text) = next(&identity, &handle, topic, partition);
        let record = ProducerRecord::new(&topic.name.0, &text).partition(PartitionId(partition));
        let delivered = match handle.send(record).await {
            Ok(ticket) => ticket.await,
            Err(error) => Err(error),
        };
        record_delivery(&mut identity, sent, delivered)
    }
}

/// A record that was sent.
struct Sent {
    start: u64,
    process: ProcessId,
    produce: Produce,
}

async fn run(mut identity: Identity, client: Client, topic: Topic, stop: Arc<AtomicBool>) {
    let options = ProducerOptions { linger: Duration::from_millis(2), ..ProducerOptions::default() };
    let handle = client.producer(options).await.expect("a producer");
    let mut open = FuturesUnordered::new();
    let mut pace = interval(BURST_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        if number.is_multiple_of(BURST) {
            pace.tick().await;
        }
        let stopping = is_stopped(&stop);
        while open.len() >= if stopping { 1 } else { OPEN_MAX } {
            let Some((sent, delivered)) = open.next().await else { break };
            record_delivery(&mut identity, sent, delivered);
        }
        // Answers that are there are taken down at once: an end that is recorded late proves less.
        while let Some(Some((sent, delivered))) = futures::FutureExt::now_or_never(open.next()) {
            record_delivery(&mut identity, sent, delivered);
        }
        if stopping {
            break;
        }
        let partition = (number % u64::from(topic.partitions)) as u32;
        let (sent, text) = next(&identity, &handle, &topic, partition);
        let record = ProducerRecord::new(&topic.name.0, &text).partition(PartitionId(partition));
        match handle.send(record).await {
            Ok(ticket) => open.push(async move { (sent, ticket.await) }),
            // It was not taken over: nobody has seen its value.
            Err(error) => assert!(error.has_no_side_effects(), "not sent, yet with side effects: {error}"),
        }
    }
}

/// A record with a value of its own, about to be sent, and that value.
fn next(identity: &Identity, handle: &Handle, topic: &Topic, partition: u32) -> (Sent, String) {
    let value = identity.recorder.value();
    let producer = handle.producer_id().map(|id| Producer { id, epoch: None, sequence: None });
    let log = topic.log(partition);
    let produce = Produce { log, key: None, value, offset: None, producer, transaction: None };
    let sent = Sent { start: identity.recorder.now(), process: identity.process, produce };
    (sent, value::encode(value))
}

fn record_delivery(identity: &mut Identity, sent: Sent, delivered: Result<Delivery, Error>) -> Outcome {
    let Sent { start, process, mut produce } = sent;
    let (outcome, note) = match delivered {
        Ok(delivery) => {
            assert_eq!(delivery.partition, produce.log.partition, "another partition than was asked for");
            produce.offset = Some(delivery.offset);
            identity.recorder.inner.acknowledged.fetch_add(1, Ordering::Relaxed);
            (Outcome::Ok, None)
        }
        Err(error) if error.has_no_side_effects() => (Outcome::Failed, Some(error.to_string())),
        Err(error) => (Outcome::Unknown, Some(error.to_string())),
    };
    identity.did_as(process, start, Op::Produce(produce), outcome, note);
    outcome
}
