//! What the rules look things up in: logs, writes and transactions by their names.

use std::collections::HashMap;

use tidelog_model::Offset;

use crate::history::{Event, History, Isolation, Log, Op, Outcome, Poll, Produce, TopicName, Value};
use crate::history::{TopicRules, TransactionId};

/// No event, no log, no transaction.
pub(crate) const NONE: u32 = u32::MAX;

/// One log and what may happen to its records.
#[derive(Debug)]
pub(crate) struct LogEntry<'h> {
    pub(crate) log: &'h Log,
    pub(crate) retention: bool,
    pub(crate) compaction: bool,
    /// The furthest that anybody tried to delete, and the first who did.
    pub(crate) deletes: Vec<(u64, Offset)>,
}

/// One value that was written, and where it was first found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) event: u32,
    pub(crate) log: u32,
    /// `u64::MAX`: nowhere.
    pub(crate) offset: u64,
}

impl Write {
    pub(crate) fn place(&self) -> Option<u64> {
        (self.offset != u64::MAX).then_some(self.offset)
    }
}

/// How a transaction ended, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Committed, known from this moment on.
    Committed { end: u64 },
    /// A commit of unknown outcome; what readers see tells.
    Unknown,
    /// Aborted, or nobody committed it.
    Not,
}

/// One transaction and what belongs to it. Events by their places.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) begun: bool,
    pub(crate) decision: Decision,
    pub(crate) aborted: bool,
    /// When the first commit of it was asked for.
    pub(crate) commit_start: u64,
    /// The first read that proved it committed: (its end, its place).
    pub(crate) seen: Option<(u64, u32)>,
    pub(crate) last_event: u32,
    pub(crate) writes: Vec<u32>,
    pub(crate) polls: Vec<u32>,
    pub(crate) offset_commits: Vec<u32>,
}

impl Transaction {
    fn new(id: TransactionId) -> Self {
        Self {
            id,
            begun: false,
            decision: Decision::Not,
            aborted: false,
            commit_start: u64::MAX,
            seen: None,
            last_event: NONE,
            writes: Vec::new(),
            polls: Vec::new(),
            offset_commits: Vec::new(),
        }
    }

    /// It is known to have committed: by its client, or by a reader's witness.
    pub(crate) fn is_committed(&self) -> bool {
        match self.decision {
            Decision::Committed { .. } => true,
            Decision::Unknown => self.seen.is_some(),
            Decision::Not => false,
        }
    }

