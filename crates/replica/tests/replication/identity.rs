//! Who may lead and who may follow: one start of one disk, and only after it has read the record.

use tidelog_model::{LeaderEpoch, NodeId, Offset};
use tidelog_replica::{Action, Event, Origin, Recovered, Role};

use crate::fixture::{Bench, acks, alarmed, directory, instance, record, recovered, starts};

#[test]
fn a_replica_follows_nobody_before_it_has_read_the_record_in_this_life() {
    let mut bench = Bench::new(Recovered::default());
    let lead = bench.lead(2, &[(2, 0)], 0);
    assert!(bench.step(Event::Lead(lead.clone())).is_empty());
    bench.observe(record(2, 2, &[1, 2, 3]), 5, Origin::Watch);
    assert!(bench.step(Event::Lead(lead.clone())).is_empty());
    bench.observe(record(2, 2, &[1, 2, 3]), 5, Origin::Read);
    assert_eq!(acks(bench.step(Event::Lead(lead))).len(), 1);
}

#[test]
fn a_leader_that_was_started_again_does_not_resume_its_epoch() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    let mut earlier = record(1, 1, &[1, 2, 3]);
    earlier.leader = Some(instance(1, 0));
    bench.read(earlier);
    assert_eq!(bench.replica.report().leading, None);
    bench.read(record(2, 1, &[1, 2, 3]));
    assert_eq!(bench.replica.role(), Role::Leading { epoch: LeaderEpoch(2) });
}

#[test]
fn a_replica_outside_the_isr_does_not_lead() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    assert!(alarmed(bench.read(record(2, 1, &[2, 3]))));
    assert_eq!(bench.replica.report().leading, None);
}

#[test]
fn a_new_disk_under_an_old_node_does_not_lead() {
    let mut bench = Bench::new(Recovered::default());
    let mut named = record(2, 1, &[1, 2, 3]);
    named.isr[0].directory = directory(9);
    assert!(alarmed(bench.read(named)));
    assert_eq!(bench.replica.report().leading, None);
}

#[test]
fn a_replica_that_ends_below_the_bucket_does_not_lead() {
    let mut recovered = recovered(5, &[(1, 0)]);
    recovered.marks.tiered_end = Offset(8);
    let mut bench = Bench::new(recovered);
    let said = bench.read(record(2, 1, &[1, 2, 3])).clone();
    assert!(said.contains(&Action::ReadBack) && !alarmed(&said), "old news is no reason to wake anyone");
    assert!(alarmed(bench.read_unchanged()));
    assert_eq!(bench.replica.report().leading, None);
}

#[test]
fn the_epoch_starts_where_the_log_ends() {
    let mut bench = Bench::new(recovered(5, &[(1, 0)]));
    let said = bench.read(record(4, 1, &[1, 2, 3])).clone();
    let (epoch, start) = (LeaderEpoch(4), Offset(5));
    assert!(said.contains(&Action::BecameLeader { epoch, start }));
    assert_eq!(bench.replica.history().entries(), starts(&[(1, 0), (4, 5)]));
    let lead = said.iter().find_map(|action| match action {
        Action::SendLead { to: NodeId(2), lead } => Some(lead.history.clone()),
        _ => None,
    });
    assert_eq!(lead.unwrap(), starts(&[(1, 0), (4, 5)]));
}

#[test]
fn an_unclean_leader_that_the_bucket_agrees_with_leads_as_it_is() {
    let mut bench = Bench::new(recovered(9, &[(1, 0), (2, 4)]));
    let mut unclean = record(5, 1, &[1]);
    unclean.unclean_epoch = Some(LeaderEpoch(5));
    assert!(bench.read(unclean).contains(&Action::ReadTiered));
    assert_eq!(bench.replica.report().leading, None);
    bench.step(Event::Tiered { end: Offset(7), history: starts(&[(1, 0), (2, 4)]) });
    assert_eq!(bench.replica.report().leading, Some(LeaderEpoch(5)));
    assert_eq!(bench.replica.log_end(), Offset(9));
}

#[test]
fn an_unclean_leader_that_parts_from_the_bucket_begins_where_the_bucket_ends() {
    for (end, epochs) in [(9, vec![(1, 0)]), (3, vec![(1, 0)]), (9, vec![(1, 0), (3, 5)])] {
        let mut bench = Bench::new(recovered(end, &epochs));
        let mut unclean = record(5, 1, &[1]);
        unclean.unclean_epoch = Some(LeaderEpoch(5));
        bench.read(unclean);
        let history = starts(&[(1, 0), (2, 4)]);
        bench.step(Event::Tiered { end: Offset(7), history });
        let generation = bench.replica.generation();
        assert_eq!((bench.replica.log_end(), bench.replica.report().leading), (Offset(7), None));
        bench.step(Event::CutDurable { generation });
        assert_eq!(bench.replica.report().leading, Some(LeaderEpoch(5)));
        assert_eq!(bench.replica.history().entries(), starts(&[(1, 0), (2, 4), (5, 7)]));
    }
}
