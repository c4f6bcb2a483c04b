//! Rule 7, the committed offsets of groups: each was committed by somebody, none goes back, none is past
//! the end. Runs before the transactions are judged, since an offset that is seen proves a commit.

use std::collections::BTreeMap;

use crate::history::{Isolation, Op, Outcome};
use crate::index::{Decision, Index};
use crate::report::{Findings, Kind};
use crate::sweep::Floors;

/// One offset that somebody wanted to commit.
#[derive(Clone, Copy, Debug)]
struct Commit {
    offset: u64,
    event: u32,
    transaction: u32,
    reset: bool,
}

#[derive(Debug, Default)]
struct Register {
    commits: Vec<Commit>,
    /// (start, event, offset): what a fetch was told.
    fetches: Vec<(u64, u32, Option<u64>)>,
}

/// One group's offset in one log.
type Key<'h> = (&'h str, u32);

pub(super) fn check(index: &mut Index<'_>, findings: &mut Findings<'_>) {
    let registers = gather(index);
    for ((_, log), register) in &registers {
        origins(index, findings, *log, register);
    }
    let mut ends = end_answers(index);
    for ((_, log), register) in &registers {
        never_back(index, findings, *log, register);
        past_end(index, findings, &mut ends, *log, register);
    }
}

fn gather<'h>(index: &Index<'h>) -> BTreeMap<Key<'h>, Register> {
    let mut registers: BTreeMap<Key<'h>, Register> = BTreeMap::new();
    for (number, event) in index.events.iter().enumerate() {
        let number = number as u32;
        match &event.op {
            Op::CommitOffsets(commit) if event.outcome != Outcome::Failed => {
                let transaction = index.transaction_number(commit.transaction);
                for (log, offset) in &commit.offsets {
                    let register = registers.entry((&commit.group, index.log_number(log))).or_default();
                    let reset = commit.reset;
                    register.commits.push(Commit { offset: offset.0, event: number, transaction, reset });
                }
            }
            Op::FetchOffsets { group, offsets } if event.outcome == Outcome::Ok => {
                for (log, offset) in offsets {
                    let register = registers.entry((group, index.log_number(log))).or_default();
                    register.fetches.push((event.start, number, offset.map(|offset| offset.0)));
                }
            }
            _ => {}
        }
    }
    for register in registers.values_mut() {
        register.fetches.sort_unstable();
    }
    registers
}

/// Who committed what was fetched?
fn origins(index: &mut Index<'_>, findings: &mut Findings<'_>, log: u32, register: &Register) {
    let mut by_offset: BTreeMap<u64, Vec<Commit>> = BTreeMap::new();
    for commit in &register.commits {
        by_offset.entry(commit.offset).or_default().push(*commit);
    }
    for &(_, fetch, offset) in &register.fetches {
        let Some(offset) = offset else { continue };
        let end = index.event(fetch).end;
        let candidates: Vec<Commit> = by_offset
            .get(&offset)
            .into_iter()
            .flatten()
            .filter(|commit| index.event(commit.event).start <= end)
            .copied()
            .collect();
        let Some(first) = candidates.first() else {
            findings.add(Kind::PhantomCommit, &[fetch], || {
                format!("nobody committed offset {offset} of {}", index.logs[log as usize].log)
            });
            continue;
        };
        let decided = |commit: &Commit| {
            index.transactions.get(commit.transaction as usize).map_or(Decision::Committed { end: 0 }, |t| {
                if end < t.commit_start { Decision::Not } else { t.decision }
            })
        };
        if candidates.iter().all(|commit| decided(commit) == Decision::Not) {
            findings.add(Kind::DirtyRead, &[first.event, fetch], || {
                format!("offset {offset} of a transaction that was not committed was fetched")
            });
        } else if candidates.iter().all(|commit| decided(commit) == Decision::Unknown)
            && candidates.len() == 1
        {
            let seen = &mut index.transactions[first.transaction as usize].seen;
            if seen.is_none_or(|(before, _)| end < before) {
                *seen = Some((end, fetch));
            }
        }
    }
}

