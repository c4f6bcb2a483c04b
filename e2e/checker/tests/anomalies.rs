//! Every kind of anomaly, written by hand: each is flagged, and nothing else is.

mod script;

use script::{At, Script, log};
use tidelog_checker::{
    ClientId, CommitOffsets, History, Isolation, Kind, Marks, Op, Outcome, TopicRules, Value, check,
};
use tidelog_model::{Offset, ProducerEpoch, ProducerId};

const RU: Isolation = Isolation::ReadUncommitted;
const RC: Isolation = Isolation::ReadCommitted;

#[track_caller]
fn flags(script: &Script, kind: Kind) {
    let history = script.history();
    let report = check(&history);
    assert_eq!(report.kinds(), [kind], "{report}");
    assert!(report.anomalies.iter().all(|anomaly| !anomaly.events.is_empty()), "{report}");
    assert_eq!(check(&history), report, "the same history, another report");
}

#[track_caller]
fn passes(script: &Script) {
    let report = check(&script.history());
    assert!(report.is_clean(), "{report}");
}

#[test]
fn an_empty_history_is_clean() {
    assert!(check(&History::default()).is_clean());
}

#[test]
fn gaps_unknown_outcomes_and_retries_are_no_anomalies() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.unknown(1, 11);
    s.unknown(2, 12);
    s.poll(5, 0..9, &[(0, 10), (7, 12)]);
    s.drain(0..9, &[(0, 10), (7, 12)]);
    passes(&s);
}

#[test]
fn two_values_at_one_offset_are_a_divergence() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(2, 11, 1);
    s.poll(5, 0..2, &[(0, 10), (1, 10)]);
    s.drain(0..2, &[(0, 10), (1, 11)]);
    flags(&s, Kind::Divergence);
}

#[test]
fn two_acknowledgements_of_one_offset_are_a_divergence() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(2, 11, 0);
    s.drain(0..1, &[(0, 10)]);
    flags(&s, Kind::Divergence);
}

#[test]
fn replicas_that_disagree_are_a_divergence() {
    let mut s = Script::default();
    s.unknown(1, 10);
    s.unknown(2, 11);
    s.poll(5, 0..1, &[(0, 10)]);
    s.poll(6, 0..1, &[(0, 11)]);
    flags(&s, Kind::Divergence);
}

#[test]
fn an_acknowledged_record_that_a_drain_misses_is_lost() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(1, 11, 1);
    s.drain(0..2, &[(0, 10)]);
    flags(&s, Kind::LostWrite);
}

#[test]
fn an_acknowledged_record_at_the_end_of_the_log_is_lost_when_the_log_ends_before_it() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(1, 11, 1);
    s.drain(0..1, &[(0, 10)]);
    flags(&s, Kind::LostWrite);
}

#[test]
fn an_acknowledged_record_below_the_log_start_is_lost_unless_it_was_to_go() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(1, 11, 1);
    s.drain(1..2, &[(1, 11)]);
    flags(&s, Kind::LostWrite);

    let mut deleted = s.clone();
    deleted.op(9, Op::DeleteRecords(log(0).at(1)), Outcome::Unknown);
    deleted.drain(1..2, &[(1, 11)]);
    // Before the first drain too.
    deleted.delete_first();
    passes(&deleted);

    let mut retained = Script::default();
    retained.topic(true, false);
    retained.events.extend(s.events);
    passes(&retained);
}

#[test]
fn a_record_that_was_read_and_then_vanished_is_lost() {
    let mut s = Script::default();
    s.unknown(1, 10);
    s.poll(5, 0..1, &[(0, 10)]);
    s.drain(0..0, &[]);
    flags(&s, Kind::LostWrite);
}

#[test]
fn an_acknowledged_record_without_an_offset_has_to_be_somewhere() {
    let mut s = Script::default();
    s.op(1, script::produce(10, None), Outcome::Ok);
    s.drain(0..0, &[]);
    flags(&s, Kind::LostWrite);
}

