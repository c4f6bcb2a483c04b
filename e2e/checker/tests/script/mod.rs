//! Histories by hand: one operation after the other, a nanosecond apart.

use std::collections::HashMap;
use std::ops::Range;

use tidelog_checker::{
    Assign, ClientId, CommitOffsets, Event, FaultId, Header, History, Isolation, ListOffsets, Log, Op,
    Outcome, Place, Poll, ProcessId, Produce, Producer, Source, TopicName, TopicRules, TransactionId, Value,
};
use tidelog_model::{Offset, ProducerId};

const TOPIC: &str = "topic";
const DRAINER: u32 = 99;

#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) events: Vec<Event>,
    pub(crate) recovery_ms: Option<u64>,
    now: u64,
    processes: HashMap<u32, u32>,
}

pub(crate) fn log(partition: u32) -> Log {
    Log::new(&TopicName::from(TOPIC), partition)
}

pub(crate) trait At {
    fn at(&self, offset: u64) -> Place;
}

impl At for Log {
    fn at(&self, offset: u64) -> Place {
        Place { log: self.clone(), offset: Offset(offset) }
    }
}

fn write(log: Log, value: u64, offset: Option<u64>) -> Produce {
    Produce {
        log,
        key: None,
        value: Value(value),
        offset: offset.map(Offset),
        producer: Some(Producer { id: ProducerId(1), epoch: None, sequence: None }),
        transaction: None,
    }
}

pub(crate) fn produce(value: u64, offset: Option<u64>) -> Op {
    Op::Produce(write(log(0), value, offset))
}

pub(crate) fn produce_to(log: &Log, value: u64, offset: u64) -> Op {
    Op::Produce(write(log.clone(), value, Some(offset)))
}

pub(crate) fn keyed(value: u64, key: u64, offset: u64) -> Op {
    Op::Produce(Produce { key: Some(Value(key)), ..write(log(0), value, Some(offset)) })
}

pub(crate) fn transactional(id: u64, value: u64, offset: Option<u64>) -> Op {
    Op::Produce(Produce { transaction: Some(TransactionId(id)), ..write(log(0), value, offset) })
}

pub(crate) fn read(log: &Log, isolation: Isolation, range: Range<u64>, records: &[(u64, u64)]) -> Op {
    Op::Poll(poll(log, isolation, range, records))
}

fn poll(log: &Log, isolation: Isolation, range: Range<u64>, records: &[(u64, u64)]) -> Poll {
    Poll {
        log: log.clone(),
        from: Offset(range.start),
        next: Offset(range.end),
        isolation,
        source: Source::default(),
        transaction: None,
        records: records.iter().map(|(offset, value)| (Offset(*offset), Value(*value))).collect(),
        marks: None,
    }
}

impl Script {
    pub(crate) fn with_recovery(recovery_ms: u64) -> Self {
        Self { recovery_ms: Some(recovery_ms), ..Self::default() }
    }

    pub(crate) fn history(&self) -> History {
        let header = Header { recovery_ms: self.recovery_ms, ..Header::default() };
        History { header, events: self.events.clone() }
    }

    pub(crate) fn op(&mut self, client: u32, op: Op, outcome: Outcome) {
        let process = ProcessId(self.processes.get(&client).copied().unwrap_or(0));
        let (start, end) = (self.now + 1, self.now + 2);
        self.now += 3;
        self.events.push(Event { start, end, client: ClientId(client), process, op, outcome, note: None });
    }

    /// The client's next process.
    pub(crate) fn process(&mut self, client: u32) {
        *self.processes.entry(client).or_insert(0) += 1;
    }

    pub(crate) fn later(&mut self, ns: u64) {
        self.now += ns;
    }

    /// Deletions were asked for at the very beginning.
    pub(crate) fn delete_first(&mut self) {
        for event in &mut self.events {
            if matches!(event.op, Op::DeleteRecords(_)) {
                event.start = 0;
            }
        }
    }

    pub(crate) fn topic(&mut self, retention: bool, compaction: bool) {
        let rules = TopicRules { topic: TOPIC.into(), partitions: 2, retention, compaction };
        self.op(0, Op::Topic(rules), Outcome::Ok);
    }

    pub(crate) fn acked(&mut self, client: u32, value: u64, offset: u64) {
        self.op(client, produce(value, Some(offset)), Outcome::Ok);
    }

    pub(crate) fn unknown(&mut self, client: u32, value: u64) {
        self.op(client, produce(value, None), Outcome::Unknown);
    }

    /// Unknown, and the producer is not idempotent.
    pub(crate) fn plain(&mut self, client: u32, value: u64) {
        let plain = Produce { producer: None, ..write(log(0), value, None) };
        self.op(client, Op::Produce(plain), Outcome::Unknown);
    }

    pub(crate) fn poll(&mut self, client: u32, range: Range<u64>, records: &[(u64, u64)]) {
        self.read(client, Isolation::ReadUncommitted, range, records);
    }

