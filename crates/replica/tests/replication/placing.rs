//! Appends and pushes.

use tidelog_model::{NodeId, Offset};
use tidelog_replica::{Action, AppendRefused, Attempt, Config, Event, Recovered, Refusal, RefusalReason};

use crate::fixture::{Bench, instance, record, span};

fn pushes(said: &[Action]) -> Vec<(u32, u64, u64)> {
    let push = |action: &Action| match action {
        Action::Push { to, from, up_to, .. } => Some((to.0, from.0, up_to.0)),
        _ => None,
    };
    said.iter().filter_map(push).collect()
}

#[test]
fn appends_get_consecutive_offsets_under_the_epoch() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    let first = bench.append(3).unwrap();
    let second = bench.append(2).unwrap();
    assert_eq!((first.base.0, first.next.0, first.epoch.0), (0, 3, 1));
    assert_eq!((second.base.0, second.next.0), (3, 5));
}

#[test]
fn an_append_is_pushed_to_every_follower_before_it_is_synced_here() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.append(4).unwrap();
    assert_eq!(pushes(&bench.said), [(2, 0, 4), (3, 0, 4)]);
    assert_eq!(bench.replica.durable(), Offset(0));
}

#[test]
fn a_follower_that_lags_is_pushed_what_it_misses_and_then_what_comes() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.append(10).unwrap();
    bench.follows(2, 0);
    assert_eq!(pushes(&bench.said), [(2, 0, 10)]);
    bench.append(1).unwrap();
    assert_eq!(pushes(&bench.said), [(2, 10, 11)]);
}

#[test]
fn what_could_not_be_sent_is_sent_when_there_is_room() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.append(10).unwrap();
    let attempt = bench.said.iter().find_map(|action| match action {
        Action::Push { attempt, .. } => Some(*attempt),
        _ => None,
    });
    let (to, attempt) = (NodeId(2), attempt.unwrap());
    bench.step(Event::NotSent { to, attempt, from: Offset(4) });
    bench.append(1).unwrap();
    assert_eq!(pushes(&bench.said), []);
    let said = bench.step(Event::SendReady { to });
    assert_eq!(pushes(said), [(2, 4, 11)]);
}

#[test]
fn the_window_bounds_what_is_on_its_way_to_a_follower() {
    let config = Config { window_records: 8, ..Config::default() };
    let mut bench = Bench::with(config, Recovered::default());
    bench.read(record(1, 1, &[1, 2, 3]));
    bench.follows(2, 0);
    bench.append(8).unwrap();
    assert_eq!(pushes(&bench.said), [(2, 0, 8)]);
    bench.append(8).unwrap();
    assert_eq!(pushes(&bench.said), []);
    assert_eq!(pushes(bench.acked(2, 8)), [(2, 8, 16)]);
}

#[test]
fn a_gap_is_filled_from_where_the_follower_ends() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    let attempt = bench.said.iter().find_map(|action| match action {
        Action::Push { attempt, .. } => Some(*attempt),
        _ => None,
    });
    let gap = |attempt: Attempt, log_end| {
        Event::Refusal(Refusal {
            from: instance(2, 1),
            refused: tidelog_model::LeaderEpoch(1),
            attempt,
            reason: RefusalReason::Gap { log_end: Offset(log_end) },
        })
    };
    assert_eq!(pushes(bench.step(gap(attempt.unwrap(), 2))), [(2, 2, 5)]);
    // A second complaint about the same loss changes nothing.
    assert_eq!(pushes(bench.step(gap(attempt.unwrap(), 3))), []);
}

#[test]
fn a_silent_follower_is_led_anew() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    let said = bench.pass_ms(450);
    assert!(said.iter().any(|action| matches!(action, Action::SendLead { to: NodeId(2), .. })));
}

#[test]
fn nothing_is_appended_below_the_floor() {
    let mut bench = Bench::leading(&[1]);
    let refused = AppendRefused::NotEnoughReplicas { in_sync: 1, floor: 2 };
    assert_eq!(bench.append(1), Err(refused));
    assert!(refused.is_retryable() && refused.has_no_side_effects());
}

#[test]
fn what_is_appended_and_not_committed_is_bounded() {
    let config = Config { uncommitted_records_max: 10, ..Config::default() };
    let mut bench = Bench::with(config, Recovered::default());
    bench.read(record(1, 1, &[1, 2, 3]));
    bench.append(10).unwrap();
    assert_eq!(bench.append(1), Err(AppendRefused::TooManyUncommitted));
}

#[test]
fn a_pushed_batch_names_the_epoch_before_it() {
    let mut bench = Bench::new(crate::fixture::recovered(7, &[(1, 0), (3, 5)]));
    bench.read(record(4, 1, &[1, 2, 3]));
    let prev =
        |base, next| bench.replica.pushed(bench.now, Attempt(1), span(3, base, next)).unwrap().prev_epoch;
    assert_eq!(prev(0, 2), None);
    assert_eq!(prev(5, 6).map(|epoch| epoch.0), Some(1));
    assert_eq!(prev(6, 7).map(|epoch| epoch.0), Some(3));
    assert_eq!(prev(7, 8).map(|epoch| epoch.0), Some(3));
}
