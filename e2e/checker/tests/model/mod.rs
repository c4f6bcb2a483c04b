//! A small log that is right by construction, run by a seed: its histories have to pass.

use std::collections::{BTreeMap, VecDeque};

use tidelog_checker::{
    ClientId, CommitOffsets, Event, FaultId, Header, History, Isolation, ListOffsets, Log, Marks, Op,
    Outcome, Place, Poll, ProcessId, Produce, Producer, Source, Tier, TopicName, TransactionId, Value,
};
use tidelog_model::{Offset, ProducerEpoch, ProducerId, Sequence};

const LOGS: usize = 3;
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const IN_FLIGHT: usize = 5;

/// Who is who.
const PRODUCERS: [u32; 2] = [1, 2];
const TRANSACTOR: u32 = 3;
const CONSUMERS: [(u32, Isolation); 3] =
    [(4, Isolation::ReadUncommitted), (5, Isolation::ReadCommitted), (6, Isolation::ReadCommitted)];
const PROCESSOR: u32 = 7;
const ASKER: u32 = 8;
const NEMESIS: u32 = 9;
const DRAINER: u32 = 10;

/// Splitmix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn outcome(&mut self) -> Outcome {
        match self.below(20) {
            0 => Outcome::Failed,
            1 | 2 => Outcome::Unknown,
            _ => Outcome::Ok,
        }
    }
}

#[derive(Clone, Copy)]
enum Slot {
    /// A marker, or what compaction of an earlier life left.
    Gap,
    Record {
        value: Value,
        transaction: Option<u64>,
    },
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Committed,
    Aborted,
}

struct InFlight {
    start: u64,
    log: usize,
    value: Value,
}

struct Transactor {
    open: Option<u64>,
    touched: Vec<usize>,
}

pub(crate) struct World {
    dice: Dice,
    now: u64,
    next_value: u64,
    next_transaction: u64,
    logs: Vec<Vec<Slot>>,
    transactions: BTreeMap<u64, State>,
    processes: BTreeMap<u32, u32>,
    in_flight: BTreeMap<u32, VecDeque<InFlight>>,
    /// Writes of unknown outcome that are still on their way.
    late: VecDeque<(usize, Value)>,
    positions: BTreeMap<(u32, usize), u64>,
    transactor: Transactor,
    committed: Option<u64>,
    faults: u32,
    events: Vec<Event>,
}

/// The history of so many steps.
pub(crate) fn history(seed: u64, steps: usize) -> History {
    let mut world = World {
        dice: Dice(seed),
        now: 0,
        next_value: 1,
        next_transaction: 1,
        logs: (0..LOGS).map(|_| Vec::new()).collect(),
        transactions: BTreeMap::new(),
        processes: BTreeMap::new(),
        in_flight: BTreeMap::new(),
        late: VecDeque::new(),
        positions: BTreeMap::new(),
        transactor: Transactor { open: None, touched: Vec::new() },
        committed: None,
        faults: 0,
        events: Vec::new(),
    };
    (0..steps).for_each(|_| world.step());
    world.finish();
    let header = Header { recovery_ms: Some(60_000), ..Header::default() };
    History { header, events: world.events }
}

impl World {
    fn step(&mut self) {
        match self.dice.below(16) {
            0..=3 => self.send(),
            4..=6 => self.answer(),
            7 => self.land(),
            8 | 9 => self.transact(),
            10..=12 => self.poll(),
            13 => self.process_input(),
            14 => self.ask(),
            _ => self.disturb(),
        }
    }

    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn value(&mut self) -> Value {
        self.next_value += 1;
        Value(self.next_value)
    }

    fn log(number: usize) -> Log {
        Log::new(&TopicName::from("model"), number as u32)
    }

    fn record(&mut self, client: u32, start: u64, op: Op, outcome: Outcome) {
        let process = ProcessId(self.processes.get(&client).copied().unwrap_or(0));
        let end = self.tick();
        self.events.push(Event { start, end, client: ClientId(client), process, op, outcome, note: None });
    }

    fn next_process(&mut self, client: u32) {
        *self.processes.entry(client).or_insert(0) += 1;
    }

    fn append(&mut self, log: usize, slot: Slot) -> u64 {
        if self.dice.below(30) == 0 {
            self.logs[log].push(Slot::Gap);
        }
        self.logs[log].push(slot);
        self.logs[log].len() as u64 - 1
    }

    fn produce(
        &self,
        log: usize,
        value: Value,
        offset: Option<u64>,
        transaction: Option<u64>,
        by: u32,
    ) -> Op {
        let id = ProducerId(i64::from(by));
        let epoch = Some(ProducerEpoch(self.processes.get(&by).copied().unwrap_or(0) as i16));
        Op::Produce(Produce {
            log: Self::log(log),
            key: None,
            value,
            offset: offset.map(Offset),
            producer: Some(Producer { id, epoch, sequence: Some(Sequence(0)) }),
            transaction: transaction.map(TransactionId),
        })
    }