#[test]
fn a_log_that_nobody_drained_is_flagged() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    flags(&s, Kind::NotDrained);
}

#[test]
fn compaction_may_take_what_has_a_newer_record_of_its_key_and_nothing_else() {
    let mut s = Script::default();
    s.topic(false, true);
    for (value, key, offset) in [(10, 1, 0), (11, 2, 1), (12, 1, 2)] {
        s.op(1, script::keyed(value, key, offset), Outcome::Ok);
    }
    let mut wrong = s.clone();
    s.drain(0..3, &[(1, 11), (2, 12)]);
    passes(&s);
    wrong.drain(0..3, &[(2, 12)]);
    flags(&wrong, Kind::LostWrite);
}

#[test]
fn an_idempotent_producers_record_at_two_offsets_is_a_duplicate() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.drain(0..2, &[(0, 10), (1, 10)]);
    flags(&s, Kind::Duplicate);

    let mut retried = Script::default();
    retried.plain(1, 10);
    retried.drain(0..2, &[(0, 10), (1, 10)]);
    passes(&retried);
}

#[test]
fn a_record_of_a_failed_write_is_a_failed_read() {
    let mut s = Script::default();
    s.op(1, script::produce(10, None), Outcome::Failed);
    s.poll(5, 0..1, &[(0, 10)]);
    s.drain(0..1, &[(0, 10)]);
    flags(&s, Kind::FailedRead);
}

#[test]
fn a_record_of_an_aborted_transaction_is_a_dirty_read_at_read_committed_only() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.in_transaction(1, 7, 10, 0);
    s.abort(1, 7, Outcome::Ok);
    let mut harmless = s.clone();
    s.read(5, RC, 0..2, &[(0, 10)]);
    s.drain(0..2, &[(0, 10)]);
    flags(&s, Kind::DirtyRead);

    harmless.read(5, RU, 0..2, &[(0, 10)]);
    harmless.read(6, RC, 0..2, &[]);
    harmless.drain(0..2, &[(0, 10)]);
    passes(&harmless);
}

#[test]
fn a_record_that_is_read_as_committed_before_its_commit_is_a_dirty_read() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.in_transaction(1, 7, 10, 0);
    s.read(5, RC, 0..1, &[(0, 10)]);
    s.commit(1, 7, Outcome::Ok);
    s.drain(0..2, &[(0, 10)]);
    flags(&s, Kind::DirtyRead);
}

#[test]
fn a_delayed_write_that_lands_in_the_next_transaction_is_a_dirty_read() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.op(1, script::transactional(7, 10, None), Outcome::Unknown);
    s.process(1);
    s.abort(1, 7, Outcome::Ok);
    s.begin(1, 8);
    s.in_transaction(1, 8, 11, 1);
    s.commit(1, 8, Outcome::Ok);
    s.read(5, RC, 0..4, &[(1, 11), (2, 10)]);
    s.drain(0..4, &[(1, 11), (2, 10)]);
    flags(&s, Kind::DirtyRead);
}

#[test]
fn a_record_that_nobody_wrote_is_a_phantom() {
    let mut s = Script::default();
    s.poll(5, 0..1, &[(0, 99)]);
    flags(&s, Kind::PhantomRead);
    let mut foreign = Script::default();
    foreign.drain_values(0..1, &[(0, Value::foreign(5))]);
    flags(&foreign, Kind::PhantomRead);
}

#[test]
fn a_record_in_another_log_than_its_own_is_a_phantom() {
    let mut s = Script::default();
    s.unknown(1, 10);
    s.poll_of(5, &log(1), RU, 0..1, &[(0, 10)]);
    flags(&s, Kind::PhantomRead);
}

#[test]
fn a_record_that_is_read_before_it_is_written_is_a_phantom() {
    let mut s = Script::default();
    s.poll(5, 0..1, &[(0, 10)]);
    s.acked(1, 10, 0);
    s.drain(0..1, &[(0, 10)]);
    flags(&s, Kind::PhantomRead);
}

