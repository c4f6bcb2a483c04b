//! "Latest", linearizably.

use tidelog_model::Offset;
use tidelog_replica::{Action, Actions, Config, Latest, Recovered};

use crate::fixture::{Bench, record, recovered};

fn latest(bench: &mut Bench) -> (Latest, Actions) {
    let mut out = Actions::new();
    let latest = bench.replica.latest(bench.now, &mut out);
    (latest, out)
}

#[test]
fn it_is_told_while_the_isr_confirms_the_epoch() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    assert_eq!(latest(&mut bench).0, Latest::At(Offset(5)));
}

#[test]
fn it_is_not_told_when_the_confirmation_is_too_old_and_asks_for_one() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.now = bench.now.after(Config::default().read_lease);
    assert_eq!(latest(&mut bench).0, Latest::At(Offset(0)));
    bench.now.0 += 1;
    let (answer, said) = latest(&mut bench);
    assert_eq!(answer, Latest::Unconfirmed);
    assert!(said.iter().any(|action| matches!(action, Action::SendBeat { .. })));
    // One heartbeat is enough for all who ask meanwhile.
    assert!(latest(&mut bench).1.is_empty());
    bench.acked(2, 0);
    assert_eq!(latest(&mut bench).0, Latest::At(Offset(0)));
}

#[test]
fn it_is_not_told_before_everything_that_earlier_leaders_told_is_committed_here() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    bench.read(record(2, 1, &[1, 2]));
    bench.pass_ms(310);
    bench.follows(2, 3);
    assert_eq!(latest(&mut bench).0, Latest::Unconfirmed);
    bench.acked(2, 5);
    assert_eq!(latest(&mut bench).0, Latest::At(Offset(5)));
}

#[test]
fn a_member_that_may_have_joined_has_to_confirm_too() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.now = bench.now.after(Config::default().read_lease * 2);
    bench.acked(2, 0);
    assert_eq!(latest(&mut bench).0, Latest::Unconfirmed);
    bench.acked(3, 0);
    assert_eq!(latest(&mut bench).0, Latest::At(Offset(0)));
}

#[test]
fn only_the_leader_tells_it() {
    let mut bench = Bench::ready(2, Recovered::default());
    assert_eq!(latest(&mut bench).0, Latest::NotLeader);
}

#[test]
fn the_lease_ends_before_a_successor_acknowledges_even_when_clocks_drift() {
    let config = Config::default();
    assert!(config.read_lease.mul_f64(1.1) < config.promotion_wait);
}
