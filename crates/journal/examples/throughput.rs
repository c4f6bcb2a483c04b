//! What the journal makes of a disk: appends as fast as they are taken, next to bare writes with a
//! sync after each in the same run.
//!
//! `cargo run --release -p tidelog-journal --example throughput -- DIR [MEGABYTES] [BATCH_KIB] [PARTITIONS]`
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tidelog_format::batch::{self, BatchBuilder, BatchOptions};
use tidelog_journal::{Append, Direct, Journal, JournalConfig, bare};
use tidelog_model::{Clock, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicPartition};
use tokio::sync::oneshot;

#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    fn now(&self) -> TimestampMs {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        TimestampMs(since.as_millis() as i64)
    }
}

struct Load {
    megabytes: u64,
    batch_bytes: usize,
    partitions: u32,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: u64| arguments.get(at).map_or(default, |text| text.parse().expect("a number"));
    let dir = PathBuf::from(arguments.first().map_or(".", String::as_str));
    let load = Load {
        megabytes: number(1, 2048),
        batch_bytes: number(2, 256) as usize * 1024,
        partitions: number(3, 16) as u32,
    };
    let limit = [64 * 1024, 1024 * 1024, 4 * 1024 * 1024].map(|bytes| bare_writes(&dir, bytes));
    bare_writes(&dir, 4096);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let appended = runtime.block_on(appends(&dir.join("throughput-journal"), &load));
    let best = limit.into_iter().fold(0.0, f64::max);
    println!("journal / bare: {:.2}", appended / best);
    runtime.block_on(latency(&dir.join("throughput-journal")));
}

fn bare_writes(dir: &std::path::Path, write_bytes: usize) -> f64 {
    let file_bytes = if write_bytes <= 65536 { 64 << 20 } else { 512 << 20 };
    let options =
        bare::Options { write_bytes, direct: Direct::Auto, duration: Duration::from_secs(3), file_bytes };
    let outcome = bare::measure(dir, &options).expect("bare writes");
    println!(
        "bare, {:>4} KiB: {:>6.0} MB/s, p50 {:?}, p99 {:?}",
        write_bytes / 1024,
        outcome.megabytes_per_s,
        outcome.p50,
        outcome.p99
    );
    outcome.megabytes_per_s
}

fn one_batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value: Vec<u8> = (0..1000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for _ in 0..(bytes / 1010).max(1) {
        builder.push(TimestampMs(0), None, Some(&value), &[]).expect("a record");
    }
    builder.finish().to_vec()
}

fn open(dir: &std::path::Path) -> Journal {
    let config = JournalConfig { budget_bytes: 4 << 30, ..JournalConfig::new(dir, Arc::new(Wall)) };
    Journal::open(config, Arc::new(()), &mut ()).expect("a journal").0
}

fn partition(number: u64, load: &Load) -> TopicPartition {
    TopicPartition::new(
        TopicId::from_bytes([1; 16]),
        PartitionId((number % u64::from(load.partitions)) as u32),
    )
}

async fn appends(dir: &std::path::Path, load: &Load) -> f64 {
    let _ = std::fs::remove_dir_all(dir);
    let journal = open(dir);
    let template = one_batch(load.batch_bytes);
    let count = load.megabytes * 1_000_000 / template.len() as u64;
    let mut ends = vec![0_u64; load.partitions as usize];
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now();
    let mut last = None;
    for number in 0..count {
        let tp = partition(number, load);
        let end = &mut ends[tp.partition.0 as usize];
        // Producers bring a buffer of their own; copying one stands for receiving it.
        let mut bytes = template.clone();
        batch::assign(&mut bytes, Offset(*end), LeaderEpoch(1));
        let header = batch::header(&bytes).expect("a batch");
        *end = header.next_offset().0;
        let reservation = journal.reserve(bytes.len()).await.expect("room");
        let append = Append::batch(tp, &header, TimestampMs(0), Bytes::from(bytes));
        let (sender, receiver) = oneshot::channel();
        let counter = Arc::clone(&done);
        journal.append(
            reservation,
            append,
            Box::new(move |outcome| {
                outcome.expect("appended");
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = sender.send(());
            }),
        );
        last = Some(receiver);
        // What the bucket would do.
        if number % 64 == 0 {
            journal.set_covered(tp, Offset(*end));
        }
    }
    if let Some(last) = last {
        last.await.expect("the last append");
    }
    let seconds = begin.elapsed().as_secs_f64();
    let stats = journal.stats();
    let bytes = done.load(Ordering::Relaxed) * template.len() as u64;
    let rate = bytes as f64 / 1e6 / seconds;
    println!(
        "journal, {} KiB batches, {} partitions: {rate:.0} MB/s, {} groups of {} KiB",
        load.batch_bytes / 1024,
        load.partitions,
        stats.groups,
        stats.written_bytes / stats.groups.max(1) / 1024
    );
    journal.close().await.expect("closed");
    rate
}

/// One append after the other.
async fn latency(dir: &std::path::Path) {
    let _ = std::fs::remove_dir_all(dir);
    let journal = open(dir);
    let template = one_batch(1);
    let mut times = Vec::new();
    for number in 0..3000_u64 {
        let mut bytes = template.clone();
        batch::assign(&mut bytes, Offset(number), LeaderEpoch(1));
        let header = batch::header(&bytes).expect("a batch");
        let tp = TopicPartition::new(TopicId::from_bytes([1; 16]), PartitionId(0));
        let begin = Instant::now();
        let reservation = journal.reserve(bytes.len()).await.expect("room");
        let (sender, receiver) = oneshot::channel();
        let append = Append::batch(tp, &header, TimestampMs(0), Bytes::from(bytes));
        journal.append(reservation, append, Box::new(move |outcome| drop(sender.send(outcome))));
        receiver.await.expect("answered").expect("appended");
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    println!("journal, one at a time: p50 {:?}, p99 {:?}", times[1500], times[2970]);
    journal.close().await.expect("closed");
    let _ = std::fs::remove_dir_all(dir);
}