#[test]
fn a_producers_records_out_of_order_are_flagged_within_a_process_only() {
    let mut s = Script::default();
    s.acked(1, 10, 1);
    let mut restarted = s.clone();
    s.acked(1, 11, 0);
    s.drain(0..2, &[(0, 11), (1, 10)]);
    flags(&s, Kind::ProducerOrder);

    restarted.process(1);
    restarted.acked(1, 11, 0);
    restarted.drain(0..2, &[(0, 11), (1, 10)]);
    passes(&restarted);
}

#[test]
fn a_poll_whose_records_are_out_of_order_is_flagged() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(1, 11, 1);
    let mut outside = s.clone();
    s.poll(5, 0..2, &[(1, 11), (0, 10)]);
    s.drain(0..2, &[(0, 10), (1, 11)]);
    flags(&s, Kind::PollOrder);
    outside.poll(5, 1..2, &[(0, 10), (1, 11)]);
    outside.drain(0..2, &[(0, 10), (1, 11)]);
    flags(&outside, Kind::PollOrder);
}

#[test]
fn a_poll_that_goes_on_elsewhere_is_a_jump_unless_a_seek_says_so() {
    for (from, to) in [(2, 3), (0, 1)] {
        let mut s = Script::default();
        (0..3).for_each(|i| s.acked(1, 10 + i, i));
        s.poll(5, 0..1, &[(0, 10)]);
        let mut sought = s.clone();
        s.poll(5, from..to, &[(from, 10 + from)]);
        s.drain(0..3, &[(0, 10), (1, 11), (2, 12)]);
        flags(&s, Kind::PollJump);

        sought.op(5, Op::Seek(log(0).at(from)), Outcome::Ok);
        sought.poll(5, from..to, &[(from, 10 + from)]);
        sought.drain(0..3, &[(0, 10), (1, 11), (2, 12)]);
        passes(&sought);
    }
}

#[test]
fn a_rebalance_lets_a_consumer_go_on_elsewhere() {
    let mut s = Script::default();
    (0..3).for_each(|i| s.acked(1, 10 + i, i));
    s.assign(5, 1, &[0]);
    s.poll(5, 0..2, &[(0, 10), (1, 11)]);
    s.assign(5, 2, &[0]);
    s.poll(5, 1..3, &[(1, 11), (2, 12)]);
    s.drain(0..3, &[(0, 10), (1, 11), (2, 12)]);
    passes(&s);
}

#[test]
fn a_record_that_a_poll_passes_over_is_flagged() {
    let mut s = Script::default();
    (0..3).for_each(|i| s.acked(1, 10 + i, i));
    s.poll(5, 0..3, &[(0, 10), (2, 12)]);
    s.drain(0..3, &[(0, 10), (1, 11), (2, 12)]);
    flags(&s, Kind::SkippedRecord);
}

#[test]
fn two_owners_of_a_log_in_one_generation_are_flagged() {
    let mut s = Script::default();
    s.assign(5, 3, &[0, 1]);
    s.assign(6, 3, &[1]);
    flags(&s, Kind::SharedAssignment);
}

#[test]
fn one_write_of_a_transaction_without_the_other_is_torn_even_if_the_commit_is_unknown() {
    for outcome in [Outcome::Ok, Outcome::Unknown] {
        let mut s = Script::default();
        s.begin(1, 7);
        s.in_transaction(1, 7, 10, 0);
        s.in_transaction(1, 7, 11, 1);
        s.commit(1, 7, outcome);
        let mut all = s.clone();
        s.read(5, RC, 0..3, &[(0, 10)]);
        s.drain(0..3, &[(0, 10), (1, 11)]);
        flags(&s, Kind::TornTransaction);
        all.read(5, RC, 0..3, &[(0, 10), (1, 11)]);
        all.drain(0..3, &[(0, 10), (1, 11)]);
        passes(&all);
    }
}

