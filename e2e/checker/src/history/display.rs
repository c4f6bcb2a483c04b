//! Operations as people read them in a report.

use std::fmt;

use super::{Event, Isolation, Log, Op, Outcome, Poll, Value};

/// How many of a read's records are shown.
const RECORDS_SHOWN: usize = 6;

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.0, self.partition)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_foreign() { write!(f, "foreign:{:016x}", self.0) } else { write!(f, "v{}", self.0) }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        write!(f, "[{:.6}..{:.6}s] ", seconds(self.start), seconds(self.end))?;
        write!(f, "client {}.{} {}: {}", self.client.0, self.process.0, self.op, self.outcome)?;
        self.note.as_ref().map_or(Ok(()), |note| write!(f, " ({note})"))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(rules) => write!(f, "topic {} of {}", rules.topic.0, rules.partitions),
            Self::Produce(produce) => {
                write!(f, "produces {} to {}", produce.value, produce.log)?;
                if let Some(transaction) = produce.transaction {
                    write!(f, " in transaction {}", transaction.0)?;
                }
                produce.offset.map_or(Ok(()), |offset| write!(f, " at {offset}"))
            }
            Self::Poll(poll) => write_read(f, "reads", poll),
            Self::FinalDrain(poll) => write_read(f, "drains", poll),
            Self::ListOffsets(list) => {
                let which = if list.latest { "latest" } else { "earliest" };
                write!(f, "asks for the {which} offset of {}: {:?}", list.log, list.offset)
            }
            Self::CaughtUp(place) => write!(f, "has caught up with {} at {}", place.log, place.offset),
            Self::Marks { log, marks } => write!(f, "is told {marks:?} of {log}"),
            Self::Seek(place) => write!(f, "seeks {} in {}", place.offset, place.log),
            Self::Assign(assign) => write!(f, "is assigned {} logs", assign.logs.len()),
            Self::Begin { transaction, .. } => write!(f, "begins transaction {}", transaction.0),
            Self::Commit { transaction } => write!(f, "commits transaction {}", transaction.0),
            Self::Abort { transaction } => write!(f, "aborts transaction {}", transaction.0),
            Self::CommitOffsets(commit) => {
                write!(f, "commits offsets of {}", commit.group)?;
                commit.offsets.iter().try_for_each(|(log, offset)| write!(f, " {log}@{offset}"))
            }
            Self::FetchOffsets { group, offsets } => {
                write!(f, "fetches offsets of {group}")?;
                offsets.iter().try_for_each(|(log, offset)| write!(f, " {log}{offset:?}"))
            }
            Self::DeleteRecords(place) => write!(f, "deletes {} below {}", place.log, place.offset),
            Self::FaultStart { fault, what } => write!(f, "fault {}: {what}", fault.0),
            Self::FaultHeal { fault } => write!(f, "fault {} is healed", fault.0),
        }
    }
}

fn write_read(f: &mut fmt::Formatter<'_>, verb: &str, poll: &Poll) -> fmt::Result {
    let isolation = match poll.isolation {
        Isolation::ReadUncommitted => "",
        Isolation::ReadCommitted => " committed",
    };
    write!(f, "{verb}{isolation} {} {}..{} [", poll.log, poll.from, poll.next)?;
    for (offset, value) in poll.records.iter().take(RECORDS_SHOWN) {
        write!(f, " {offset}={value}")?;
    }
    if poll.records.len() > RECORDS_SHOWN {
        write!(f, " and {} more", poll.records.len() - RECORDS_SHOWN)?;
    }
    f.write_str(" ]")
}
