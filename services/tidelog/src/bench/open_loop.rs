//! An open loop: records are due at fixed times, whatever became of the earlier ones, and latency
//! counts from when a record was due. A system that stalls cannot hide it by sending less.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;
use tidelog::{Producer, ProducerRecord, Ticket};
use tidelog_model::PartitionId;
use tokio::sync::mpsc;

use super::load::incompressible;

/// Tickets of one partition that wait to be looked at.
const OPEN_TICKETS: usize = 1 << 17;

/// The most that a histogram holds, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// A steady rate of records.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub records_per_second: f64,
    pub partitions: u32,
    pub record_bytes: usize,
    pub warm_up: Duration,
    pub duration: Duration,
}

/// Microseconds, to three digits.
pub type Latencies = Histogram<u64>;

pub fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("bounds that make sense")
}

pub fn record(latencies: &mut Latencies, latency: Duration) {
    latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX).max(1));
}

/// Milliseconds at a quantile.
pub fn quantile_ms(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e3
}

/// What an open loop did.
#[derive(Debug)]
pub struct Paced {
    /// From when a record was due to its acknowledgement, warm-up left out.
    pub latencies: Latencies,
    pub records: u64,
    pub elapsed: Duration,
}

/// When a record was due, inside its value: nanoseconds since `epoch`.
pub fn due_of(value: &[u8], epoch: Instant) -> Option<Instant> {
    let nanoseconds = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    Some(epoch + Duration::from_nanos(nanoseconds))
}

/// Sends at the pace, waits for every acknowledgement.
pub async fn run(producer: Producer, topic: &str, pace: Pace, epoch: Instant) -> anyhow::Result<Paced> {
    let began = Instant::now();
    let measured_from = began + pace.warm_up;
    let mut channels = Vec::new();
    let mut collectors = Vec::new();
    for _ in 0..pace.partitions {
        let (sender, receiver) = mpsc::channel(OPEN_TICKETS);
        channels.push(sender);
        collectors.push(tokio::spawn(collect(receiver, measured_from)));
    }
    let sender = Sender { producer, topic: topic.to_owned(), pace, epoch, began, channels };
    let runtime = tokio::runtime::Handle::current();
    let records = tokio::task::spawn_blocking(move || runtime.block_on(sender.run())).await??;
    let elapsed = began.elapsed();
    let mut all = latencies();
    for collector in collectors {
        all.add(collector.await??).context("histograms of one shape")?;
    }
    Ok(Paced { latencies: all, records, elapsed })
}

/// The sending side, on a thread of its own: the runtime's timers tick in whole milliseconds, which is
/// longer than what is measured.
struct Sender {
    producer: Producer,
    topic: String,
    pace: Pace,
    epoch: Instant,
    began: Instant,
    channels: Vec<mpsc::Sender<(Instant, Ticket)>>,
}

impl Sender {
    async fn run(self) -> anyhow::Result<u64> {
        let pace = self.pace;
        let mut value = incompressible(pace.record_bytes.max(8));
        let total = (pace.records_per_second * (pace.warm_up + pace.duration).as_secs_f64()) as u64;
        for sent in 0..total {
            let due = self.began + Duration::from_secs_f64(sent as f64 / pace.records_per_second);
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                #[expect(clippy::disallowed_methods, reason = "a thread of its own that keeps a pace")]
                std::thread::sleep(early);
            }
            let partition = (sent % u64::from(pace.partitions)) as u32;
            value[..8].copy_from_slice(&(due.duration_since(self.epoch).as_nanos() as u64).to_be_bytes());
            let record = ProducerRecord::new(&self.topic, &value).partition(PartitionId(partition));
            let ticket = self.producer.send(record).await?;
            let channel = &self.channels[partition as usize];
            channel.send((due, ticket)).await.map_err(|_| anyhow!("a collector is gone"))?;
        }
        self.producer.close().await.context("closing the producer")?;
        Ok(total)
    }
}

/// The tickets of one partition resolve in their order, so waiting in order delays no reading.
async fn collect(
    mut tickets: mpsc::Receiver<(Instant, Ticket)>,
    measured_from: Instant,
) -> anyhow::Result<Latencies> {
    let mut found = latencies();
    while let Some((due, ticket)) = tickets.recv().await {
        ticket.await.context("an acknowledgement")?;
        if due >= measured_from {
            record(&mut found, due.elapsed());
        }
    }
    Ok(found)
}
