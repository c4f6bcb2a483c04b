//! How long a history takes: `cargo run --release -p tidelog-checker --example speed [MILLIONS]`.
//!
//! So many writes over sixteen logs by eight producers, each record read three times and drained twice.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]
#![expect(clippy::disallowed_methods, reason = "a measurement needs a clock")]

use std::time::Instant;

use tidelog_checker::{
    ClientId, Event, Header, History, Isolation, Log, Op, Outcome, Poll, ProcessId, Produce, Producer,
    Source, TopicName, Value, check,
};
use tidelog_model::{Offset, ProducerId};

const LOGS: u64 = 16;
const PRODUCERS: u64 = 8;
const POLL: u64 = 100;

fn read(log: &Log, from: u64, next: u64, value: impl Fn(u64) -> u64) -> Poll {
    Poll {
        log: log.clone(),
        from: Offset(from),
        next: Offset(next),
        isolation: Isolation::ReadUncommitted,
        source: Source::default(),
        transaction: None,
        records: (from..next).map(|offset| (Offset(offset), Value(value(offset)))).collect(),
        marks: None,
    }
}

fn history(writes: u64) -> History {
    let topic = TopicName::from("speed");
    let logs: Vec<Log> = (0..LOGS).map(|number| Log::new(&topic, number as u32)).collect();
    let mut events = Vec::new();
    let mut push = |client: u64, start: u64, op: Op| {
        let (client, process) = (ClientId(client as u32), ProcessId(0));
        events.push(Event {
            start,
            end: start + 5_000,
            client,
            process,
            op,
            outcome: Outcome::Ok,
            note: None,
        });
    };
    for value in 0..writes {
        let (log, offset) = (value % LOGS, value / LOGS);
        let client = (value / LOGS) % PRODUCERS;
        let producer = Some(Producer { id: ProducerId(client as i64), epoch: None, sequence: None });
        let (log, offset) = (logs[log as usize].clone(), Some(Offset(offset)));
        let produce = Produce { log, key: None, value: Value(value), offset, producer, transaction: None };
        push(client, value * 1_000, Op::Produce(produce));
    }
    let per_log = writes / LOGS;
    for (number, log) in logs.iter().enumerate() {
        let value = |offset: u64| offset * LOGS + number as u64;
        for consumer in 100..103 {
            for from in (0..per_log).step_by(POLL as usize) {
                let next = (from + POLL).min(per_log);
                push(consumer, writes * 1_000 + from, Op::Poll(read(log, from, next, value)));
            }
        }
        for drain in 0..2 {
            push(200, writes * 2_000 + drain, Op::FinalDrain(read(log, 0, per_log, value)));
        }
    }
    History { header: Header::default(), events }
}

fn main() {
    let millions: f64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let history = history((millions * 1e6) as u64 / LOGS * LOGS);
    let began = Instant::now();
    let report = check(&history);
    println!("{report}checked in {:.2} s", began.elapsed().as_secs_f64());
}
