//! Rule 2, and the half of rules 5 and 6 that is about what is missing: whoever reads over an offset
//! gets the record that is there.

use std::collections::HashMap;

use tidelog_model::Offset;

use super::Case;
use crate::contents::{Known, range};
use crate::history::{Isolation, Op, Outcome, Poll, Value};
use crate::index::{Decision, Index, NONE};
use crate::report::{Findings, Kind};

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let newest = Newest::new(case);
    let mut drained = vec![false; case.index.logs.len()];
    for (number, poll) in case.index.reads() {
        let log = case.index.log_of[number as usize];
        let is_drain = matches!(case.index.event(number).op, Op::FinalDrain(_));
        drained[log as usize] |= is_drain;
        if !in_order(poll) {
            findings.add(Kind::PollOrder, &[number], || {
                format!("the records of {}..{} are out of order or out of range", poll.from, poll.next)
            });
            continue;
        }
        let scan = Scan { case, newest: &newest, log, number, poll, is_drain };
        scan.missing_within(findings);
        if is_drain {
            scan.missing_outside(findings);
        }
    }
    unplaced(case, &drained, findings);
}

/// Strictly ascending, and within what was read.
fn in_order(poll: &Poll) -> bool {
    let ascending = poll.records.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let first = poll.records.first().is_none_or(|(offset, _)| *offset >= poll.from);
    let last = poll.records.last().is_none_or(|(offset, _)| *offset < poll.next);
    ascending && first && last
}

/// One read, held against what its log holds.
struct Scan<'a, 'h> {
    case: &'a Case<'h>,
    newest: &'a Newest,
    log: u32,
    number: u32,
    poll: &'a Poll,
    is_drain: bool,
}

impl Scan<'_, '_> {
    /// A record at an offset that was read over, whenever it was written: logs grow at their end only.
    fn missing_within(&self, findings: &mut Findings<'_>) {
        let known = &self.case.contents[self.log as usize];
        let mut got = self.poll.records.iter().map(|(Offset(offset), _)| *offset).peekable();
        for record in range(known, self.poll.from.0, self.poll.next.0) {
            while got.next_if(|offset| *offset < record.offset).is_some() {}
            if got.peek() != Some(&record.offset) && self.is_due(record) {
                self.report(findings, record);
            }
        }
    }

    /// A final drain reads all there is: what lies outside of it is lost.
    fn missing_outside(&self, findings: &mut Findings<'_>) {
        let index = &self.case.index;
        let known = &self.case.contents[self.log as usize];
        let start = index.event(self.number).start;
        for record in range(known, 0, self.poll.from.0) {
            if !may_be_trimmed(index, self.log, record.offset, self.number) && self.is_due(record) {
                self.report(findings, record);
            }
        }
        if self.poll.isolation == Isolation::ReadCommitted && has_open_transaction(index, self.log) {
            return;
        }
        for record in range(known, self.poll.next.0, u64::MAX) {
            if index.event(record.event).end < start && self.is_due(record) {
                self.report(findings, record);
            }
        }
    }

    fn is_due(&self, record: &Known) -> bool {
        self.case.index.is_visible(record.transaction, self.poll.isolation)
            && !self.newest.is_superseded(&self.case.index, self.log, record)
    }

    fn report(&self, findings: &mut Findings<'_>, record: &Known) {
        let index = &self.case.index;
        let seen = (record.transaction != NONE && self.poll.isolation == Isolation::ReadCommitted)
            .then(|| index.transactions[record.transaction as usize].seen)
            .flatten();
        let value = Value(record.value);
        if let Some((_, witness)) = seen {
            findings.add(Kind::TornTransaction, &[record.event, witness, self.number], || {
                format!(
                    "{value} at {} is missing, and other writes of its transaction are not",
                    record.offset
                )
            });
            return;
        }
        let (kind, what) = if self.is_drain {
            (Kind::LostWrite, "is gone")
        } else {
            (Kind::SkippedRecord, "was passed over")
        };
        findings.add(kind, &[record.event, self.number], || format!("{value} at {} {what}", record.offset));
    }
}

/// Whether something that was asked for may have removed this offset before `reader` ended.
fn may_be_trimmed(index: &Index<'_>, log: u32, offset: u64, reader: u32) -> bool {
    let entry = &index.logs[log as usize];
    let end = index.event(reader).end;
    entry.retention || entry.deletes.iter().any(|(start, below)| *start <= end && offset < below.0)
}

/// Whether a transaction with writes in the log may still hold the last stable offset back.
fn has_open_transaction(index: &Index<'_>, log: u32) -> bool {
    index.transactions.iter().any(|transaction| {
        let open = match transaction.decision {
            Decision::Committed { .. } => false,
            Decision::Unknown => true,
            Decision::Not => !transaction.aborted,
        };
        open && transaction.writes.iter().any(|write| index.log_of[*write as usize] == log)
    })
}

/// In compacted logs, the newest record of every key.
struct Newest(HashMap<(u32, Value), u64>);

impl Newest {
    fn new(case: &Case<'_>) -> Self {
        let mut newest = HashMap::new();
        for (log, known) in case.contents.iter().enumerate() {
            if case.index.logs[log].compaction {
                // Ascending, so the last one stays.
                newest.extend(known.iter().filter_map(|record| {
                    key_of(&case.index, record).map(|key| ((log as u32, key), record.offset))
                }));
            }
        }
        Self(newest)
    }

    fn is_superseded(&self, index: &Index<'_>, log: u32, record: &Known) -> bool {
        index.logs[log as usize].compaction
            && key_of(index, record)
                .and_then(|key| self.0.get(&(log, key)))
                .is_some_and(|newest| *newest > record.offset)
    }
}

fn key_of(index: &Index<'_>, record: &Known) -> Option<Value> {
    index.writes.get(&Value(record.value)).and_then(|write| index.produce(write.event))?.key
}

/// Logs that nobody drained, and acknowledged writes that are nowhere.
fn unplaced(case: &Case<'_>, drained: &[bool], findings: &mut Findings<'_>) {
    let index = &case.index;
    let mut undrained = vec![NONE; index.logs.len()];
    let mut last_drain = vec![None; index.logs.len()];
    for (number, event) in index.events.iter().enumerate() {
        let log = index.log_of[number];
        if matches!(event.op, Op::FinalDrain(_)) && event.outcome == Outcome::Ok {
            last_drain[log as usize] = last_drain[log as usize].max(Some((event.start, number as u32)));
        }
    }
    for (number, event) in index.events.iter().enumerate() {
        let Op::Produce(produce) = &event.op else { continue };
        let log = index.log_of[number] as usize;
        if event.outcome != Outcome::Ok {
            continue;
        }
        if !drained[log] && undrained[log] == NONE {
            undrained[log] = number as u32;
            findings.add(Kind::NotDrained, &[number as u32], || {
                format!("{} was written to, and nobody read all of it at the end", index.logs[log].log)
            });
        }
        let placed = index.writes.get(&produce.value).is_some_and(|write| write.place().is_some());
        let excused = index.logs[log].retention
            || index.logs[log].compaction
            || !index.logs[log].deletes.is_empty()
            || produce.transaction.is_some();
        if let Some((start, drain)) = last_drain[log]
            && !placed
            && !excused
            && produce.offset.is_none()
            && event.end < start
        {
            findings.add(Kind::LostWrite, &[number as u32, drain], || {
                format!("{} was acknowledged and is nowhere", produce.value)
            });
        }
    }
}