#[test]
fn an_offset_seen_of_a_transaction_whose_records_are_not_is_torn() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.in_transaction(1, 7, 10, 0);
    s.commit_offsets(1, Some(7), 1, 5);
    s.commit(1, 7, Outcome::Unknown);
    s.fetch(6, 1, Some(5));
    s.read(5, RC, 0..2, &[]);
    s.drain(0..2, &[(0, 10)]);
    flags(&s, Kind::TornTransaction);
}

#[test]
fn a_commit_of_unknown_outcome_may_have_happened_or_not() {
    for records in [&[(0, 10)][..], &[]] {
        let mut s = Script::default();
        s.begin(1, 7);
        s.in_transaction(1, 7, 10, 0);
        s.commit(1, 7, Outcome::Unknown);
        s.read(5, RC, 0..2, records);
        s.drain(0..2, &[(0, 10)]);
        passes(&s);
    }
}

#[test]
fn transactions_that_read_each_other_are_a_circle() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.begin(2, 8);
    s.in_transaction(1, 7, 10, 0);
    s.in_transaction(2, 8, 11, 1);
    // Commits that overlap with the reads: neither read is dirty.
    s.reading_transaction(1, 7, 0..2, &[(1, 11)]);
    s.reading_transaction(2, 8, 0..2, &[(0, 10)]);
    s.commit(1, 7, Outcome::Ok);
    s.commit(2, 8, Outcome::Ok);
    s.stretch_commits();
    s.drain(0..4, &[(0, 10), (1, 11)]);
    let kinds = check(&s.history()).kinds();
    assert!(kinds.contains(&Kind::TransactionCycle), "{kinds:?}");
    // Each of them passed over its own write; that is how a reader inside a circle looks.
    s.own_writes_too();
    flags(&s, Kind::TransactionCycle);
}

/// A group's transaction: consumes, writes, commits offset and itself.
fn consume(s: &mut Script, client: u32, id: u64, range: std::ops::Range<u64>, output: (u64, u64)) {
    s.begin(client, id);
    let records: Vec<(u64, u64)> = range.clone().map(|offset| (offset, 100 + offset)).collect();
    s.consuming(client, id, range.clone(), &records);
    s.in_transaction(client, id, output.0, output.1);
    s.commit_offsets(client, Some(id), 1, range.end);
    s.commit(client, id, Outcome::Ok);
}

fn input(s: &mut Script, count: u64) {
    (0..count).for_each(|i| s.op(9, script::produce_to(&log(1), 100 + i, i), Outcome::Ok));
    let records: Vec<(u64, u64)> = (0..count).map(|i| (i, 100 + i)).collect();
    s.drain_of(&log(1), 0..count, &records);
}

#[test]
fn an_input_consumed_in_two_committed_transactions_is_repeated() {
    let mut s = Script::default();
    input(&mut s, 4);
    consume(&mut s, 1, 7, 0..2, (10, 0));
    let mut once = s.clone();
    s.process(1);
    consume(&mut s, 1, 8, 1..4, (11, 2));
    s.drain(0..4, &[(0, 10), (2, 11)]);
    flags(&s, Kind::InputRepeated);
    consume(&mut once, 1, 8, 2..4, (11, 2));
    once.drain(0..4, &[(0, 10), (2, 11)]);
    passes(&once);
}

#[test]
fn an_input_that_was_committed_past_without_being_consumed_is_missed() {
    let mut s = Script::default();
    input(&mut s, 4);
    consume(&mut s, 1, 7, 0..2, (10, 0));
    s.process(1);
    consume(&mut s, 1, 8, 3..4, (11, 2));
    s.drain(0..4, &[(0, 10), (2, 11)]);
    flags(&s, Kind::InputMissed);
}

