//! `tidelog consume`: records to standard output.

mod offset;
pub mod render;

use std::io::Write as _;

use anyhow::Context as _;
use futures::FutureExt as _;
use tidelog::{ConsumedBatch, Consumer, ConsumerOptions};
use tidelog_model::PartitionId;

use crate::connection::ConnectionArgs;
use crate::exit::Code;
use crate::output;
use offset::OffsetArg;
use render::{RecordView, Renderer, Rendering};

/// Output is written in pieces of about this size, or when there is nothing more to read just now.
const WRITE_BYTES: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub struct Args {
    topic: String,
    /// Read this partition; may be given more than once, or as a list with commas. Default: all of them.
    #[arg(long, value_name = "N", value_delimiter = ',')]
    partition: Vec<u32>,
    /// Where to begin: start, end, N (an offset), +N (after the start), -N (before the end), @TIME (RFC 3339 or
    /// milliseconds since 1970).
    #[arg(long, default_value = "start", allow_hyphen_values = true)]
    offset: OffsetArg,
    /// End with what is there now, instead of waiting for more.
    #[arg(short, long)]
    exit_at_end: bool,
    /// Most records to print.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// How records are printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Rendering,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub async fn run(args: Args) -> anyhow::Result<Code> {
    let client = args.connection.connect().await?;
    let partitions: Vec<_> = args.partition.iter().copied().map(PartitionId).collect();
    let options = ConsumerOptions {
        partitions: Some(partitions).filter(|partitions| !partitions.is_empty()),
        start: args.offset.0,
        stop_at_end: args.exit_at_end,
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(&args.topic, options).await?;
    let mut printer =
        Printer { renderer: Renderer::new(args.output, &args.topic), left: args.max.unwrap_or(u64::MAX) };
    let outcome = print(&mut consumer, &mut printer, &args).await;
    // What was read before an error is printed.
    printer.flush()?;
    outcome
}

async fn print(consumer: &mut Consumer, printer: &mut Printer, args: &Args) -> anyhow::Result<Code> {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while printer.left > 0 {
        let batch = tokio::select! {
            biased;
            _ = &mut interrupted => return Ok(Code::Interrupted),
            batch = next(consumer, printer) => batch?,
        };
        match batch {
            None => break,
            Some(Ok(batch)) => printer.add(&batch)?,
            // The consumer goes on trying; only someone who waits for an end wants to hear it as one.
            Some(Err(error)) if error.is_retryable() && !args.exit_at_end => {
                output::say(&format!("warning: {}: {error}", args.topic));
            }
            Some(Err(error)) => return Err(error).with_context(|| format!("reading {}", args.topic)),
        }
    }
    Ok(Code::Success)
}

/// The next batch; what was rendered is written out before waiting for it.
async fn next(
    consumer: &mut Consumer,
    printer: &mut Printer,
) -> anyhow::Result<Option<Result<ConsumedBatch, tidelog::Error>>> {
    if let Some(batch) = consumer.next_batch().now_or_never() {
        return Ok(batch);
    }
    printer.flush()?;
    Ok(consumer.next_batch().await)
}

struct Printer {
    renderer: Renderer,
    /// Records that may still be printed.
    left: u64,
}

impl Printer {
    fn add(&mut self, batch: &ConsumedBatch) -> anyhow::Result<()> {
        for record in batch.records()? {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.renderer.record(&RecordView::from(&record?));
            if self.renderer.len() >= WRITE_BYTES {
                self.renderer.write_to(&mut std::io::stdout().lock())?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        self.renderer.write_to(&mut out)?;
        Ok(out.flush()?)
    }
}
