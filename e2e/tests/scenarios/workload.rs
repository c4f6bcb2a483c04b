//! Producers and readers that remember: what was sent, what was acknowledged, what was read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tidelog::{Client, ConsumerOptions, Context, ProducerOptions, ProducerRecord, StartAt};
use tidelog_e2e::Server;
use tidelog_model::{Offset, PartitionId};
use tokio::task::JoinHandle;

/// Tickets that one producer leaves open at most.
const OPEN_TICKETS: usize = 2_000;

/// A producer's pace: enough to be load, little enough that a reader can remember all of it.
const BURST: u64 = 25;
const BURST_EVERY: Duration = Duration::from_millis(10);

/// A place and what was written there.
pub(crate) type Placed = BTreeMap<(u32, u64), String>;

/// A client of the server that this scenario started.
pub(crate) async fn connect(server: &Server) -> Client {
    connect_to(&server.home().join(".config/tidelog/context.json")).await
}

async fn connect_to(context: &std::path::Path) -> Client {
    let context = Context::load(context).expect("a readable context").expect("the server wrote a context");
    Client::with_options(context.options().expect("a usable context")).await.expect("a connection")
}

/// The value of a producer's record: unique, and as long as a log line.
pub(crate) fn value(producer: u32, number: u64) -> String {
    format!("p{producer}-{number:010}-{}", "the quick brown fox jumps over the lazy dog ".repeat(4))
}

/// What came of a producer's records.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: Placed,
    /// Sent, and neither acknowledged nor known to be refused.
    pub(crate) unknown: HashSet<String>,
}

