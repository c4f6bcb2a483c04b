//! Rules 1, 3 and 4: one value an offset, one offset a value, and nothing read that is not to be.
//!
//! Acknowledgements are told first, then reads in the order of their ends: so the first read of a
//! record is the one that ended first, and only that has to be compared with the time of the write.

use tidelog_model::Offset;

use crate::contents::{Contents, Known, Told};
use crate::history::{Isolation, Op, Outcome, Value};
use crate::index::{Decision, Index, NONE};
use crate::report::{Findings, Kind};

/// What every log holds, by log number.
pub(super) fn check(index: &mut Index<'_>, findings: &mut Findings<'_>) -> Vec<Vec<Known>> {
    let mut contents: Vec<Contents> = index.logs.iter().map(|_| Contents::default()).collect();
    acknowledged(index, &mut contents, findings);
    read(index, &mut contents, findings);
    contents.into_iter().map(Contents::into_sorted).collect()
}

fn acknowledged(index: &mut Index<'_>, contents: &mut [Contents], findings: &mut Findings<'_>) {
    for (number, event) in index.events.iter().enumerate() {
        let Op::Produce(produce) = &event.op else { continue };
        let (Outcome::Ok, Some(Offset(offset))) = (event.outcome, produce.offset) else { continue };
        let (number, log) = (number as u32, index.log_of[number]);
        let transaction = index.transaction_number(produce.transaction);
        let known = Known { offset, value: produce.value.0, event: number, transaction };
        match contents[log as usize].tell(known) {
            Told::New => {
                if let Some(write) = index.writes.get_mut(&produce.value)
                    && write.event == number
                {
                    write.offset = offset;
                }
            }
            Told::Same(_) => {}
            Told::Other(first) => diverge(findings, first, number, produce.value),
        }
    }
}

fn read(index: &mut Index<'_>, contents: &mut [Contents], findings: &mut Findings<'_>) {
    let reads: Vec<_> = index.reads().collect();
    for (number, poll) in reads {
        let log = index.log_of[number as usize];
        let contents = &mut contents[log as usize];
        for &(Offset(offset), value) in &poll.records {
            let write = index.writes.get(&value).copied().filter(|_| !value.is_foreign());
            let transaction = write
                .and_then(|write| index.produce(write.event))
                .map_or(NONE, |produce| index.transaction_number(produce.transaction));
            let known = Known { offset, value: value.0, event: number, transaction };
            match contents.tell(known) {
                Told::Other(first) => {
                    diverge(findings, first, number, value);
                    continue;
                }
                Told::New => found(index, findings, known, log),
                Told::Same(_) => {}
            }
            if contents.read_first(offset) {
                is_legitimate(index, findings, known, log);
            }
            if transaction != NONE && poll.isolation == Isolation::ReadCommitted {
                is_committed(index, findings, known);
            }
        }
    }
}

fn diverge(findings: &mut Findings<'_>, first: Known, second: u32, value: Value) {
    findings.add(Kind::Divergence, &[first.event, second], || {
        format!("offset {} holds both {} and {value}", first.offset, Value(first.value))
    });
}

/// A value at an offset that nobody had told of: is it the only one?
fn found(index: &mut Index<'_>, findings: &mut Findings<'_>, known: Known, log: u32) {
    let value = Value(known.value);
    let Some(write) = index.writes.get_mut(&value) else { return };
    if write.log != log {
        return;
    }
    let Some(first) = write.place() else {
        write.offset = known.offset;
        return;
    };
    let write = write.event;
    if index.produce(write).is_some_and(|produce| produce.producer.is_some()) {
        findings.add(Kind::Duplicate, &[write, known.event], || {
            format!("{value} is at {first} and at {}", known.offset)
        });
    }
}

/// May this record be read at all?
fn is_legitimate(index: &Index<'_>, findings: &mut Findings<'_>, known: Known, log: u32) {
    let (value, offset, reader) = (Value(known.value), known.offset, known.event);
    let Some(write) = index.writes.get(&value).filter(|_| !value.is_foreign()) else {
        findings.add(Kind::PhantomRead, &[reader], || format!("nobody wrote {value}, read at {offset}"));
        return;
    };
    let written = index.event(write.event);
    if write.log != log {
        findings.add(Kind::PhantomRead, &[write.event, reader], || {
            format!("{value} was read at {offset} of another log than it was written to")
        });
    } else if index.event(reader).end < written.start {
        findings.add(Kind::PhantomRead, &[write.event, reader], || {
            format!("{value} was read before it was written")
        });
    } else if written.outcome == Outcome::Failed {
        findings.add(Kind::FailedRead, &[write.event, reader], || {
            format!("{value} was read at {offset}, and its write failed")
        });
    }
}

/// May a read-committed reader see this record yet?
fn is_committed(index: &mut Index<'_>, findings: &mut Findings<'_>, known: Known) {
    let end = index.event(known.event).end;
    let transaction = &mut index.transactions[known.transaction as usize];
    let id = transaction.id.0;
    let dirty = match transaction.decision {
        Decision::Not => Some("which was not committed"),
        _ if end < transaction.commit_start => Some("before anybody committed it"),
        Decision::Committed { .. } | Decision::Unknown => None,
    };
    if let Some(why) = dirty {
        let last = transaction.last_event;
        findings.add(Kind::DirtyRead, &[last, known.event], || {
            format!("{} of transaction {id} was read as committed, {why}", Value(known.value))
        });
        return;
    }
    if transaction.seen.is_none() {
        transaction.seen = Some((end, known.event));
    }
}
