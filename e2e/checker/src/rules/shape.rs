//! The history itself: one that was recorded wrongly proves nothing.

use std::collections::{HashMap, HashSet};

use crate::history::{ClientId, Event, FaultId, Op, Outcome, Poll, ProcessId};
use crate::index::{Decision, Index};
use crate::report::{Findings, Kind};

pub(super) fn check(index: &Index<'_>, findings: &mut Findings<'_>) {
    let mut given_up: HashMap<(ClientId, ProcessId), (u64, u32)> = HashMap::new();
    for number in &index.by_end {
        let event = index.event(*number);
        if event.outcome == Outcome::Unknown {
            given_up.entry((event.client, event.process)).or_insert((event.end, *number));
        }
    }
    for (number, event) in index.events.iter().enumerate() {
        let number = number as u32;
        if let Some(what) = fault_of(index, number, event) {
            findings.add(Kind::Malformed, &[number], || what.to_owned());
        }
        if let Some((end, unknown)) = given_up.get(&(event.client, event.process))
            && event.start > *end
        {
            findings.add(Kind::Malformed, &[*unknown, number], || {
                "a process goes on after an operation of unknown outcome".to_owned()
            });
        }
    }
    for transaction in &index.transactions {
        let both = transaction.aborted && matches!(transaction.decision, Decision::Committed { .. });
        let what = match (transaction.begun, both) {
            (false, _) => "was never begun",
            (true, true) => "was both committed and aborted",
            (true, false) => continue,
        };
        findings.add(Kind::Malformed, &[transaction.last_event], || {
            format!("transaction {} {what}", transaction.id.0)
        });
    }
    faults(index, findings);
}

fn fault_of(index: &Index<'_>, number: u32, event: &Event) -> Option<&'static str> {
    if event.end < event.start {
        return Some("it ends before it starts");
    }
    match &event.op {
        Op::Produce(produce) => {
            if produce.value.is_foreign() {
                Some("it writes a value that stands for foreign bytes")
            } else if index.writes.get(&produce.value).is_some_and(|write| write.event != number) {
                Some("its value was written before")
            } else if event.outcome != Outcome::Ok && produce.offset.is_some() {
                Some("it has an offset and was not acknowledged")
            } else {
                None
            }
        }
        Op::Poll(poll) | Op::FinalDrain(poll) => read_fault(event, poll),
        _ => None,
    }
}

fn read_fault(event: &Event, poll: &Poll) -> Option<&'static str> {
    if event.outcome != Outcome::Ok && !poll.records.is_empty() {
        Some("it has records and did not succeed")
    } else if poll.next < poll.from {
        Some("its range is upside down")
    } else {
        None
    }
}

fn faults(index: &Index<'_>, findings: &mut Findings<'_>) {
    let mut started: HashSet<FaultId> = HashSet::new();
    for event in index.events {
        if let Op::FaultStart { fault, .. } = &event.op {
            started.insert(*fault);
        }
    }
    let mut open = started.clone();
    for (number, event) in index.events.iter().enumerate() {
        if let Op::FaultHeal { fault } = &event.op {
            open.remove(fault);
            if !started.contains(fault) {
                findings.add(Kind::Malformed, &[number as u32], || "a fault that never began".to_owned());
            }
        }
    }
    findings.report.counts.faults = started.len() as u64;
    findings.report.counts.faults_open = open.len() as u64;
}