/// From when on a commit certainly counts.
fn holds_from(index: &Index<'_>, commit: &Commit) -> Option<u64> {
    let event = index.event(commit.event);
    match index.transactions.get(commit.transaction as usize) {
        Some(transaction) => transaction.committed_by(),
        None => (event.outcome == Outcome::Ok).then_some(event.end),
    }
}

fn never_back(index: &Index<'_>, findings: &mut Findings<'_>, log: u32, register: &Register) {
    let mut resets: Vec<u64> = register
        .commits
        .iter()
        .filter(|commit| commit.reset)
        .map(|commit| index.event(commit.event).start)
        .collect();
    resets.sort_unstable();
    // Commits of before a reset say nothing of what comes after its start.
    let era = |moment: u64| resets.partition_point(|reset| *reset <= moment);
    let mut floors: BTreeMap<usize, Floors> = BTreeMap::new();
    let mut asked: Vec<(u64, u32, Option<u64>)> = register.fetches.clone();
    for commit in &register.commits {
        let event = index.event(commit.event);
        let Some(end) = holds_from(index, commit) else { continue };
        if era(event.start) == era(end) || commit.reset {
            floors.entry(era(end)).or_default().push(end, commit.offset, commit.event);
        }
        if !commit.reset {
            asked.push((event.start, commit.event, Some(commit.offset)));
        }
    }
    floors.values_mut().for_each(Floors::seal);
    asked.sort_unstable();
    for (start, event, offset) in asked {
        let era_of = era(start);
        if era(index.event(event).end) != era_of {
            continue;
        }
        let Some((floor, committed)) = floors.get_mut(&era_of).and_then(|floors| floors.before(start)) else {
            continue;
        };
        if offset.is_none_or(|offset| offset < floor) {
            findings.add(Kind::CommitWentBack, &[committed, event], || {
                format!(
                    "the committed offset of {} went from {floor} to {offset:?}",
                    index.logs[log as usize].log
                )
            });
        }
    }
}

/// Per log, the ends that somebody was told: (start of the question, end offset, event), by start.
fn end_answers(index: &Index<'_>) -> Vec<Vec<(u64, u64, u32)>> {
    let mut answers: Vec<Vec<(u64, u64, u32)>> = index.logs.iter().map(|_| Vec::new()).collect();
    for (number, event) in index.events.iter().enumerate() {
        let end = match &event.op {
            Op::FinalDrain(poll) if poll.isolation == Isolation::ReadUncommitted => Some(poll.next),
            Op::ListOffsets(list) if list.latest && list.isolation == Isolation::ReadUncommitted => {
                list.offset
            }
            _ => None,
        };
        if let (Some(end), Outcome::Ok) = (end, event.outcome) {
            answers[index.log_of[number] as usize].push((event.start, end.0, number as u32));
        }
    }
    for answers in &mut answers {
        answers.sort_unstable();
        // From the back, the smallest end that was told from there on.
        for i in (1..answers.len()).rev() {
            if answers[i].1 < answers[i - 1].1 {
                (answers[i - 1].1, answers[i - 1].2) = (answers[i].1, answers[i].2);
            }
        }
    }
    answers
}

fn past_end(
    index: &Index<'_>,
    findings: &mut Findings<'_>,
    ends: &mut [Vec<(u64, u64, u32)>],
    log: u32,
    register: &Register,
) {
    let answers = &ends[log as usize];
    for commit in &register.commits {
        let Some(held) = holds_from(index, commit) else { continue };
        let later = answers.partition_point(|(start, _, _)| *start <= held);
        if let Some((_, end, answer)) = answers.get(later)
            && *end < commit.offset
        {
            findings.add(Kind::CommitPastEnd, &[commit.event, *answer], || {
                format!("offset {} is committed, and the log ends at {end}", commit.offset)
            });
        }
    }
}
