//! Following: where logs part, and what a follower takes.

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Action, Event, Generation, Marks, RefusalReason, Role};

use crate::fixture::{Bench, acks, alarmed, recovered, refusal, span, starts};

/// A follower with this log meets the leader of `epoch`.
fn follow(end: u64, mine: &[(u32, u64)], epoch: u32, theirs: &[(u32, u64)], log_end: u64) -> Bench {
    let mut bench = Bench::ready(epoch, recovered(end, mine));
    let lead = bench.lead(epoch, theirs, log_end);
    bench.step(Event::Lead(lead));
    bench
}

#[test]
fn a_log_that_is_a_prefix_is_kept_and_answered_at_once() {
    let bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 8)], 9);
    let ack = acks(&bench.said)[0];
    assert_eq!((ack.log_end, ack.durable, ack.answers_lead), (Offset(5), Offset(5), true));
}

#[test]
fn a_log_is_cut_at_the_nearer_end_of_the_newest_common_epoch() {
    type Epochs = &'static [(u32, u64)];
    let cases: &[(u64, Epochs, u32, Epochs, u64)] = &[
        // The follower has more of the common epoch.
        (12, &[(1, 0)], 2, &[(1, 0), (2, 10)], 10),
        // The follower has an epoch that the leader never had.
        (15, &[(1, 0), (2, 10)], 3, &[(1, 0), (3, 10)], 10),
        // Both have epochs that the other never had (KIP-279).
        (20, &[(1, 0), (2, 10), (4, 14)], 5, &[(1, 0), (3, 8), (5, 12)], 8),
        // Nothing in common.
        (6, &[(2, 0)], 3, &[(1, 0), (3, 4)], 0),
    ];
    for (end, mine, epoch, theirs, cut) in cases {
        let bench = follow(*end, mine, *epoch, theirs, 30);
        assert_eq!(bench.replica.log_end(), Offset(*cut), "{mine:?} meets {theirs:?}");
        assert!(acks(&bench.said).is_empty(), "a cut is not told before it is synced");
    }
}

#[test]
fn a_cut_is_answered_once_it_is_synced() {
    let mut bench = follow(12, &[(1, 0)], 2, &[(1, 0), (2, 10)], 11);
    let generation = bench.replica.generation();
    let push = bench.push(2, Some(1), span(2, 10, 11));
    assert!(bench.step(Event::Pushed(push)).is_empty());
    let ack = acks(bench.step(Event::CutDurable { generation }))[0];
    assert_eq!((ack.log_end, ack.durable), (Offset(10), Offset(10)));
    assert!(bench.step(Event::Pushed(push)).iter().any(|action| matches!(action, Action::Write { .. })));
    assert_eq!(bench.replica.history().entries(), starts(&[(1, 0), (2, 10)]));
}

#[test]
fn a_completion_from_before_a_cut_does_not_count() {
    let mut bench = follow(12, &[(1, 0)], 2, &[(1, 0), (2, 10)], 11);
    let generation = bench.replica.generation();
    bench.step(Event::CutDurable { generation });
    let push = bench.push(2, Some(1), span(2, 10, 12));
    bench.step(Event::Pushed(push));
    bench.step(Event::LocalDurable { generation: Generation(0), up_to: Offset(12) });
    assert_eq!(bench.replica.durable(), Offset(10));
}

#[test]
fn records_of_the_leaders_own_epoch_are_never_cut() {
    // The Lead is an old one: the follower got further since, and was started again.
    let bench = follow(9, &[(1, 0), (2, 4)], 2, &[(1, 0), (2, 4)], 5);
    assert_eq!(bench.replica.log_end(), Offset(9));
}

#[test]
fn committed_records_are_not_cut_but_after_an_unclean_election() {
    let mut held = recovered(9, &[(1, 0)]);
    held.high_watermark = Offset(9);
    let mut bench = Bench::ready(3, held.clone());
    let lead = bench.lead(3, &[(1, 0), (3, 5)], 6);
    assert!(alarmed(bench.step(Event::Lead(lead))));
    assert_eq!((bench.replica.role(), bench.replica.log_end()), (Role::Stopped, Offset(9)));

    let mut bench = Bench::ready(3, held);
    let mut lead = bench.lead(3, &[(1, 0), (3, 5)], 6);
    lead.unclean_epoch = Some(LeaderEpoch(3));
    assert!(bench.step(Event::Lead(lead)).contains(&Action::Rewound { high_watermark: Offset(5) }));
    assert_eq!(bench.replica.log_end(), Offset(5));
}