#[test]
fn a_committed_offset_that_goes_back_is_flagged() {
    for answer in [None, Some(0), Some(4)] {
        let mut s = Script::default();
        s.commit_offsets(1, None, 1, 0);
        s.commit_offsets(1, None, 1, 4);
        s.commit_offsets(1, None, 1, 5);
        s.fetch(1, 1, answer);
        flags(&s, Kind::CommitWentBack);
    }
    let mut reset = Script::default();
    reset.commit_offsets(1, None, 1, 5);
    let offsets = vec![(log(1), Offset(2))];
    let group = || "group".into();
    reset.op(
        1,
        Op::CommitOffsets(CommitOffsets {
            group: group(),
            generation: 0,
            transaction: None,
            reset: true,
            offsets,
        }),
        Outcome::Ok,
    );
    reset.fetch(1, 1, Some(2));
    passes(&reset);
}

#[test]
fn a_committed_offset_past_the_end_is_flagged() {
    let mut s = Script::default();
    input(&mut s, 2);
    s.commit_offsets(1, None, 1, 3);
    s.list(2, &log(1), RU, 2);
    flags(&s, Kind::CommitPastEnd);
}

#[test]
fn a_committed_offset_that_nobody_committed_is_a_phantom() {
    let mut s = Script::default();
    s.fetch(1, 1, Some(3));
    flags(&s, Kind::PhantomCommit);
}

#[test]
fn an_offset_of_an_aborted_transaction_is_a_dirty_read() {
    let mut s = Script::default();
    s.begin(1, 7);
    s.commit_offsets(1, Some(7), 1, 3);
    s.abort(1, 7, Outcome::Ok);
    s.fetch(1, 1, Some(3));
    flags(&s, Kind::DirtyRead);
}

#[test]
fn a_linearizable_answer_that_does_not_know_an_acknowledged_record_is_stale() {
    let mut s = Script::default();
    s.acked(1, 10, 0);
    s.acked(1, 11, 1);
    s.drain(0..2, &[(0, 10), (1, 11)]);
    let mut caught_up = s.clone();
    let mut good = s.clone();
    s.list(2, &log(0), RU, 1);
    flags(&s, Kind::StaleAnswer);
    caught_up.op(2, Op::CaughtUp(log(0).at(1)), Outcome::Ok);
    flags(&caught_up, Kind::StaleAnswer);
    good.list(2, &log(0), RU, 2);
    good.list(2, &log(0), RC, 2);
    good.op(2, Op::CaughtUp(log(0).at(2)), Outcome::Ok);
    passes(&good);
}

#[test]
fn a_mark_that_goes_back_is_flagged() {
    for pick in 0..3 {
        let marks = |offset: u64| {
            let at = |wanted: u32| (pick == wanted).then_some(Offset(offset));
            Op::Marks {
                log: log(0),
                marks: Marks { log_start: at(0), last_stable: at(1), high_watermark: at(2) },
            }
        };
        let mut s = Script::default();
        s.topic(true, false);
        s.op(1, marks(5), Outcome::Ok);
        let mut elsewhere = s.clone();
        s.op(1, marks(4), Outcome::Ok);
        flags(&s, Kind::MarkWentBack);
        // Another client may ask a replica that has not heard yet.
        elsewhere.op(2, marks(4), Outcome::Ok);
        passes(&elsewhere);
    }
    let mut linearizable = Script::default();
    linearizable.list(1, &log(0), RC, 5);
    linearizable.list(2, &log(0), RC, 4);
    flags(&linearizable, Kind::MarkWentBack);
}

#[test]
fn a_log_start_that_moves_by_itself_is_flagged() {
    let marks = Marks { log_start: Some(Offset(3)), ..Marks::default() };
    let mut s = Script::default();
    s.op(1, Op::Marks { log: log(0), marks }, Outcome::Ok);
    flags(&s, Kind::LogStartMoved);
    let mut deleted = Script::default();
    deleted.op(2, Op::DeleteRecords(log(0).at(3)), Outcome::Ok);
    deleted.op(1, Op::Marks { log: log(0), marks }, Outcome::Ok);
    passes(&deleted);
}

