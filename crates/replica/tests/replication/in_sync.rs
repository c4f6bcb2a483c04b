//! Who is in sync.

use tidelog_model::{NodeId, Offset};
use tidelog_replica::{Action, Event, IsrOutcome, Ticket};

use crate::fixture::{Bench, alarmed, directory, instance, proposed, record, recovered};

const GONE_3: Event = Event::FollowerGone { node: NodeId(3) };

fn outcome(bench: &mut Bench, ticket: Ticket, outcome: IsrOutcome) -> Vec<Action> {
    bench.step(Event::IsrChange { ticket, outcome }).clone()
}

#[test]
fn a_member_that_does_not_keep_up_is_ejected_within_the_lag() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.append(10).unwrap();
    bench.synced(10);
    bench.acked(2, 10);
    assert_eq!(proposed(&bench.pass_ms(900)), None);
    let said = bench.pass_ms(200);
    assert_eq!(proposed(&said).unwrap().1, [1, 2]);
}

#[test]
fn a_member_that_acknowledges_but_falls_ever_further_behind_is_ejected() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    let mut ejected = None;
    for round in 1..=30 {
        bench.append(100).unwrap();
        bench.synced(round * 100);
        bench.acked(2, round * 100);
        bench.acked(3, round * 10);
        ejected = ejected.or(proposed(&bench.pass_ms(100)));
    }
    assert_eq!(ejected.unwrap().1, [1, 2]);
}

#[test]
fn a_member_that_keeps_a_short_distance_stays() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    for round in 1..=60 {
        bench.append(100).unwrap();
        bench.synced(round * 100);
        bench.acked(2, round * 100);
        bench.acked(3, (round - 1) * 100);
        assert_eq!(proposed(&bench.pass_ms(100)), None);
    }
}

#[test]
fn an_idle_partition_keeps_its_members() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    for _ in 0..100 {
        assert_eq!(proposed(&bench.pass_ms(100)), None);
        bench.acked(2, 0);
        bench.acked(3, 0);
    }
    bench.append(1).unwrap();
    assert_eq!(proposed(&bench.pass_ms(100)), None);
}

#[test]
fn a_dead_member_is_ejected_at_once() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    assert_eq!(proposed(bench.step(GONE_3)).unwrap().1, [1, 2]);
}

#[test]
fn the_isr_never_shrinks_below_the_floor() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(1).unwrap();
    bench.synced(1);
    assert_eq!(proposed(bench.step(Event::FollowerGone { node: NodeId(2) })), None);
    assert_eq!(proposed(&bench.pass_ms(5_000)), None);
    assert_eq!(bench.high_watermark(), 0);
}

#[test]
fn of_two_dead_members_one_stays_for_the_floor() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    let (ticket, isr) = proposed(bench.step(GONE_3)).unwrap();
    assert_eq!(isr, [1, 2]);
    bench.step(Event::FollowerGone { node: NodeId(2) });
    let said = outcome(&mut bench, ticket, IsrOutcome::Committed { revision: 2 });
    assert_eq!(proposed(&said), None);
    assert_eq!(proposed(&bench.pass_ms(3_000)), None);
}

#[test]
fn a_dead_member_at_the_floor_is_replaced_by_one_that_caught_up() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.step(Event::FollowerGone { node: NodeId(2) });
    let said = bench.follows(3, 0);
    assert_eq!(proposed(said).unwrap().1, [1, 3]);
}

#[test]
fn a_replica_joins_at_the_high_watermark_and_the_epochs_start_not_below() {
    let mut bench = Bench::new(recovered(8, &[(1, 0)]));
    bench.read(record(2, 1, &[1, 2]));
    bench.follows(2, 8);
    bench.pass_ms(310);
    assert_eq!(proposed(bench.follows(3, 7)), None);
    assert_eq!(proposed(bench.acked(3, 8)).unwrap().1, [1, 2, 3]);
}

#[test]
fn one_change_is_in_flight_at_a_time() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    let (ticket, _) = proposed(bench.step(GONE_3)).unwrap();
    assert_eq!(proposed(bench.follows(3, 0)), None);
    let said = outcome(&mut bench, ticket, IsrOutcome::Committed { revision: 2 });
    assert_eq!(proposed(&said).unwrap().1, [1, 2, 3]);
}