    fn send(&mut self) {
        let client = PRODUCERS[self.dice.below(PRODUCERS.len())];
        if self.in_flight.entry(client).or_default().len() < IN_FLIGHT {
            let (log, value, start) = (self.dice.below(LOGS), self.value(), self.tick());
            self.in_flight.entry(client).or_default().push_back(InFlight { start, log, value });
        }
    }

    fn answer(&mut self) {
        let client = PRODUCERS[self.dice.below(PRODUCERS.len())];
        let outcome = self.dice.outcome();
        let queue = self.in_flight.entry(client).or_default();
        if outcome == Outcome::Unknown {
            let all: Vec<InFlight> = queue.drain(..).collect();
            self.give_up(client, all);
            return;
        }
        let Some(InFlight { start, log, value }) = queue.pop_front() else { return };
        let slot = Slot::Record { value, transaction: None };
        let offset = (outcome == Outcome::Ok).then(|| self.append(log, slot));
        let op = self.produce(log, value, offset, None, client);
        self.record(client, start, op, outcome);
    }

    /// Some of what is in flight has happened, some happens later, some never does; in its order.
    fn give_up(&mut self, client: u32, all: Vec<InFlight>) {
        let happened = self.dice.below(all.len() + 1);
        let happens = happened + self.dice.below(all.len() - happened + 1);
        for (i, InFlight { start, log, value }) in all.into_iter().enumerate() {
            if i < happened {
                self.append(log, Slot::Record { value, transaction: None });
            } else if i < happens {
                self.late.push_back((log, value));
            }
            let op = self.produce(log, value, None, None, client);
            // All of them are given up at one moment, so that none is sent after another's end.
            self.record(client, start, op, Outcome::Unknown);
        }
        self.next_process(client);
    }

    fn land(&mut self) {
        if let Some((log, value)) = self.late.pop_front() {
            self.append(log, Slot::Record { value, transaction: None });
        }
    }

    fn begin(&mut self, client: u32) -> u64 {
        let id = self.next_transaction;
        self.next_transaction += 1;
        self.transactions.insert(id, State::Open);
        let (start, transactional_id) = (self.tick(), client.to_string().into());
        self.record(
            client,
            start,
            Op::Begin { transaction: TransactionId(id), transactional_id },
            Outcome::Ok,
        );
        id
    }

    fn end(&mut self, client: u32, id: u64, touched: &[usize], commit: bool) -> bool {
        let (start, transaction) = (self.tick(), TransactionId(id));
        let op = if commit { Op::Commit { transaction } } else { Op::Abort { transaction } };
        let outcome = match self.dice.outcome() {
            Outcome::Failed => Outcome::Unknown,
            outcome => outcome,
        };
        let committed = commit && (outcome == Outcome::Ok || self.dice.below(2) == 0);
        self.transactions.insert(id, if committed { State::Committed } else { State::Aborted });
        for log in touched {
            self.logs[*log].push(Slot::Gap);
        }
        self.record(client, start, op, outcome);
        if outcome == Outcome::Unknown {
            self.next_process(client);
        }
        committed
    }

    fn transact(&mut self) {
        let Some(id) = self.transactor.open else {
            self.transactor = Transactor { open: Some(self.begin(TRANSACTOR)), touched: Vec::new() };
            return;
        };
        if self.dice.below(4) == 0 {
            let touched = std::mem::take(&mut self.transactor.touched);
            let commit = self.dice.below(3) > 0;
            self.transactor.open = None;
            self.end(TRANSACTOR, id, &touched, commit);
            return;
        }
        let (log, value, start) = (self.dice.below(LOGS), self.value(), self.tick());
        let offset = self.append(log, Slot::Record { value, transaction: Some(id) });
        let op = self.produce(log, value, Some(offset), Some(id), TRANSACTOR);
        self.record(TRANSACTOR, start, op, Outcome::Ok);
        if !self.transactor.touched.contains(&log) {
            self.transactor.touched.push(log);
        }
    }

    /// The end of what a reader of that isolation may read.
    fn end_of(&self, log: usize, isolation: Isolation) -> u64 {
        let slots = &self.logs[log];
        let open = |slot: &Slot| match slot {
            Slot::Record { transaction: Some(id), .. } => self.transactions[id] == State::Open,
            _ => false,
        };
        let stable = || slots.iter().position(open);
        let end = if isolation == Isolation::ReadCommitted { stable() } else { None };
        end.unwrap_or(slots.len()) as u64
    }

    fn read(&self, log: usize, from: u64, next: u64, isolation: Isolation) -> Poll {
        let committed = |id: u64| self.transactions[&id] == State::Committed;
        let visible = |transaction: Option<u64>| {
            isolation == Isolation::ReadUncommitted || transaction.is_none_or(committed)
        };
        let records = (from..next)
            .filter_map(|offset| match self.logs[log][offset as usize] {
                Slot::Record { value, transaction } if visible(transaction) => Some((Offset(offset), value)),
                _ => None,
            })
            .collect();
        let high_watermark = Some(Offset(self.logs[log].len() as u64));
        let last_stable = Some(Offset(self.end_of(log, Isolation::ReadCommitted)));
        Poll {
            log: Self::log(log),
            from: Offset(from),
            next: Offset(next),
            isolation,
            source: Source { tier: Some(Tier::Hot), ..Source::default() },
            transaction: None,
            records,
            marks: Some(Box::new(Marks { log_start: Some(Offset(0)), last_stable, high_watermark })),
        }
    }

