//! Epochs fence everything; leases, resignation and failing disks end leaderships.

use tidelog_model::{LeaderEpoch, Offset};
use tidelog_replica::{Action, AppendRefused, Event, Origin, Refusal, RefusalReason, Role, StepDownReason};

use crate::fixture::{Bench, acks, alarmed, instance, record, recovered, refusal, span, stepped_down};

#[test]
fn a_lead_of_an_older_epoch_is_refused() {
    let mut bench = Bench::ready(3, recovered(0, &[]));
    let lead = bench.lead(2, &[(2, 0)], 0);
    let reason = refusal(bench.step(Event::Lead(lead)));
    assert_eq!(reason, Some(RefusalReason::Superseded { epoch: LeaderEpoch(3) }));
}

#[test]
fn a_push_of_an_older_epoch_is_refused_once_a_newer_one_is_known() {
    let mut bench = Bench::ready(2, recovered(0, &[]));
    let lead = bench.lead(2, &[(2, 0)], 0);
    bench.step(Event::Lead(lead));
    bench.read(record(3, 3, &[1, 2, 3]));
    let push = bench.push(2, None, span(2, 0, 1));
    let said = bench.step(Event::Pushed(push));
    assert_eq!(refusal(said), Some(RefusalReason::Superseded { epoch: LeaderEpoch(3) }));
    assert_eq!(bench.replica.log_end(), Offset(0));
}

#[test]
fn a_leader_of_a_newer_epoch_is_followed_before_the_news_of_it_arrives() {
    let mut bench = Bench::ready(2, recovered(0, &[]));
    let lead = bench.lead(5, &[(5, 0)], 0);
    assert_eq!(acks(bench.step(Event::Lead(lead))).len(), 1);
    // Older news changes nothing.
    bench.read(record(4, 3, &[1, 2, 3]));
    assert_eq!(bench.replica.role(), Role::Following { epoch: LeaderEpoch(5), leader: instance(2, 1) });
}

#[test]
fn a_leader_that_is_told_of_a_newer_epoch_steps_down_and_reads_the_record() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.append(4).unwrap();
    let superseded = Refusal {
        from: instance(2, 1),
        refused: LeaderEpoch(1),
        attempt: tidelog_replica::Attempt(1),
        reason: RefusalReason::Superseded { epoch: LeaderEpoch(2) },
    };
    let said = bench.step(Event::Refusal(superseded)).clone();
    assert_eq!(stepped_down(&said), Some(StepDownReason::Superseded));
    assert!(said.contains(&Action::FailPending { epoch: LeaderEpoch(1), from: Offset(0) }));
    assert!(said.contains(&Action::ReadBack));
    assert_eq!(bench.append(1), Err(AppendRefused::NotLeader));
}

#[test]
fn a_fenced_leader_never_leads_that_epoch_again() {
    let mut bench = Bench::leading(&[1, 2]);
    assert_eq!(stepped_down(bench.step(Event::Fenced)), Some(StepDownReason::Fenced));
    bench.read(record(1, 1, &[1, 2]));
    assert_eq!(bench.replica.report().leading, None);
    bench.read(record(2, 1, &[1, 2]));
    assert_eq!(bench.replica.report().leading, Some(LeaderEpoch(2)));
}

#[test]
fn a_fenced_follower_follows_on() {
    let mut bench = Bench::ready(2, recovered(0, &[]));
    let lead = bench.lead(2, &[(2, 0)], 0);
    bench.step(Event::Lead(lead));
    bench.step(Event::Fenced);
    let push = bench.push(2, None, span(2, 0, 1));
    bench.step(Event::Pushed(push));
    assert_eq!(acks(bench.synced(1))[0].durable, Offset(1));
}

#[test]
fn a_leader_that_resigns_commits_what_it_has_first() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.synced(5);
    assert_eq!(stepped_down(bench.step(Event::Resign)), None);
    assert_eq!(bench.append(1), Err(AppendRefused::NotLeader));
    let said = bench.acked(2, 5).clone();
    assert!(said.contains(&Action::Advance { high_watermark: Offset(5) }));
    assert_eq!(stepped_down(&said), Some(StepDownReason::Resigned));
}

#[test]
fn a_leader_that_resigns_does_not_wait_for_ever() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.append(5).unwrap();
    bench.step(Event::Resign);
    assert_eq!(stepped_down(&bench.pass_ms(250)), Some(StepDownReason::Resigned));
}

#[test]
fn a_batch_that_cannot_be_written_ends_the_leadership_and_its_outcome_is_unknown() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.append(5).unwrap();
    let said = bench.step(Event::LocalLost).clone();
    assert_eq!(stepped_down(&said), Some(StepDownReason::LocalLost));
    assert!(said.contains(&Action::FailPending { epoch: LeaderEpoch(1), from: Offset(0) }));
    assert_eq!(bench.replica.role(), Role::Stopped);
}

#[test]
fn a_leader_whose_disk_is_late_makes_room_for_one_whose_disk_is_not() {
    let mut bench = Bench::leading(&[1, 2]);
    bench.follows(2, 0);
    bench.append(5).unwrap();
    bench.acked(2, 5);
    let mut reason = None;
    for _ in 0..50 {
        reason = reason.or(stepped_down(&bench.pass_ms(50)));
        bench.acked(2, 5);
    }
    assert_eq!(reason, Some(StepDownReason::SlowDisk));
}

#[test]
fn two_leaders_of_one_epoch_are_an_alarm() {
    let mut bench = Bench::ready(2, recovered(0, &[]));
    let mut lead = bench.lead(2, &[(2, 0)], 0);
    lead.leader = instance(3, 1);
    assert!(alarmed(bench.step(Event::Lead(lead))));
    assert_eq!(bench.replica.role(), Role::Stopped);
}

#[test]
fn a_leader_that_the_record_does_not_name_is_an_alarm() {
    for named in [1, 3] {
        let mut bench = Bench::ready(2, recovered(0, &[]));
        let lead = bench.lead(3, &[(3, 0)], 0);
        bench.step(Event::Lead(lead));
        assert!(alarmed(bench.read(record(3, named, &[1, 2, 3]))));
    }
}

#[test]
fn a_metadata_store_that_went_back_is_an_alarm() {
    let mut bench = Bench::new(recovered(5, &[(1, 0), (7, 3)]));
    assert!(alarmed(bench.read(record(6, 1, &[1, 2, 3]))));
    assert_eq!(bench.replica.role(), Role::Stopped);
    let mut bench = Bench::ready(7, recovered(5, &[(1, 0), (7, 3)]));
    assert!(alarmed(bench.read(record(6, 2, &[1, 2, 3]))));
}

#[test]
fn a_stopped_replica_says_so() {
    let mut bench = Bench::new(recovered(5, &[(7, 3)]));
    bench.read(record(6, 1, &[1, 2, 3]));
    let lead = bench.lead(8, &[(8, 0)], 0);
    assert_eq!(refusal(bench.step(Event::Lead(lead))), Some(RefusalReason::Stopped));
}

#[test]
fn an_older_record_changes_nothing() {
    let mut bench = Bench::leading(&[1, 2, 3]);
    bench.observe(record(3, 1, &[1, 2]), 9, Origin::Watch);
    bench.observe(record(2, 2, &[1, 2, 3]), 8, Origin::Watch);
    assert_eq!(bench.replica.report().leading, Some(LeaderEpoch(3)));
}