/// Producers that run until they are told to stop.
pub(crate) struct Load {
    tasks: Vec<JoinHandle<Outcome>>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Load {
    /// Starts so many idempotent producers, each with a connection of its own.
    pub(crate) async fn start(server: &Server, topic: &str, producers: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for producer in 0..producers {
            let client = connect(server).await;
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            let topic = topic.to_owned();
            tasks.push(tokio::spawn(
                async move { produce(client, &topic, producer, &stop, &acknowledged).await },
            ));
        }
        Self { tasks, stop, acknowledged }
    }

    /// Records acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops and waits for every open ticket.
    pub(crate) async fn finish(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for task in self.tasks {
            let outcome = tokio::time::timeout(Duration::from_mins(2), task)
                .await
                .expect("the producer finishes in time")
                .expect("the producer does not panic");
            all.acknowledged.extend(outcome.acknowledged);
            all.unknown.extend(outcome.unknown);
        }
        all
    }
}

async fn produce(
    client: Client,
    topic: &str,
    producer: u32,
    stop: &AtomicBool,
    acknowledged: &AtomicU64,
) -> Outcome {
    let options = ProducerOptions { linger: Duration::from_millis(2), ..ProducerOptions::default() };
    let handle = client.producer(options).await.expect("a producer");
    let mut outcome = Outcome::default();
    let mut open = FuturesUnordered::new();
    let mut number = 0;
    let mut pace = tokio::time::interval(BURST_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        if number % BURST == 0 {
            pace.tick().await;
        }
        let stopping = stop.load(Ordering::Relaxed);
        while open.len() >= if stopping { 1 } else { OPEN_TICKETS } {
            let (value, delivered): (String, Result<tidelog::Delivery, tidelog::Error>) =
                open.next().await.expect("a ticket is open");
            match delivered {
                Ok(delivery) => {
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    let place = (delivery.partition.0, delivery.offset.0);
                    let before = outcome.acknowledged.insert(place, value);
                    assert_eq!(before, None, "two records were acknowledged at {place:?}");
                }
                Err(error) if error.has_no_side_effects() => {}
                Err(_) => {
                    outcome.unknown.insert(value);
                }
            }
        }
        if stopping {
            return outcome;
        }
        let text = value(producer, number);
        number += 1;
        match handle.send(ProducerRecord::new(topic, &text)).await {
            Ok(ticket) => open.push(async move { (text, ticket.await) }),
            Err(error) => assert!(error.has_no_side_effects(), "not sent, yet with side effects: {error}"),
        }
    }
}

/// Everything that can be read now, from the start.
pub(crate) async fn read_all(server: &Server, topic: &str) -> Placed {
    let client = connect(server).await;
    let options = ConsumerOptions { start: StartAt::Start, stop_at_end: true, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(topic, options).await.expect("a consumer");
    let mut read = Placed::new();
    while let Some(record) = consumer.next().await {
        let record = record.expect("a record");
        let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
        let place = (record.partition.0, record.offset.0);
        assert_eq!(read.insert(place, text), None, "{place:?} came twice");
    }
    read
}

/// Holds what was read against what was sent.
///
/// # Panics
/// When an acknowledged record is missing or elsewhere, a record is there twice, was never sent, or
/// stands before one that the same producer sent to the partition earlier.
#[track_caller]
pub(crate) fn check(outcome: &Outcome, read: &Placed, when: &str) {
    for (place, text) in &outcome.acknowledged {
        assert_eq!(read.get(place), Some(text), "{when}: the acknowledged record at {place:?}");
    }
    let mut seen = HashMap::new();
    let mut newest: HashMap<(u32, String), String> = HashMap::new();
    let mut next: HashMap<u32, u64> = HashMap::new();
    for (place, text) in read {
        if let Some(first) = seen.insert(text.clone(), place) {
            panic!("{when}: {text:?} is there twice, at {first:?} and {place:?}");
        }
        let known = outcome.acknowledged.get(place) == Some(text) || outcome.unknown.contains(text);
        assert!(known, "{when}: {text:?} at {place:?} was refused or never sent");
        let expected = next.entry(place.0).or_insert(0);
        assert_eq!(place.1, *expected, "{when}: a gap in partition {}", place.0);
        *expected += 1;
        let producer = text.split('-').next().expect("a producer").to_owned();
        if let Some(before) = newest.insert((place.0, producer), text.clone()) {
            assert!(before < *text, "{when}: {text:?} stands after {before:?}");
        }
    }
}

/// A reader that follows a partition from its start until it has read up to `end`, which may be said
/// while it reads.
pub(crate) struct Follower {
    task: JoinHandle<Placed>,
    end: Arc<AtomicU64>,
    position: Arc<AtomicU64>,
}

impl Follower {
    pub(crate) async fn start(server: &Server, topic: &str, partition: u32) -> Self {
        let end = Arc::new(AtomicU64::new(u64::MAX));
        let position = Arc::new(AtomicU64::new(0));
        let client = connect(server).await;
        let (topic, task_end, task_position) = (topic.to_owned(), end.clone(), position.clone());
        let task =
            tokio::spawn(async move { follow(client, &topic, partition, &task_end, &task_position).await });
        Self { task, end, position }
    }

    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    pub(crate) async fn read_up_to(self, end: Offset) -> Placed {
        self.end.store(end.0, Ordering::Relaxed);
        tokio::time::timeout(Duration::from_mins(1), self.task)
            .await
            .expect("the reader gets to the end in time")
            .expect("the reader does not panic")
    }
}

async fn follow(
    client: Client,
    topic: &str,
    partition: u32,
    end: &AtomicU64,
    position: &AtomicU64,
) -> Placed {
    let partitions = Some(vec![PartitionId(partition)]);
    let options = ConsumerOptions { start: StartAt::Start, partitions, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(topic, options).await.expect("a consumer");
    let mut read = Placed::new();
    let mut next = 0;
    while next < end.load(Ordering::Relaxed) {
        // The end may be announced when nothing more will come.
        let Ok(record) = tokio::time::timeout(Duration::from_millis(100), consumer.next()).await else {
            continue;
        };
        let record = record.expect("a subscription without an end").expect("a record");
        assert_eq!(record.offset.0, next, "partition {partition}: a gap or a repetition");
        next += 1;
        position.store(next, Ordering::Relaxed);
        let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
        read.insert((partition, record.offset.0), text);
    }
    read
}
