//! `tidelog produce`: standard input, one record a line, byte for byte.

mod lines;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use tidelog::{Delivery, Producer, ProducerOptions, ProducerRecord, Ticket};
use tidelog_model::{Compression, Offset, PartitionId};
use tidelog_runtime::config::{Setting as _, Span};

use crate::connection::ConnectionArgs;
use crate::exit::{Code, Failure};
use crate::output;
use crate::progress::Progress;
use lines::{LINE_BYTES_MAX, Lines};

#[derive(Debug, clap::Args)]
pub struct Args {
    topic: String,
    /// Write to this partition. Default: the key decides, and records without a key are spread.
    #[arg(long)]
    partition: Option<u32>,
    /// Split each line at the first of these into key and value; `\t` is a tab.
    #[arg(long, value_name = "S", value_parser = separator)]
    key_separator: Option<Separator>,
    /// A header for every record; may be given more than once.
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd.
    #[arg(long, default_value_t)]
    compression: Compression,
    /// How long a record may take, retries included, before it counts as failed.
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = Span::parse)]
    timeout: Span,
    /// How long a record may wait for others to share its batch.
    #[arg(long, default_value = "5ms", value_name = "DURATION", value_parser = Span::parse)]
    linger: Span,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Clone, Debug)]
struct Separator(Vec<u8>);

fn separator(text: &str) -> Result<Separator, String> {
    if text.is_empty() {
        return Err("a separator has at least one character".to_owned());
    }
    Ok(Separator(text.replace("\\t", "\t").into_bytes()))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let started = Instant::now();
    let client = args.connection.connect().await?;
    let options = ProducerOptions {
        compression: args.compression,
        delivery_timeout: args.timeout.duration(),
        linger: args.linger.duration(),
        ..ProducerOptions::default()
    };
    let producer = client.producer(options).await?;
    let partitions = producer.prepare(&args.topic).await?;
    if let Some(partition) = args.partition.filter(|partition| *partition >= partitions) {
        let topic = &args.topic;
        let message =
            format!("topic {topic} has no partition {partition}: it has {partitions}, counted from 0");
        return Err(Failure::error(Code::NotFound, message));
    }
    let mut session = Session::new(producer, &args);
    let outcome = session.pump().await;
    let closed = session.close().await;
    session.say_summary(started.elapsed());
    closed?;
    outcome
}

/// Partitions whose offsets the summary names.
const SHOWN: usize = 8;

/// One run of the command.
struct Session<'a> {
    producer: Producer,
    args: &'a Args,
    headers: Vec<tidelog::HeaderRef<'a>>,
    /// The outcomes that are still open, in the order of the lines.
    open: VecDeque<Ticket>,
    line: u64,
    acknowledged: Acknowledged,
    failed: u64,
    first_failure: Option<tidelog::Error>,
}

/// What is durable.
#[derive(Default)]
struct Acknowledged {
    records: u64,
    /// First and last offset by partition.
    offsets: BTreeMap<PartitionId, (Offset, Offset)>,
}

impl Acknowledged {
    fn add(&mut self, delivery: &Delivery) {
        self.records += 1;
        let Delivery { partition, offset, .. } = *delivery;
        let (first, last) = self.offsets.entry(partition).or_insert((offset, offset));
        *first = (*first).min(offset);
        *last = (*last).max(offset);
    }
}

impl<'a> Session<'a> {
    fn new(producer: Producer, args: &'a Args) -> Self {
        let headers =
            args.headers.iter().map(|(key, value)| (key.as_str(), Some(value.as_bytes()))).collect();
        let acknowledged = Acknowledged::default();
        Self {
            producer,
            args,
            headers,
            open: VecDeque::new(),
            line: 0,
            acknowledged,
            failed: 0,
            first_failure: None,
        }
    }