#[test]
fn an_unknown_outcome_keeps_the_union_even_after_a_read_that_does_not_show_it() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    let (ticket, isr) = proposed(bench.follows(3, 0)).unwrap();
    assert_eq!(isr, [1, 2, 3]);
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    assert!(outcome(&mut bench, ticket, IsrOutcome::Unknown).contains(&Action::ReadBack));
    assert_eq!(bench.high_watermark(), 0);
    // The read shows the old record. The transaction may still land: the record has to be written.
    let said = bench.read_unchanged().clone();
    let (ticket, _) = proposed(&said).unwrap();
    assert_eq!(bench.high_watermark(), 0);
    outcome(&mut bench, ticket, IsrOutcome::Committed { revision: 2 });
    bench.acked(3, 5);
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn a_record_that_moved_settles_what_was_in_doubt() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    let (ticket, _) = proposed(bench.follows(3, 0)).unwrap();
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    outcome(&mut bench, ticket, IsrOutcome::Unknown);
    // Somebody else wrote the record first: the proposal compared an older revision.
    bench.read(record(1, 1, &[1, 2]));
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn an_answer_that_comes_after_its_change_was_settled_is_ignored() {
    let mut bench = Bench::leading(&[1, 2]);
    let (ticket, _) = proposed(bench.follows(3, 0)).unwrap();
    bench.read(record(1, 1, &[1, 2]));
    let isr = bench.replica.record().isr.clone();
    outcome(&mut bench, ticket, IsrOutcome::Committed { revision: 2 });
    assert_eq!(bench.replica.record().isr, isr);
}

#[test]
fn a_member_whose_disk_is_new_counts_for_nothing_and_is_replaced_when_it_caught_up() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    for end in [5, 10] {
        bench.append(5).unwrap();
        bench.synced(end);
        if end == 5 {
            bench.acked(2, 5);
        }
    }
    let mut other = instance(2, 2);
    other.replica.directory = directory(9);
    assert_eq!(proposed(bench.follows_as(other, 0)), None);
    bench.acked(2, 10);
    assert_eq!(bench.high_watermark(), 5);
    let said = bench.follows_as(other, 10).clone();
    let joined = said.iter().find_map(|action| match action {
        Action::ProposeIsr { isr, .. } => Some(isr.contains(&other.replica) && isr.len() == 2),
        _ => None,
    });
    assert_eq!(joined, Some(true));
}

#[test]
fn a_member_that_lost_what_it_acknowledged_is_reported_and_ejected() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.append(5).unwrap();
    bench.acked(3, 5);
    let said = bench.follows(3, 2).clone();
    assert!(alarmed(&said));
    assert_eq!(proposed(&said).unwrap().1, [1, 2]);
}

#[test]
fn a_follower_with_more_than_its_leader_stops_the_leader() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    let said = bench.follows(2, 3).clone();
    assert!(alarmed(&said));
    assert_eq!(bench.replica.report().leading, None);
}

#[test]
fn a_slow_replica_returns_only_after_it_kept_up_for_a_while() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.append(10).unwrap();
    bench.synced(10);
    bench.acked(2, 10);
    let (ticket, _) = proposed(&bench.pass_ms(1_100)).unwrap();
    outcome(&mut bench, ticket, IsrOutcome::Committed { revision: 2 });
    assert_eq!(proposed(bench.follows(3, 10)), None);
    assert_eq!(bench.high_watermark(), 10);
    bench.pass_ms(1_900);
    bench.acked(2, 10);
    bench.acked(3, 10);
    let said = bench.pass_ms(300);
    assert_eq!(proposed(&said).unwrap().1, [1, 2, 3]);
}

#[test]
fn a_member_that_the_record_no_longer_places_leaves() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    let mut moved = record(1, 1, &[1, 2, 3]);
    moved.replicas = vec![NodeId(1), NodeId(2)];
    assert_eq!(proposed(bench.read(moved)).unwrap().1, [1, 2]);
    assert_eq!(bench.replica.log_end(), Offset(0));
}

#[test]
fn a_replica_that_is_removed_and_added_again_under_one_epoch_is_led_as_if_it_had_stayed() {
    let mut bench = Bench::leading(&[1, 2]);
    let lead_to_3 = |said: &[Action]| {
        said.iter().rev().find_map(|action| match action {
            Action::SendLead { to: NodeId(3), lead } => Some(lead.attempt),
            _ => None,
        })
    };
    let known = lead_to_3(&bench.pass_ms(5_000)).unwrap();
    let mut without = record(1, 1, &[1, 2]);
    without.replicas.pop();
    bench.read(without);
    let added = lead_to_3(bench.read(record(1, 1, &[1, 2]))).unwrap();
    assert!(added > known, "{added:?} is older than {known:?}, which the replica may have answered");
}
