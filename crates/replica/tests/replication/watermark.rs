//! The high watermark.

use tidelog_model::Offset;
use tidelog_replica::{Ack, Action, Attempt, Event};

use crate::fixture::{Bench, instance, proposed, record, recovered};

#[test]
fn it_is_the_least_that_is_synced_over_the_isr() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    bench.append(10).unwrap();
    bench.synced(10);
    bench.acked(2, 10);
    assert_eq!(bench.high_watermark(), 0);
    let said = bench.acked(3, 6).clone();
    assert!(said.contains(&Action::Advance { high_watermark: Offset(6) }));
    bench.acked(3, 10);
    assert_eq!(bench.high_watermark(), 10);
}

#[test]
fn it_waits_for_the_leaders_own_disk() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.acked(2, 5);
    assert_eq!(bench.high_watermark(), 0);
    bench.synced(5);
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn it_waits_for_a_joining_member_from_the_proposal_on() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.follows(3, 0);
    assert_eq!(proposed(&bench.said).unwrap().1, [1, 2, 3]);
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    assert_eq!(bench.high_watermark(), 0);
    bench.acked(3, 5);
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn it_waits_for_a_leaving_member_until_the_change_is_made() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    let (ticket, isr) =
        proposed(&bench.step(Event::FollowerGone { node: tidelog_model::NodeId(3) }).clone()).unwrap();
    assert_eq!(isr, [1, 2]);
    assert_eq!(bench.high_watermark(), 0);
    let outcome = tidelog_replica::IsrOutcome::Committed { revision: 2 };
    bench.step(Event::IsrChange { ticket, outcome });
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn acknowledgements_of_an_older_epoch_do_not_count() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    bench.read(record(2, 1, &[1, 2]));
    bench.pass_ms(300);
    let ack = Ack {
        from: instance(2, 1),
        epoch: tidelog_model::LeaderEpoch(1),
        attempt: Attempt(1),
        answers_lead: true,
        log_end: Offset(5),
        durable: Offset(5),
        echo: bench.now,
    };
    bench.step(Event::Ack(ack));
    assert_eq!(bench.high_watermark(), 0);
    bench.follows(2, 5);
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn a_new_leader_holds_it_until_its_predecessors_leases_have_ended() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    bench.read(record(2, 1, &[1, 2]));
    bench.follows(2, 5);
    bench.pass_ms(250);
    assert_eq!(bench.high_watermark(), 0);
    bench.pass_ms(60);
    assert_eq!(bench.high_watermark(), 5);
}

#[test]
fn it_stands_still_below_the_floor() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    bench.read(record(2, 1, &[1]));
    bench.pass_ms(400);
    assert_eq!(bench.high_watermark(), 0);
}

#[test]
fn a_follower_hears_of_it_without_a_batch() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.synced(5);
    bench.acked(2, 5);
    let said = bench.pass_ms(50);
    let told = said.iter().any(|action| match action {
        Action::SendBeat { beat, .. } => beat.high_watermark == Offset(5),
        _ => false,
    });
    assert!(told);
}

#[test]
fn at_a_follower_it_never_passes_what_the_follower_has() {
    let mut bench = Bench::ready(1, recovered(3, &[(1, 0)]));
    let mut lead = bench.lead(1, &[(1, 0)], 9);
    lead.high_watermark = Offset(9);
    bench.step(Event::Lead(lead));
    assert_eq!(bench.high_watermark(), 3);
}
