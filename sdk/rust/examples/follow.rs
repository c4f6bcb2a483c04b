//! Follows a topic from its end, or from a point in time, and says when it has caught up.
//!
//! `cargo run -p tidelog --example follow -- numbers [MILLISECONDS-SINCE-1970]`

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "an example talks to its user")]

use anyhow::Context as _;
use futures::StreamExt as _;
use tidelog::{Client, ConsumerOptions, StartAt, TimestampMs};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let topic = args.next().context("usage: follow TOPIC [MILLISECONDS]")?;
    let start = match args.next() {
        Some(time) => StartAt::Timestamp(TimestampMs(time.parse()?)),
        None => StartAt::End,
    };
    let client = Client::from_context().await?;
    let mut consumer =
        client.consumer(&topic, ConsumerOptions { start, ..ConsumerOptions::default() }).await?;
    let progress = consumer.progress();
    let mut behind = true;
    loop {
        tokio::select! {
            record = consumer.next() => {
                let Some(record) = record else { return Ok(()) };
                // What can pass is tried on: the stream says so and continues.
                match record {
                    Ok(record) => println!("{}/{} {:?}", record.partition, record.offset, record.value),
                    Err(error) if error.is_retryable() => eprintln!("still trying: {error}"),
                    Err(error) => return Err(error.into()),
                }
                behind = true;
            }
            () = progress.caught_up(), if behind => {
                eprintln!("caught up at {:?}", progress.positions());
                behind = false;
            }
        }
    }
}