#[test]
fn an_empty_replica_starts_at_the_tiered_end() {
    let mut bench = Bench::ready(2, recovered(0, &[]));
    let mut lead = bench.lead(2, &[(1, 0), (2, 900)], 1_000);
    lead.marks = Marks { tiered_end: Offset(950), ..Marks::default() };
    let said = bench.step(Event::Lead(lead)).clone();
    let history = starts(&[(1, 0), (2, 900)]);
    assert!(said.contains(&Action::Reset { to: Offset(950), generation: Generation(1), history }));
    let ack = acks(bench.step(Event::CutDurable { generation: Generation(1) }))[0];
    assert_eq!((ack.log_end, bench.high_watermark()), (Offset(950), 950));
    let push = bench.push(2, Some(2), span(2, 950, 951));
    assert!(bench.step(Event::Pushed(push)).iter().any(|action| matches!(action, Action::Write { .. })));
}

#[test]
fn a_replica_below_its_leaders_local_start_starts_at_the_tiered_end() {
    let mut bench = Bench::ready(2, recovered(40, &[(1, 0)]));
    let mut lead = bench.lead(2, &[(1, 0), (2, 90)], 100);
    lead.marks = Marks { local_start: Offset(60), tiered_end: Offset(80), log_start: Offset(0) };
    let said = bench.step(Event::Lead(lead)).clone();
    assert!(said.iter().any(|action| matches!(action, Action::Reset { to: Offset(80), .. })));
}

#[test]
fn a_replica_a_little_below_the_tiered_end_copies_what_it_misses() {
    let mut bench = Bench::ready(2, recovered(40, &[(1, 0)]));
    let mut lead = bench.lead(2, &[(1, 0), (2, 90)], 100);
    lead.marks = Marks { tiered_end: Offset(80), ..Marks::default() };
    assert_eq!(acks(bench.step(Event::Lead(lead)))[0].log_end, Offset(40));
}

#[test]
fn an_epoch_that_was_led_and_never_used_leaves_no_trace() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    bench.read(crate::fixture::record(3, 1, &[1, 2, 3]));
    assert_eq!(bench.replica.history().newest(), Some(LeaderEpoch(3)));
    let lead = bench.lead(4, &[(1, 0), (4, 5)], 6);
    // The journal has the epoch's start, which has to go from there too.
    let generation = Generation(1);
    let said = bench.step(Event::Lead(lead));
    assert!(said.contains(&Action::Truncate { to: Offset(5), generation }));
    bench.step(Event::CutDurable { generation });
    let push = bench.push(4, Some(1), span(4, 5, 6));
    bench.step(Event::Pushed(push));
    assert_eq!(bench.replica.history().entries(), starts(&[(1, 0), (4, 5)]));
}

#[test]
fn histories_that_disagree_about_an_epoch_are_an_alarm() {
    let bench = follow(9, &[(1, 0), (2, 4)], 3, &[(1, 0), (2, 5), (3, 8)], 9);
    assert!(alarmed(&bench.said));
}

#[test]
fn a_batch_is_taken_only_at_the_logs_end() {
    let mut bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 8)], 9);
    let push = bench.push(2, Some(1), span(1, 6, 8));
    let said = bench.step(Event::Pushed(push));
    assert_eq!(refusal(said), Some(RefusalReason::Gap { log_end: Offset(5) }));
    let push = bench.push(2, Some(1), span(1, 5, 6));
    assert!(bench.step(Event::Pushed(push)).iter().any(|action| matches!(action, Action::Write { .. })));
}

#[test]
fn a_batch_after_another_epochs_record_is_an_alarm() {
    let mut bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 5)], 9);
    let push = bench.push(2, Some(0), span(2, 5, 6));
    assert!(alarmed(bench.step(Event::Pushed(push))));
    assert_eq!(bench.replica.log_end(), Offset(5));
}

#[test]
fn what_is_offered_again_is_compared() {
    let mut bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 5)], 9);
    let again = span(1, 3, 5);
    let push = bench.push(2, Some(1), again);
    let said = bench.step(Event::Pushed(push)).clone();
    assert!(said.contains(&Action::Compare { span: again }));
    assert!(alarmed(bench.step(Event::OtherBytes { span: again })));
    assert_eq!(bench.replica.role(), Role::Stopped);
}

#[test]
fn other_bytes_that_show_by_their_offsets_or_epoch_are_an_alarm() {
    for offered in [span(1, 3, 7), span(2, 3, 5)] {
        let mut bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 5)], 9);
        let push = bench.push(2, Some(1), offered);
        assert!(alarmed(bench.step(Event::Pushed(push))));
    }
}

#[test]
fn a_batch_is_acknowledged_after_its_sync_and_not_before() {
    let mut bench = follow(5, &[(1, 0)], 2, &[(1, 0), (2, 5)], 5);
    let push = bench.push(2, Some(1), span(2, 5, 9));
    assert!(acks(bench.step(Event::Pushed(push))).is_empty());
    assert_eq!(acks(bench.synced(9))[0].durable, Offset(9));
}
