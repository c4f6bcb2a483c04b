//! Prints every record of a topic, oldest first within each partition, and ends.
//!
//! `cargo run -p tidelog --example consume -- numbers`

use std::io::Write as _;

use anyhow::Context as _;
use futures::StreamExt as _;
use tidelog::{Client, ConsumerOptions};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let topic = std::env::args().nth(1).context("usage: consume TOPIC")?;
    let client = Client::from_context().await?;
    let options = ConsumerOptions { stop_at_end: true, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(&topic, options).await?;
    let mut out = std::io::stdout().lock();
    while let Some(record) = consumer.next().await {
        let record = record?;
        write!(out, "{}/{}\t", record.partition, record.offset)?;
        out.write_all(record.value.as_deref().unwrap_or_default())?;
        writeln!(out)?;
    }
    Ok(())
}
