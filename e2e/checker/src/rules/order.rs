//! Rule 5: producers' records stand in the order of writing; consumers go on where they were.

use std::collections::{BTreeMap, HashMap};

use super::Case;
use crate::history::{ClientId, Log, Op, Outcome};
use crate::index::Write;
use crate::report::{Findings, Kind};

/// Of one process, records of one log: what was sent earlier stands earlier.
pub(super) fn producers(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let mut writes: Vec<u32> =
        (0..index.events.len() as u32).filter(|n| index.produce(*n).is_some()).collect();
    let group = |number: u32| {
        let event = index.event(number);
        (event.client, event.process, index.log_of[number as usize])
    };
    writes.sort_by_key(|number| (group(*number), index.event(*number).start, *number));
    let mut before: Option<(u32, u64)> = None;
    for number in writes {
        let Some(produce) = index.produce(number) else { continue };
        let log = index.log_of[number as usize];
        let write =
            index.writes.get(&produce.value).filter(|write| write.event == number && write.log == log);
        let Some(offset) = write.and_then(Write::place) else { continue };
        if let Some((earlier, earlier_offset)) = before
            && group(earlier) == group(number)
            && offset < earlier_offset
        {
            findings.add(Kind::ProducerOrder, &[earlier, number], || {
                format!("what was sent first is at {earlier_offset}, what was sent next at {offset}")
            });
        }
        before = Some((number, offset));
    }
}

/// Of one process, polls of one log: each begins where the one before ended.
pub(super) fn consumers(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let relevant = |number: &u32| {
        let event = index.event(*number);
        event.outcome == Outcome::Ok && matches!(event.op, Op::Poll(_) | Op::Seek(_) | Op::Assign(_))
    };
    let mut steps: Vec<u32> = (0..index.events.len() as u32).filter(relevant).collect();
    steps.sort_by_key(|number| {
        let event = index.event(*number);
        (event.client, event.process, event.start, *number)
    });
    let mut who = None;
    // Where each log's next poll begins, and the operation that says so.
    let mut positions: HashMap<u32, (u64, u32)> = HashMap::new();
    for number in steps {
        let event = index.event(number);
        if who != Some((event.client, event.process)) {
            who = Some((event.client, event.process));
            positions.clear();
        }
        let log = index.log_of[number as usize];
        match &event.op {
            Op::Poll(poll) => {
                let before = positions.insert(log, (poll.next.0, number));
                if let Some((position, earlier)) = before
                    && position != poll.from.0
                {
                    findings.add(Kind::PollJump, &[earlier, number], || {
                        format!("the consumer was at {position} and goes on at {}", poll.from)
                    });
                }
            }
            Op::Seek(place) => {
                positions.insert(log, (place.offset.0, number));
            }
            _ => positions.clear(),
        }
    }
}

/// Of one group, in one generation: a log belongs to one consumer.
pub(super) fn assignments(case: &Case<'_>, findings: &mut Findings<'_>) {
    let mut owners: BTreeMap<(&str, u32, &Log), (ClientId, u32)> = BTreeMap::new();
    for (number, event) in case.index.events.iter().enumerate() {
        let Op::Assign(assign) = &event.op else { continue };
        let (Some(group), Outcome::Ok) = (&assign.group, event.outcome) else { continue };
        for log in &assign.logs {
            let owner =
                owners.entry((group, assign.generation, log)).or_insert((event.client, number as u32));
            if owner.0 != event.client {
                findings.add(Kind::SharedAssignment, &[owner.1, number as u32], || {
                    format!("{log} has two owners in generation {} of {group}", assign.generation)
                });
            }
        }
    }
}
