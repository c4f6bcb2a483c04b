//! Rule 8: what was acknowledged before a linearizable question was asked is known to the answer.

use super::Case;
use crate::history::{Isolation, Op, Outcome};
use crate::report::{Findings, Kind};
use crate::sweep::Floors;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let mut acknowledged: Vec<Floors> = index.logs.iter().map(|_| Floors::default()).collect();
    let mut transactional = vec![false; index.logs.len()];
    let mut answers: Vec<(u64, u32, u64, Isolation)> = Vec::new();
    for (number, event) in index.events.iter().enumerate() {
        if event.outcome != Outcome::Ok {
            continue;
        }
        match &event.op {
            Op::Produce(produce) => {
                let log = index.log_of[number] as usize;
                transactional[log] |= produce.transaction.is_some();
                if let Some(offset) = produce.offset {
                    acknowledged[log].push(event.end, offset.0.saturating_add(1), number as u32);
                }
            }
            Op::ListOffsets(list) if list.latest => {
                if let Some(offset) = list.offset {
                    answers.push((event.start, number as u32, offset.0, list.isolation));
                }
            }
            Op::CaughtUp(place) => {
                let isolation = Isolation::ReadUncommitted;
                answers.push((event.start, number as u32, place.offset.0, isolation));
            }
            _ => {}
        }
    }
    acknowledged.iter_mut().for_each(Floors::seal);
    answers.sort_unstable_by_key(|(start, number, _, _)| (*start, *number));
    for (start, number, answer, isolation) in answers {
        let log = index.log_of[number as usize] as usize;
        // An open transaction holds the last stable offset back for as long as it likes.
        if isolation == Isolation::ReadCommitted && transactional[log] {
            continue;
        }
        if let Some((needed, write)) = acknowledged[log].before(start)
            && answer < needed
        {
            findings.add(Kind::StaleAnswer, &[write, number], || {
                format!("the answer {answer} does not know offset {}", needed - 1)
            });
        }
    }
}