    fn poll(&mut self) {
        let (client, isolation) = CONSUMERS[self.dice.below(CONSUMERS.len())];
        let (log, start) = (self.dice.below(LOGS), self.tick());
        let end = self.end_of(log, isolation);
        let position = self.positions.get(&(client, log)).copied().unwrap_or(0);
        if self.dice.below(12) == 0 {
            let offset = self.dice.below(end as usize + 1) as u64;
            self.positions.insert((client, log), offset);
            let place = Place { log: Self::log(log), offset: Offset(offset) };
            self.record(client, start, Op::Seek(place), Outcome::Ok);
            return;
        }
        let next = position + self.dice.below((end - position) as usize + 1) as u64;
        let mut poll = self.read(log, position, next, isolation);
        if self.dice.below(15) == 0 {
            (poll.next, poll.records, poll.marks) = (poll.from, Vec::new(), None);
            self.record(client, start, Op::Poll(poll), Outcome::Unknown);
            self.next_process(client);
            return;
        }
        self.positions.insert((client, log), next);
        self.record(client, start, Op::Poll(poll), Outcome::Ok);
    }

    /// Reads input, writes output and commits the position, all in one transaction.
    fn process_input(&mut self) {
        let group = || "group".into();
        let start = self.tick();
        let offsets = vec![(Self::log(INPUT), self.committed.map(Offset))];
        self.record(PROCESSOR, start, Op::FetchOffsets { group: group(), offsets }, Outcome::Ok);
        let from = self.committed.unwrap_or(0);
        let (start, place) = (self.tick(), Place { log: Self::log(INPUT), offset: Offset(from) });
        self.record(PROCESSOR, start, Op::Seek(place), Outcome::Ok);

        let id = self.begin(PROCESSOR);
        let start = self.tick();
        let end = self.end_of(INPUT, Isolation::ReadCommitted);
        let next = from + self.dice.below((end - from) as usize + 1) as u64;
        let mut poll = self.read(INPUT, from, next, Isolation::ReadCommitted);
        poll.transaction = Some(TransactionId(id));
        let outputs = poll.records.len();
        self.record(PROCESSOR, start, Op::Poll(poll), Outcome::Ok);
        for _ in 0..outputs {
            let (value, start) = (self.value(), self.tick());
            let offset = self.append(OUTPUT, Slot::Record { value, transaction: Some(id) });
            let op = self.produce(OUTPUT, value, Some(offset), Some(id), PROCESSOR);
            self.record(PROCESSOR, start, op, Outcome::Ok);
        }
        let commit = CommitOffsets {
            group: group(),
            generation: 0,
            transaction: Some(TransactionId(id)),
            reset: false,
            offsets: vec![(Self::log(INPUT), Offset(next))],
        };
        let (start, commits) = (self.tick(), self.dice.below(4) > 0);
        self.record(PROCESSOR, start, Op::CommitOffsets(commit), Outcome::Ok);
        if self.end(PROCESSOR, id, &[OUTPUT], commits) {
            self.committed = Some(next);
        }
    }

    fn ask(&mut self) {
        let (log, start) = (self.dice.below(LOGS), self.tick());
        let isolation = CONSUMERS[self.dice.below(2)].1;
        let offset = Offset(self.end_of(log, isolation));
        let all = Offset(self.end_of(log, Isolation::ReadUncommitted));
        let op = match self.dice.below(3) {
            0 => Op::CaughtUp(Place { log: Self::log(log), offset: all }),
            _ => Op::ListOffsets(ListOffsets {
                log: Self::log(log),
                latest: true,
                isolation,
                offset: Some(offset),
            }),
        };
        self.record(ASKER, start, op, Outcome::Ok);
    }

    fn disturb(&mut self) {
        self.faults += 1;
        let fault = FaultId(self.faults);
        for op in [Op::FaultStart { fault, what: "something".into() }, Op::FaultHeal { fault }] {
            let start = self.tick();
            self.record(NEMESIS, start, op, Outcome::Ok);
        }
    }

    /// Everything comes to its end, and everything is read.
    fn finish(&mut self) {
        for client in PRODUCERS {
            let all: Vec<InFlight> = self.in_flight.entry(client).or_default().drain(..).collect();
            self.give_up(client, all);
        }
        while self.late.front().is_some() {
            self.land();
        }
        for state in self.transactions.values_mut().filter(|state| **state == State::Open) {
            *state = State::Aborted;
        }
        for log in 0..LOGS {
            for isolation in [Isolation::ReadUncommitted, Isolation::ReadCommitted] {
                let (start, end) = (self.tick(), self.end_of(log, isolation));
                let drain = self.read(log, 0, end, isolation);
                self.record(DRAINER, start, Op::FinalDrain(drain), Outcome::Ok);
            }
        }
    }
}
