//! A consumer that records: every batch is a poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tidelog::{Client, ConsumedBatch, Consumer, ConsumerOptions, Offset, PartitionId, StartAt};
use tidelog_checker::{Isolation, Marks, Op, Outcome, Poll, Source, Value};
use tokio::time::timeout;

use super::{Identity, Recorder, Running, Topic, is_stopped, value};

/// How often a consumer that waits for records looks whether it is to finish.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A consumer that follows a topic.
#[derive(Debug)]
pub struct Following {
    running: Running,
    read: Arc<AtomicU64>,
}

impl Following {
    /// Records read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Tells it to finish once it has read what there is, and waits until it has.
    pub async fn finish(self) {
        self.running.finish().await;
    }
}

impl Recorder {
    /// Starts a consumer that reads these partitions from their start and goes on as they grow.
    pub fn follow(
        &self,
        client: Client,
        topic: &Topic,
        partitions: &[u32],
        isolation: Isolation,
    ) -> Following {
        let (identity, topic, partitions) = (self.identity(), topic.clone(), partitions.to_vec());
        let read = Arc::<AtomicU64>::default();
        let counter = read.clone();
        let running =
            Running::spawn(move |stop| run(identity, client, topic, partitions, isolation, stop, counter));
        Following { running, read }
    }
}

pub(super) async fn open(
    client: &Client,
    topic: &Topic,
    partitions: &[u32],
    isolation: Isolation,
    stop_at_end: bool,
) -> Consumer {
    let options = ConsumerOptions {
        partitions: Some(partitions.iter().copied().map(PartitionId).collect()),
        start: StartAt::Start,
        stop_at_end,
        isolation: of_sdk(isolation),
        ..ConsumerOptions::default()
    };
    client.consumer(&topic.name.0, options).await.expect("a consumer")
}

pub(super) fn of_sdk(isolation: Isolation) -> tidelog::Isolation {
    match isolation {
        Isolation::ReadUncommitted => tidelog::Isolation::ReadUncommitted,
        Isolation::ReadCommitted => tidelog::Isolation::ReadCommitted,
    }
}

/// The records of a batch that were asked for.
pub(super) fn records(batch: &ConsumedBatch) -> Result<Vec<(Offset, Value)>, tidelog::Error> {
    batch.records()?.map(|record| record.map(|r| (r.offset, value::decode(r.value.as_deref())))).collect()
}

async fn run(
    mut identity: Identity,
    client: Client,
    topic: Topic,
    partitions: Vec<u32>,
    isolation: Isolation,
    stop: Arc<AtomicBool>,
    read: Arc<AtomicU64>,
) {
    let mut consumer = open(&client, &topic, &partitions, isolation, false).await;
    let mut positions: HashMap<PartitionId, Offset> = HashMap::new();
    loop {
        if is_stopped(&stop) && consumer.is_caught_up() {
            break;
        }
        let start = identity.recorder.now();
        // Nothing is lost when this is given up.
        let Ok(next) = timeout(LOOK_EVERY, consumer.next_batch()).await else { continue };
        let batch = next.expect("a subscription without an end");
        let batch = match batch {
            Ok(batch) => batch,
            // The SDK has tried for long already and goes on trying; the checker is to know.
            Err(error) => {
                assert!(error.is_retryable(), "a consumer cannot go on: {error}");
                let log = topic.log(partitions[0]);
                let position = positions.get(&log.partition).copied().unwrap_or_default();
                let poll = poll(log, position, position, isolation);
                identity.did(start, Op::Poll(poll), Outcome::Unknown, Some(error.to_string()));
                continue;
            }
        };
        let log = topic.log(batch.partition.0);
        let from = positions.get(&batch.partition).copied().unwrap_or(batch.first_wanted);
        let mut poll = poll(log, from, batch.next_offset(), isolation);
        poll.records = records(&batch).expect("a batch that can be decoded");
        poll.marks = Some(Box::new(Marks { high_watermark: Some(batch.high_watermark), ..Marks::default() }));
        read.fetch_add(poll.records.len() as u64, Ordering::Relaxed);
        positions.insert(batch.partition, batch.next_offset());
        identity.did(start, Op::Poll(poll), Outcome::Ok, None);
    }
    consumer.close().await;
}

pub(super) fn poll(log: tidelog_checker::Log, from: Offset, next: Offset, isolation: Isolation) -> Poll {
    let source = Source::default();
    Poll { log, from, next, isolation, source, transaction: None, records: Vec::new(), marks: None }
}
