//! Histories of a log that is right pass; the smallest change to what a reader saw is flagged.

mod model;

use std::collections::BTreeSet;

use model::Dice;
use proptest::prelude::*;
use tidelog_checker::{History, Isolation, Op, Outcome, Poll, TransactionId, Value, check, read};
use tidelog_model::Offset;

/// Reads with at least `records` records that the drains can be held against.
fn reads(history: &History, records: usize) -> Vec<usize> {
    let long = |op: &Op| matches!(op, Op::Poll(poll) if poll.records.len() >= records);
    (0..history.events.len()).filter(|event| long(&history.events[*event].op)).collect()
}

fn poll_mut(history: &mut History, event: usize) -> &mut Poll {
    match &mut history.events[event].op {
        Op::Poll(poll) | Op::FinalDrain(poll) => poll,
        other => panic!("not a read: {other}"),
    }
}

fn is_flagged(history: &History) -> Result<(), TestCaseError> {
    prop_assert!(!check(history).is_clean());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_correct_log_passes(seed: u64, steps in 0_usize..900) {
        let history = model::history(seed, steps);
        let report = check(&history);
        prop_assert!(report.is_clean(), "{}", report);
        prop_assert_eq!(check(&history), report);
    }

    #[test]
    fn the_order_in_which_events_were_written_down_does_not_matter(seed: u64) {
        let mut history = model::history(seed, 300);
        let mut dice = Dice(seed);
        for i in (1..history.events.len()).rev() {
            history.events.swap(i, dice.below(i + 1));
        }
        let report = check(&history);
        prop_assert!(report.is_clean(), "{}", report);
    }

    #[test]
    fn a_history_survives_its_file(seed: u64) {
        let history = model::history(seed, 200);
        let bytes = history.write(Vec::new()).expect("memory takes everything");
        prop_assert_eq!(read(&bytes[..]).expect("what was written can be read"), history);
    }

    #[test]
    fn a_record_dropped_from_a_read_is_flagged(seed: u64, choice: u64) {
        let mut history = model::history(seed, 400);
        let (reads, mut dice) = (reads(&history, 1), Dice(choice));
        prop_assume!(!reads.is_empty());
        let poll = poll_mut(&mut history, reads[dice.below(reads.len())]);
        poll.records.remove(dice.below(poll.records.len()));
        is_flagged(&history)?;
    }

    #[test]
    fn a_record_read_twice_is_flagged(seed: u64, choice: u64) {
        let mut history = model::history(seed, 400);
        let (reads, mut dice) = (reads(&history, 1), Dice(choice));
        prop_assume!(!reads.is_empty());
        let poll = poll_mut(&mut history, reads[dice.below(reads.len())]);
        let place = dice.below(poll.records.len());
        poll.records.insert(place, poll.records[place]);
        is_flagged(&history)?;
    }

    #[test]
    fn a_record_that_is_there_twice_is_flagged(seed: u64, choice: u64) {
        let mut history = model::history(seed, 400);
        let mut dice = Dice(choice);
        // Every drain of the log shows it, as a log with a duplicate would.
        let drains: Vec<usize> = (0..history.events.len())
            .filter(|event| matches!(&history.events[*event].op, Op::FinalDrain(p) if !p.records.is_empty()))
            .collect();
        prop_assume!(!drains.is_empty());
        let drain = poll_mut(&mut history, drains[dice.below(drains.len())]);
        let (_, value) = drain.records[dice.below(drain.records.len())];
        drain.records.push((drain.next, value));
        drain.next += 1;
        is_flagged(&history)?;
    }

    #[test]
    fn two_records_in_each_others_place_are_flagged(seed: u64, choice: u64, offsets: bool) {
        let mut history = model::history(seed, 400);
        let (reads, mut dice) = (reads(&history, 2), Dice(choice));
        prop_assume!(!reads.is_empty());
        let poll = poll_mut(&mut history, reads[dice.below(reads.len())]);
        let place = dice.below(poll.records.len() - 1);
        poll.records.swap(place, place + 1);
        if offsets {
            // The offsets stay where they were, the values change places.
            let first = poll.records[place].0;
            poll.records[place].0 = poll.records[place + 1].0;
            poll.records[place + 1].0 = first;
        }
        is_flagged(&history)?;
    }

    #[test]
    fn another_value_than_what_was_written_is_flagged(seed: u64, choice: u64, foreign: bool) {
        let mut history = model::history(seed, 400);
        let (reads, mut dice) = (reads(&history, 1), Dice(choice));
        prop_assume!(!reads.is_empty());
        let poll = poll_mut(&mut history, reads[dice.below(reads.len())]);
        let place = dice.below(poll.records.len());
        let Value(value) = poll.records[place].1;
        poll.records[place].1 = if foreign { Value::foreign(choice) } else { Value(value + 1) };
        is_flagged(&history)?;
    }

    #[test]
    fn an_acknowledged_record_dropped_from_a_drain_is_flagged(seed: u64, choice: u64) {
        let mut history = model::history(seed, 400);
        let acknowledged: Vec<Value> = history.events.iter().filter_map(|event| match &event.op {
            Op::Produce(produce) if event.outcome == Outcome::Ok => Some(produce.value),
            _ => None,
        }).collect();
        prop_assume!(!acknowledged.is_empty());
        let lost = acknowledged[Dice(choice).below(acknowledged.len())];
        for event in &mut history.events {
            if let Op::FinalDrain(drain) = &mut event.op
                && drain.isolation == Isolation::ReadUncommitted
            {
                drain.records.retain(|(_, value)| *value != lost);
            }
        }
        is_flagged(&history)?;
    }

    #[test]
    fn a_record_of_a_committed_transaction_that_a_drain_does_not_see_is_flagged(seed: u64, choice: u64) {
        let mut history = model::history(seed, 600);
        let mut dice = Dice(choice);
        let committed: BTreeSet<TransactionId> = history.events.iter().filter_map(|event| match event.op {
            Op::Commit { transaction } if event.outcome == Outcome::Ok => Some(transaction),
            _ => None,
        }).collect();
        let written: BTreeSet<Value> = history.events.iter().filter_map(|event| match &event.op {
            Op::Produce(produce) => produce.transaction.filter(|t| committed.contains(t)).map(|_| produce.value),
            _ => None,
        }).collect();
        let mut seen: Vec<(usize, Offset)> = Vec::new();
        for (number, event) in history.events.iter().enumerate() {
            if let Op::FinalDrain(drain) = &event.op && drain.isolation == Isolation::ReadCommitted {
                let records = drain.records.iter().filter(|(_, value)| written.contains(value));
                seen.extend(records.map(|(offset, _)| (number, *offset)));
            }
        }
        prop_assume!(!seen.is_empty());
        let (drain, offset) = seen[dice.below(seen.len())];
        poll_mut(&mut history, drain).records.retain(|(at, _)| *at != offset);
        is_flagged(&history)?;
    }
}
