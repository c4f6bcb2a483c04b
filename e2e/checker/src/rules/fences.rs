//! Epochs and generations: what is older is refused once what is newer has been accepted.

use std::collections::BTreeMap;

use tidelog_model::ProducerId;

use super::Case;
use crate::history::{Op, Outcome};
use crate::report::{Findings, Kind};
use crate::sweep::Floors;

pub(super) fn check(case: &Case<'_>, findings: &mut Findings<'_>) {
    producers(case, findings);
    generations(case, findings);
}

fn producers(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let mut writes: Vec<((u32, ProducerId), u64, u32, u64)> = Vec::new();
    for (number, event) in index.events.iter().enumerate() {
        if let (Op::Produce(produce), Outcome::Ok) = (&event.op, event.outcome)
            && let Some(producer) = produce.producer
            && let Some(epoch) = producer.epoch.and_then(|epoch| u64::try_from(epoch.0).ok())
        {
            writes.push(((index.log_of[number], producer.id), event.start, number as u32, epoch));
        }
    }
    older(case, writes, |old, new| {
        findings.add(Kind::FencedWrite, &[new.0, old.0], || {
            format!("a write of producer epoch {} was accepted after one of epoch {}", old.1, new.1)
        });
    });
}

fn generations(case: &Case<'_>, findings: &mut Findings<'_>) {
    let index = &case.index;
    let mut floors: BTreeMap<&str, Floors> = BTreeMap::new();
    let mut commits: Vec<(u64, u32, &str, u64)> = Vec::new();
    for (number, event) in index.events.iter().enumerate() {
        match (&event.op, event.outcome) {
            (Op::Assign(assign), Outcome::Ok) => {
                if let Some(group) = &assign.group {
                    let floor = floors.entry(group).or_default();
                    floor.push(event.end, u64::from(assign.generation), number as u32);
                }
            }
            (Op::CommitOffsets(commit), Outcome::Ok) if !commit.reset => {
                let generation = u64::from(commit.generation);
                commits.push((event.start, number as u32, &commit.group, generation));
            }
            _ => {}
        }
    }
    floors.values_mut().for_each(Floors::seal);
    commits.sort_unstable();
    for (start, number, group, generation) in commits {
        let newest = floors.get_mut(group).and_then(|floors| floors.before(start));
        if let Some((newest, assign)) = newest
            && generation < newest
        {
            findings.add(Kind::FencedCommit, &[assign, number], || {
                format!("a commit of generation {generation} was accepted in generation {newest}")
            });
        }
    }
}

/// Reports every operation with a smaller number than one of the same key that ended before it began.
fn older<K: Ord + Copy>(
    case: &Case<'_>,
    mut items: Vec<(K, u64, u32, u64)>,
    mut report: impl FnMut((u32, u64), (u32, u64)),
) {
    items.sort_unstable();
    let mut floors: BTreeMap<K, Floors> = BTreeMap::new();
    for (key, _, event, number) in &items {
        floors.entry(*key).or_default().push(case.index.event(*event).end, *number, *event);
    }
    floors.values_mut().for_each(Floors::seal);
    for (key, start, event, number) in items {
        if let Some((newest, by)) = floors.get_mut(&key).and_then(|floors| floors.before(start))
            && number < newest
        {
            report((event, number), (by, newest));
        }
    }
}