    /// The moment from which it was known to be committed.
    pub(crate) fn committed_by(&self) -> Option<u64> {
        match self.decision {
            Decision::Committed { end } => Some(end),
            Decision::Unknown => self.seen.map(|(end, _)| end),
            Decision::Not => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Index<'h> {
    pub(crate) events: &'h [Event],
    pub(crate) logs: Vec<LogEntry<'h>>,
    /// The log of each event that is about exactly one.
    pub(crate) log_of: Vec<u32>,
    pub(crate) writes: HashMap<Value, Write>,
    pub(crate) transactions: Vec<Transaction>,
    log_numbers: HashMap<&'h Log, u32>,
    transaction_numbers: HashMap<TransactionId, u32>,
    /// Events in the order of their ends.
    pub(crate) by_end: Vec<u32>,
}

impl<'h> Index<'h> {
    pub(crate) fn new(history: &'h History) -> Self {
        let events = &history.events[..];
        assert!(events.len() < NONE as usize, "a history of {} events", events.len());
        let mut index = Self {
            events,
            logs: Vec::new(),
            log_of: Vec::with_capacity(events.len()),
            writes: HashMap::new(),
            transactions: Vec::new(),
            log_numbers: HashMap::new(),
            transaction_numbers: HashMap::new(),
            by_end: (0..events.len() as u32).collect(),
        };
        index.by_end.sort_by_key(|event| (events[*event as usize].end, *event));
        let mut rules: HashMap<&TopicName, TopicRules> = HashMap::new();
        for (number, event) in events.iter().enumerate() {
            let log = log_of(&event.op).map_or(NONE, |log| index.add_log(log));
            index.log_of.push(log);
            index.add(number as u32, event, log, &mut rules);
        }
        for entry in &mut index.logs {
            if let Some(rules) = rules.get(&entry.log.topic) {
                entry.retention = rules.retention;
                entry.compaction = rules.compaction;
            }
        }
        index
    }

    fn add(
        &mut self,
        number: u32,
        event: &'h Event,
        log: u32,
        rules: &mut HashMap<&'h TopicName, TopicRules>,
    ) {
        match &event.op {
            Op::Topic(topic) => {
                // A rule that held once may have taken effect.
                let known = rules.entry(&topic.topic).or_insert_with(|| topic.clone());
                known.retention |= topic.retention;
                known.compaction |= topic.compaction;
            }
            Op::Produce(produce) => {
                self.writes.entry(produce.value).or_insert(Write { event: number, log, offset: u64::MAX });
                self.join(number, produce.transaction, |transaction| &mut transaction.writes);
            }
            Op::Poll(poll) | Op::FinalDrain(poll) => {
                self.join(number, poll.transaction, |transaction| &mut transaction.polls);
            }
            Op::CommitOffsets(commit) => {
                self.join(number, commit.transaction, |transaction| &mut transaction.offset_commits);
                for (log, _) in &commit.offsets {
                    self.add_log(log);
                }
            }
            Op::FetchOffsets { offsets, .. } => {
                for (log, _) in offsets {
                    self.add_log(log);
                }
            }
            Op::DeleteRecords(place) if event.outcome != Outcome::Failed => {
                self.logs[log as usize].deletes.push((event.start, place.offset));
            }
            Op::Begin { transaction, .. } => self.transaction_mut(number, *transaction).begun = true,
            Op::Commit { transaction } => {
                let transaction = self.transaction_mut(number, *transaction);
                transaction.commit_start = transaction.commit_start.min(event.start);
                transaction.decision = match (event.outcome, transaction.decision) {
                    (Outcome::Ok, Decision::Committed { end }) => {
                        Decision::Committed { end: end.min(event.end) }
                    }
                    (Outcome::Ok, _) => Decision::Committed { end: event.end },
                    // The answer to the abort says that no commit happened before it, nor can after.
                    (Outcome::Unknown, Decision::Not) if !transaction.aborted => Decision::Unknown,
                    (_, decision) => decision,
                };
            }
            Op::Abort { transaction } => {
                let transaction = self.transaction_mut(number, *transaction);
                if event.outcome == Outcome::Ok {
                    transaction.aborted = true;
                    if transaction.decision == Decision::Unknown {
                        transaction.decision = Decision::Not;
                    }
                }
            }
            _ => {}
        }
    }

    fn join(
        &mut self,
        number: u32,
        id: Option<TransactionId>,
        part: impl Fn(&mut Transaction) -> &mut Vec<u32>,
    ) {
        if let Some(id) = id {
            part(self.transaction_mut(number, id)).push(number);
        }
    }

    fn transaction_mut(&mut self, event: u32, id: TransactionId) -> &mut Transaction {
        let number = *self.transaction_numbers.entry(id).or_insert_with(|| {
            self.transactions.push(Transaction::new(id));
            self.transactions.len() as u32 - 1
        });
        let transaction = &mut self.transactions[number as usize];
        transaction.last_event = event;
        transaction
    }

    fn add_log(&mut self, log: &'h Log) -> u32 {
        *self.log_numbers.entry(log).or_insert_with(|| {
            self.logs.push(LogEntry { log, retention: false, compaction: false, deletes: Vec::new() });
            self.logs.len() as u32 - 1
        })
    }

    pub(crate) fn log_number(&self, log: &Log) -> u32 {
        self.log_numbers.get(log).copied().unwrap_or(NONE)
    }

    pub(crate) fn transaction_number(&self, id: Option<TransactionId>) -> u32 {
        id.and_then(|id| self.transaction_numbers.get(&id).copied()).unwrap_or(NONE)
    }

    pub(crate) fn event(&self, number: u32) -> &'h Event {
        &self.events[number as usize]
    }

    pub(crate) fn produce(&self, number: u32) -> Option<&'h Produce> {
        match &self.event(number).op {
            Op::Produce(produce) => Some(produce),
            _ => None,
        }
    }

    /// Whether a reader of this isolation is to be given a record of that transaction.
    pub(crate) fn is_visible(&self, transaction: u32, isolation: Isolation) -> bool {
        match isolation {
            Isolation::ReadUncommitted => true,
            Isolation::ReadCommitted => {
                transaction == NONE || self.transactions[transaction as usize].is_committed()
            }
        }
    }

    /// Reads that succeeded, drains among them, in the order of their ends.
    pub(crate) fn reads(&self) -> impl Iterator<Item = (u32, &'h Poll)> + '_ {
        self.by_end.iter().filter_map(|number| {
            let event = self.event(*number);
            match &event.op {
                Op::Poll(poll) | Op::FinalDrain(poll) if event.outcome == Outcome::Ok => {
                    Some((*number, poll))
                }
                _ => None,
            }
        })
    }
}

fn log_of(op: &Op) -> Option<&Log> {
    match op {
        Op::Produce(produce) => Some(&produce.log),
        Op::Poll(poll) | Op::FinalDrain(poll) => Some(&poll.log),
        Op::ListOffsets(list) => Some(&list.log),
        Op::CaughtUp(place) | Op::Seek(place) | Op::DeleteRecords(place) => Some(&place.log),
        Op::Marks { log, .. } => Some(log),
        _ => None,
    }
}
