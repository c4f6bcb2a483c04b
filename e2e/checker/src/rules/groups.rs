//! Rule 7, exactly-once: a group's committed transactions consume every record of their input once.

use std::collections::BTreeMap;

use super::Case;
use crate::contents::{Known, range};
use crate::history::{Isolation, Op, Outcome};
use crate::report::{Findings, Kind};

/// What one group consumed of one log in committed transactions.
#[derive(Default)]
struct Consumed {
    /// (from, next, poll)
    ranges: Vec<(u64, u64, u32)>,
    /// The furthest offset that they committed, and the commit.
    committed: Option<(u64, u32)>,
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    for ((group, log), mut consumed) in gather(case) {
        consumed.ranges.sort_unstable();
        let visible = |from: u64, next: u64| -> Option<&Known> {
            range(&case.contents[log as usize], from, next)
                .iter()
                .find(|record| case.index.is_visible(record.transaction, Isolation::ReadCommitted))
        };
        let Some(&(first, _, mut before)) = consumed.ranges.first() else { continue };
        let mut position = first;
        for (from, next, poll) in consumed.ranges {
            if let Some(record) = visible(from, position.min(next)) {
                findings.add(Kind::InputRepeated, &[before, poll], || {
                    format!("{group} consumed offset {} in two committed transactions", record.offset)
                });
            }
            if let Some(record) = visible(position, from) {
                findings.add(Kind::InputMissed, &[before, poll], || {
                    format!("{group} went on past offset {} and never consumed it", record.offset)
                });
            }
            if next > position {
                (position, before) = (next, poll);
            }
        }
        if let Some((end, commit)) = consumed.committed
            && let Some(record) = visible(position, end)
        {
            findings.add(Kind::InputMissed, &[before, commit], || {
                format!("{group} committed past offset {} and never consumed it", record.offset)
            });
        }
    }
}

fn gather<'c>(case: &'c Case<'_>) -> BTreeMap<(&'c str, u32), Consumed> {
    let index = &case.index;
    let mut all: BTreeMap<(&str, u32), Consumed> = BTreeMap::new();
    for transaction in index.transactions.iter().filter(|transaction| transaction.is_committed()) {
        // A transaction may commit a log's offset more than once; its polls count once.
        let mut inputs: BTreeMap<(&str, u32), (u64, u32)> = BTreeMap::new();
        for number in &transaction.offset_commits {
            let event = index.event(*number);
            let Op::CommitOffsets(commit) = &event.op else { continue };
            for (log, offset) in commit.offsets.iter().filter(|_| event.outcome != Outcome::Failed) {
                let input = inputs.entry((&commit.group, index.log_number(log))).or_default();
                *input = (*input).max((offset.0, *number));
            }
        }
        for (input, committed) in inputs {
            let consumed = all.entry(input).or_default();
            consumed.committed = consumed.committed.max(Some(committed));
            for poll in transaction.polls.iter().filter(|poll| index.log_of[**poll as usize] == input.1) {
                if let (Op::Poll(read), Outcome::Ok) = (&index.event(*poll).op, index.event(*poll).outcome) {
                    consumed.ranges.push((read.from.0, read.next.0, *poll));
                }
            }
        }
    }
    all
}