    pub(crate) fn read(
        &mut self,
        client: u32,
        isolation: Isolation,
        range: Range<u64>,
        records: &[(u64, u64)],
    ) {
        self.poll_of(client, &log(0), isolation, range, records);
    }

    pub(crate) fn poll_of(
        &mut self,
        client: u32,
        log: &Log,
        isolation: Isolation,
        range: Range<u64>,
        records: &[(u64, u64)],
    ) {
        self.op(client, read(log, isolation, range, records), Outcome::Ok);
    }

    pub(crate) fn drain(&mut self, range: Range<u64>, records: &[(u64, u64)]) {
        self.drain_of(&log(0), range, records);
    }

    pub(crate) fn drain_of(&mut self, log: &Log, range: Range<u64>, records: &[(u64, u64)]) {
        let drain = poll(log, Isolation::ReadUncommitted, range, records);
        self.op(DRAINER, Op::FinalDrain(drain), Outcome::Ok);
    }

    pub(crate) fn drain_values(&mut self, range: Range<u64>, records: &[(u64, Value)]) {
        let mut drain = poll(&log(0), Isolation::ReadUncommitted, range, &[]);
        drain.records = records.iter().map(|(offset, value)| (Offset(*offset), *value)).collect();
        self.op(DRAINER, Op::FinalDrain(drain), Outcome::Ok);
    }

    pub(crate) fn list(&mut self, client: u32, log: &Log, isolation: Isolation, offset: u64) {
        let list = ListOffsets { log: log.clone(), latest: true, isolation, offset: Some(Offset(offset)) };
        self.op(client, Op::ListOffsets(list), Outcome::Ok);
    }

    pub(crate) fn assign(&mut self, client: u32, generation: u32, partitions: &[u32]) {
        let logs = partitions.iter().map(|partition| log(*partition)).collect();
        self.op(client, Op::Assign(Assign { group: Some("group".into()), generation, logs }), Outcome::Ok);
    }

    pub(crate) fn begin(&mut self, client: u32, id: u64) {
        let begin = Op::Begin { transaction: TransactionId(id), transactional_id: client.to_string().into() };
        self.op(client, begin, Outcome::Ok);
    }

    pub(crate) fn in_transaction(&mut self, client: u32, id: u64, value: u64, offset: u64) {
        self.op(client, transactional(id, value, Some(offset)), Outcome::Ok);
    }

    pub(crate) fn commit(&mut self, client: u32, id: u64, outcome: Outcome) {
        self.op(client, Op::Commit { transaction: TransactionId(id) }, outcome);
    }

    pub(crate) fn abort(&mut self, client: u32, id: u64, outcome: Outcome) {
        self.op(client, Op::Abort { transaction: TransactionId(id) }, outcome);
    }

    /// A read of log 0 as part of a transaction.
    pub(crate) fn reading_transaction(
        &mut self,
        client: u32,
        id: u64,
        range: Range<u64>,
        records: &[(u64, u64)],
    ) {
        let mut read = poll(&log(0), Isolation::ReadCommitted, range, records);
        read.transaction = Some(TransactionId(id));
        self.op(client, Op::Poll(read), Outcome::Ok);
    }

    /// A read of log 1, a group's input, as part of a transaction.
    pub(crate) fn consuming(&mut self, client: u32, id: u64, range: Range<u64>, records: &[(u64, u64)]) {
        let mut read = poll(&log(1), Isolation::ReadCommitted, range, records);
        read.transaction = Some(TransactionId(id));
        self.op(client, Op::Poll(read), Outcome::Ok);
    }

    pub(crate) fn commit_offsets(&mut self, client: u32, id: Option<u64>, partition: u32, offset: u64) {
        let commit = CommitOffsets {
            group: "group".into(),
            generation: 0,
            transaction: id.map(TransactionId),
            reset: false,
            offsets: vec![(log(partition), Offset(offset))],
        };
        self.op(client, Op::CommitOffsets(commit), Outcome::Ok);
    }

    pub(crate) fn fetch(&mut self, client: u32, partition: u32, offset: Option<u64>) {
        let offsets = vec![(log(partition), offset.map(Offset))];
        self.op(client, Op::FetchOffsets { group: "group".into(), offsets }, Outcome::Ok);
    }

    pub(crate) fn fault(&mut self, id: u32) {
        let fault = FaultId(id);
        self.op(98, Op::FaultStart { fault, what: "kill".into() }, Outcome::Ok);
        self.op(98, Op::FaultHeal { fault }, Outcome::Ok);
    }

    /// Every commit was asked for at the very beginning.
    pub(crate) fn stretch_commits(&mut self) {
        for event in &mut self.events {
            if matches!(event.op, Op::Commit { .. }) {
                event.start = 0;
            }
        }
    }

    /// Reads inside of transactions see everything of log 0.
    pub(crate) fn own_writes_too(&mut self) {
        for event in &mut self.events {
            if let Op::Poll(poll) = &mut event.op {
                poll.records = vec![(Offset(0), Value(10)), (Offset(1), Value(11))];
            }
        }
    }
}
