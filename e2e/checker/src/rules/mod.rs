//! The rules, one file each, in the order in which they run: what the first ones learn about values and
//! transactions the later ones build on.

mod fences;
mod groups;
mod liveness;
mod marks;
mod offsets;
mod order;
mod realtime;
mod scan;
mod shape;
mod transactions;
mod values;

use crate::contents::Known;
use crate::history::{History, Op, Outcome};
use crate::index::{Index, Write};
use crate::report::{Findings, Report};

/// What the rules share: the history, indexed, and what its logs hold, by log number and offset.
#[derive(Debug)]
pub(crate) struct Case<'h> {
    pub(crate) index: Index<'h>,
    pub(crate) contents: Vec<Vec<Known>>,
}

pub(crate) fn check(history: &History) -> Report {
    let mut findings = Findings::new(history);
    let mut index = Index::new(history);
    shape::check(&index, &mut findings);
    let contents = values::check(&mut index, &mut findings);
    offsets::check(&mut index, &mut findings);
    let case = Case { index, contents };
    scan::check(&case, &mut findings);
    order::producers(&case, &mut findings);
    order::consumers(&case, &mut findings);
    order::assignments(&case, &mut findings);
    transactions::check(&case, &mut findings);
    groups::check(&case, &mut findings);
    realtime::check(&case, &mut findings);
    marks::check(&case, &mut findings);
    fences::check(&case, &mut findings);
    liveness::check(&case, history.header.recovery_ms, &mut findings);
    count(&case, &mut findings);
    findings.report
}

fn count(case: &Case<'_>, findings: &mut Findings<'_>) {
    let counts = &mut findings.report.counts;
    counts.events = case.index.events.len() as u64;
    counts.logs = case.index.logs.len() as u64;
    counts.records = case.contents.iter().map(|log| log.len() as u64).sum();
    counts.transactions = case.index.transactions.len() as u64;
    for event in case.index.events {
        match &event.op {
            Op::Produce(produce) => match event.outcome {
                Outcome::Ok => counts.writes_ok += 1,
                Outcome::Failed => counts.writes_failed += 1,
                Outcome::Unknown => {
                    counts.writes_unknown += 1;
                    let place = case.index.writes.get(&produce.value).and_then(Write::place);
                    counts.writes_unknown_found += u64::from(place.is_some());
                }
            },
            Op::Poll(poll) => counts.records_read += poll.records.len() as u64,
            Op::FinalDrain(poll) => counts.records_drained += poll.records.len() as u64,
            _ => {}
        }
    }
}
