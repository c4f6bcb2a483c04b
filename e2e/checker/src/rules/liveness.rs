//! Rule 10: within a stated time after the last fault is healed, everything works again.

use super::Case;
use crate::history::{Op, Outcome};
use crate::index::NONE;
use crate::report::{Findings, Kind};

/// What happened to a log's writes after the last fault.
#[derive(Clone, Copy, Default)]
struct Writes {
    succeeded: bool,
    /// A write that was under way in that time and did not succeed in it.
    tried: Option<u32>,
}

pub(super) fn check(case: &Case<'_>, recovery_ms: Option<u64>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let Some(recovery_ms) = recovery_ms else { return };
    if findings.report.counts.faults_open > 0 {
        return;
    }
    let heals = index.events.iter().filter(|event| matches!(event.op, Op::FaultHeal { .. }));
    let healed = heals.map(|event| event.end).max().unwrap_or(0);
    let due = healed.saturating_add(recovery_ms.saturating_mul(1_000_000));
    let over = index.events.iter().map(|event| event.end).max().unwrap_or(0);

    let mut writes = vec![Writes::default(); index.logs.len()];
    for (number, event) in index.events.iter().enumerate() {
        let log = index.log_of[number];
        if log == NONE {
            continue;
        }
        match &event.op {
            Op::Produce(_) if event.end >= healed => {
                let writes = &mut writes[log as usize];
                if event.outcome == Outcome::Ok && event.end <= due {
                    writes.succeeded = true;
                } else if event.start <= due {
                    writes.tried.get_or_insert(number as u32);
                }
            }
            Op::Poll(_) | Op::FinalDrain(_) | Op::ListOffsets(_)
                if event.outcome != Outcome::Ok && event.start > due =>
            {
                findings.add(Kind::NotReadable, &[number as u32], || {
                    format!(
                        "{} cannot be read {recovery_ms} ms after the last fault",
                        index.logs[log as usize].log
                    )
                });
            }
            _ => {}
        }
    }
    for (log, writes) in writes.iter().enumerate() {
        if let (false, Some(tried), true) = (writes.succeeded, writes.tried, over > due) {
            findings.add(Kind::NotWritable, &[tried], || {
                format!("{} took no write within {recovery_ms} ms after the last fault", index.logs[log].log)
            });
        }
    }
}
