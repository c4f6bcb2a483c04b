//! Sends every line of the standard input as a record, and says where the last one went.
//!
//! `tidelog dev` in one terminal, and in another:
//! `seq 1000 | cargo run -p tidelog --example produce -- numbers`

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::collections::VecDeque;
use std::io::BufRead as _;

use anyhow::Context as _;
use tidelog::{Client, Compression, ErrorCode, ProducerOptions, ProducerRecord, Ticket, TopicSpec};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let topic = std::env::args().nth(1).context("usage: produce TOPIC < LINES")?;
    let client = Client::from_context().await?;
    let created = client.admin().create_topic(TopicSpec::new(&topic).partitions(4)).await;
    if let Err(error) = created
        && error.code() != Some(ErrorCode::TopicAlreadyExists)
    {
        return Err(error.into());
    }

    let options = ProducerOptions { compression: Compression::Zstd, ..ProducerOptions::default() };
    let producer = client.producer(options).await?;
    // Tickets are looked at in the order in which they were given; most are resolved by then.
    let mut tickets: VecDeque<Ticket> = VecDeque::new();
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        tickets.push_back(producer.send(ProducerRecord::new(&topic, &line?)).await?);
        if tickets.len() == 10_000
            && let Some(ticket) = tickets.pop_front()
        {
            last = Some(ticket.await?);
        }
    }
    producer.flush().await?;
    for ticket in tickets {
        last = Some(ticket.await?);
    }
    producer.close().await?;
    println!("the last record is at {last:?}");
    Ok(())
}