#[test]
fn a_write_of_an_older_producer_epoch_after_a_newer_one_is_flagged() {
    let mut s = Script::default();
    for (client, epoch, value) in [(1, 4, 10), (2, 3, 11)] {
        let mut op = script::produce(value, Some(value - 10));
        if let Op::Produce(produce) = &mut op
            && let Some(producer) = &mut produce.producer
        {
            (producer.id, producer.epoch) = (ProducerId(77), Some(ProducerEpoch(epoch)));
        }
        s.op(client, op, Outcome::Ok);
    }
    s.drain(0..2, &[(0, 10), (1, 11)]);
    flags(&s, Kind::FencedWrite);
}

#[test]
fn a_commit_of_an_older_generation_is_flagged() {
    let mut s = Script::default();
    s.assign(5, 2, &[0]);
    s.commit_offsets(1, None, 1, 3);
    flags(&s, Kind::FencedCommit);
}

#[test]
fn a_log_that_takes_no_writes_after_the_faults_is_flagged() {
    let mut s = Script::with_recovery(1);
    s.fault(1);
    s.unknown(1, 10);
    let mut recovers = s.clone();
    s.later(2_000_000);
    s.process(1);
    s.acked(1, 11, 1);
    s.drain(0..2, &[(1, 11)]);
    flags(&s, Kind::NotWritable);

    recovers.process(1);
    recovers.acked(1, 11, 1);
    recovers.later(2_000_000);
    recovers.drain(0..2, &[(1, 11)]);
    passes(&recovers);
}

#[test]
fn a_log_that_cannot_be_read_after_the_faults_is_flagged() {
    let mut s = Script::with_recovery(1);
    s.fault(1);
    s.acked(1, 10, 0);
    s.drain(0..1, &[(0, 10)]);
    s.later(2_000_000);
    s.op(5, script::read(&log(0), RU, 0..0, &[]), Outcome::Unknown);
    flags(&s, Kind::NotReadable);
}

#[test]
fn a_history_that_was_recorded_wrongly_is_malformed() {
    let mut twice = Script::default();
    twice.unknown(1, 10);
    twice.unknown(2, 10);
    flags(&twice, Kind::Malformed);

    let mut same_process = Script::default();
    same_process.unknown(1, 10);
    same_process.acked(1, 11, 0);
    same_process.drain(0..1, &[(0, 11)]);
    flags(&same_process, Kind::Malformed);

    let mut backwards = Script::default();
    backwards.unknown(1, 10);
    backwards.events[0].end = 0;
    flags(&backwards, Kind::Malformed);

    let mut never_begun = Script::default();
    never_begun.commit(1, 7, Outcome::Ok);
    flags(&never_begun, Kind::Malformed);

    let mut both = Script::default();
    both.begin(1, 7);
    both.commit(1, 7, Outcome::Ok);
    both.abort(1, 7, Outcome::Ok);
    flags(&both, Kind::Malformed);

    let mut healed = Script::default();
    healed.op(9, Op::FaultHeal { fault: tidelog_checker::FaultId(4) }, Outcome::Ok);
    flags(&healed, Kind::Malformed);

    let mut foreign = Script::default();
    foreign.op(1, script::produce(1 << 63, None), Outcome::Unknown);
    flags(&foreign, Kind::Malformed);
}

#[test]
fn rules_of_a_topic_are_its_own() {
    let mut s = Script::default();
    let topic = "other".into();
    s.op(1, Op::Topic(TopicRules { topic, partitions: 1, retention: true, compaction: true }), Outcome::Ok);
    s.acked(1, 10, 0);
    s.drain(1..1, &[]);
    flags(&s, Kind::LostWrite);
}

#[test]
fn many_anomalies_are_counted_and_some_are_explained() {
    let mut s = Script::default();
    (0..1000).for_each(|i| s.acked(1, i, i));
    s.drain(0..1000, &[]);
    let report = check(&s.history());
    assert_eq!(report.counts.anomalies[&Kind::LostWrite], 1000);
    assert!(report.anomalies.len() < 100);
    assert!(report.to_string().contains("1000 × LostWrite (rule 2)"), "{report}");
    assert_eq!(s.events[0].client, ClientId(1));
}
