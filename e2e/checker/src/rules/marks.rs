//! Rule 9: high watermark, last stable offset and log start do not go back, and the log start moves only
//! where something may move it.
//!
//! Linearizable answers are compared with each other whoever asked; any other only with what the same
//! client was told before, since replicas learn marks one after the other.

use std::collections::BTreeMap;

use super::Case;
use crate::history::{ClientId, Isolation, Marks, Op, Outcome};
use crate::report::{Findings, Kind};
use crate::sweep::Floors;

/// Which mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    LogStart,
    LastStable,
    HighWatermark,
}

/// A mark that was told: of which log, to whom (`None`: to everybody), by which operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    log: u32,
    mark: Mark,
    to: Option<ClientId>,
    start: u64,
    event: u32,
    offset: u64,
}

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    let mut told = gather(case);
    told.sort_unstable();
    let mut floors: BTreeMap<(u32, Mark, Option<ClientId>), Floors> = BTreeMap::new();
    for t in &told {
        let end = case.index.event(t.event).end;
        floors.entry((t.log, t.mark, t.to)).or_default().push(end, t.offset, t.event);
    }
    floors.values_mut().for_each(Floors::seal);
    for t in &told {
        let before = floors.get_mut(&(t.log, t.mark, t.to)).and_then(|floors| floors.before(t.start));
        if let Some((offset, event)) = before
            && t.offset < offset
        {
            findings.add(Kind::MarkWentBack, &[event, t.event], || {
                format!("{:?} went from {offset} to {}", t.mark, t.offset)
            });
        }
        if t.mark == Mark::LogStart && t.to.is_some() {
            moved(case, findings, t);
        }
    }
}

fn moved(case: &Case<'_>, findings: &mut Findings<'_>, told: &Told) {
    let entry = &case.index.logs[told.log as usize];
    let end = case.index.event(told.event).end;
    let deleted = entry.deletes.iter().filter(|(start, _)| *start <= end).map(|(_, below)| below.0).max();
    if !entry.retention && told.offset > deleted.unwrap_or(0) {
        findings.add(Kind::LogStartMoved, &[told.event], || {
            format!("{} starts at {}, and nobody deleted that much", entry.log, told.offset)
        });
    }
}

fn gather(case: &Case<'_>) -> Vec<Told> {
    let index = &case.index;
    let mut told = Vec::new();
    for (number, event) in index.events.iter().enumerate() {
        if event.outcome != Outcome::Ok {
            continue;
        }
        let (log, event_number) = (index.log_of[number], number as u32);
        let mut push = |mark: Mark, to: Option<ClientId>, offset: u64| {
            told.push(Told { log, mark, to, start: event.start, event: event_number, offset });
        };
        let mut all = |marks: &Marks| {
            let marks = [
                (Mark::LogStart, marks.log_start),
                (Mark::LastStable, marks.last_stable),
                (Mark::HighWatermark, marks.high_watermark),
            ];
            for (mark, offset) in marks {
                if let Some(offset) = offset {
                    push(mark, Some(event.client), offset.0);
                }
            }
        };
        match &event.op {
            Op::Poll(poll) | Op::FinalDrain(poll) => {
                if let Some(marks) = &poll.marks {
                    all(marks);
                }
            }
            Op::Marks { marks, .. } => all(marks),
            Op::ListOffsets(list) => {
                let Some(offset) = list.offset else { continue };
                let mark = match (list.latest, list.isolation) {
                    (false, _) => Mark::LogStart,
                    (true, Isolation::ReadCommitted) => Mark::LastStable,
                    (true, Isolation::ReadUncommitted) => Mark::HighWatermark,
                };
                push(mark, if list.latest { None } else { Some(event.client) }, offset.0);
            }
            _ => {}
        }
    }
    told
}