    /// Sends standard input until its end, a failure, or Ctrl-C.
    async fn pump(&mut self) -> anyhow::Result<Code> {
        let mut input = lines::read_ahead(std::io::stdin()).context("reading standard input")?;
        let progress = Progress::bytes(input_bytes());
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        let (mut lines, mut taken) = (Lines::default(), 0_u64);
        loop {
            let chunk = tokio::select! {
                biased;
                _ = &mut interrupted => return Ok(Code::Interrupted),
                chunk = input.recv() => chunk,
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk.context("reading standard input")?;
            taken += chunk.len() as u64;
            lines.feed(chunk);
            while let Some(line) = lines.next().map_err(|_| self.too_long())? {
                self.send(&line).await?;
            }
            self.collect();
            if self.first_failure.is_some() {
                return Ok(Code::Failed);
            }
            progress.set(taken);
        }
        if let Some(line) = lines.last() {
            self.send(&line).await?;
        }
        Ok(Code::Success)
    }

    async fn send(&mut self, line: &Bytes) -> anyhow::Result<()> {
        self.line += 1;
        let (key, value) = match &self.args.key_separator {
            None => (None, &line[..]),
            Some(Separator(separator)) => {
                let at = memchr::memmem::find(line, separator).ok_or_else(|| self.no_separator())?;
                (Some(&line[..at]), &line[at + separator.len()..])
            }
        };
        let mut record = ProducerRecord::new(&self.args.topic, value).headers(&self.headers);
        record.key = key;
        record.partition = self.args.partition.map(PartitionId);
        let sent = self.producer.send(record).await;
        let ticket = sent.with_context(|| format!("line {} for topic {}", self.line, self.args.topic))?;
        self.open.push_back(ticket);
        Ok(())
    }

    /// Takes the outcomes that have come.
    fn collect(&mut self) {
        while let Some(outcome) = self.open.front().and_then(Ticket::try_get) {
            self.open.pop_front();
            match outcome {
                Ok(delivery) => self.acknowledged.add(&delivery),
                Err(error) => {
                    self.failed += 1;
                    self.first_failure.get_or_insert(error);
                }
            }
        }
    }

    /// Waits for every outcome; fails with the first that is a failure.
    async fn close(&mut self) -> anyhow::Result<()> {
        let closed = self.producer.close().await;
        self.collect();
        match self.first_failure.take() {
            Some(error) => {
                let context = format!("{} records were not stored in topic {}", self.failed, self.args.topic);
                Err(anyhow::Error::new(error).context(context))
            }
            None => Ok(closed?),
        }
    }

    fn no_separator(&self) -> anyhow::Error {
        Failure::error(Code::Failed, format!("line {} has no key separator", self.line))
    }

    fn too_long(&self) -> anyhow::Error {
        let line = self.line + 1;
        let message =
            format!("line {line} is longer than {LINE_BYTES_MAX} bytes, the largest a record can be");
        Failure::error(Code::Failed, message)
    }

    fn say_summary(&self, took: Duration) {
        let Acknowledged { records, offsets } = &self.acknowledged;
        let range = |(partition, (first, last)): (&PartitionId, &(Offset, Offset))| {
            format!("{partition}: {first} to {last}")
        };
        let mut shown: Vec<String> = offsets.iter().take(SHOWN).map(range).collect();
        if offsets.len() > SHOWN {
            shown.push(format!("and {} more", offsets.len() - SHOWN));
        }
        let places = if shown.is_empty() { String::new() } else { format!("; offsets {}", shown.join(", ")) };
        let (topic, seconds) = (&self.args.topic, took.as_secs_f64());
        output::say(&format!("{records} records are durable in {topic} after {seconds:.2} s{places}"));
    }
}

/// How much there is to read, when standard input is a file.
fn input_bytes() -> Option<u64> {
    let stdin = std::io::stdin();
    let status = rustix::fs::fstat(stdin.as_fd()).ok()?;
    let is_file = rustix::fs::FileType::from_raw_mode(status.st_mode).is_file();
    u64::try_from(status.st_size).ok().filter(|_| is_file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_may_be_a_tab_but_not_nothing() {
        assert_eq!(separator("\\t").unwrap().0, b"\t");
        assert!(separator("").is_err());
    }

    #[test]
    fn a_header_may_hold_an_equals_sign_in_its_value() {
        assert_eq!(header("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(header("a").is_err());
    }
}
