//! A closed loop: producers that always have something to send, held back by the producer alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tidelog::{Producer, ProducerOptions, ProducerRecord, Ticket};
use tidelog_runtime::CancellationToken;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::target::Target;

/// Tickets travel to whoever waits for them in groups, so that waiting costs little.
const TICKETS_PER_GROUP: usize = 512;
const GROUPS: usize = 64;

/// Producers at work.
#[derive(Debug)]
pub struct ClosedLoop {
    tasks: Vec<JoinHandle<anyhow::Result<()>>>,
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
    record_bytes: usize,
}

impl ClosedLoop {
    /// Starts so many producers, each with a connection of its own, in this process.
    pub async fn start(
        target: &Target,
        topic: &str,
        producers: usize,
        record_bytes: usize,
        options: &ProducerOptions,
    ) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for _ in 0..producers {
            let client = target.connect().await?;
            let producer = client.producer(*options).await.context("a producer")?;
            let (sender, receiver) = mpsc::channel(GROUPS);
            let value = incompressible(record_bytes);
            tasks.push(tokio::spawn(send(producer, topic.to_owned(), value, sender, stop.clone())));
            tasks.push(tokio::spawn(collect(receiver, acknowledged.clone())));
        }
        Ok(Self { tasks, stop, acknowledged, record_bytes })
    }

    /// Bytes of values acknowledged so far.
    pub fn acknowledged_bytes(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed) * self.record_bytes as u64
    }

    /// Megabytes of values acknowledged per second, over so long.
    pub async fn megabytes_per_second(&self, over: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.acknowledged_bytes());
        pass(over).await;
        super::report::megabytes_per_second(self.acknowledged_bytes() - before, began.elapsed())
    }

    /// Stops, and waits until everything that was sent is acknowledged.
    pub async fn finish(self) -> anyhow::Result<()> {
        self.stop.cancel();
        for task in self.tasks {
            task.await??;
        }
        Ok(())
    }
}

/// Lets real time pass, which is what a measurement is made of.
pub async fn pass(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a measurement lasts as long as it was asked to")]
    tokio::time::sleep(time).await;
}

async fn send(
    producer: Producer,
    topic: String,
    value: Vec<u8>,
    tickets: mpsc::Sender<Vec<Ticket>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let mut group = Vec::with_capacity(TICKETS_PER_GROUP);
        for _ in 0..TICKETS_PER_GROUP {
            group.push(producer.send(ProducerRecord::new(&topic, &value)).await?);
        }
        if tickets.send(group).await.is_err() {
            break;
        }
    }
    producer.close().await.context("closing a producer")
}

async fn collect(
    mut groups: mpsc::Receiver<Vec<Ticket>>,
    acknowledged: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    while let Some(group) = groups.recv().await {
        for ticket in group {
            ticket.await.context("an acknowledgement")?;
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Bytes that no codec makes smaller.
pub fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
