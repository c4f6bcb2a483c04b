//! An etcd that loses a member, or all of its members.

use std::time::Duration;

use tidelog_e2e::{ClusterOptions, Member, pass, until};

use super::fleet::{Fleet, SOON};

#[test]
fn a_killed_member_of_three_is_not_noticed_by_clients() {
    let options = ClusterOptions { etcd_members: 3, frontends: 1, ..ClusterOptions::default() };
    let mut fleet = Fleet::start("the leader of etcd is killed", 2, 3, options);
    fleet.begin();
    let etcd = fleet.cluster.etcd();
    let leader = until(SOON, "etcd has a leader", || etcd.leader());
    let fault = fleet.recorder.fault("kill -9 of etcd's leader");
    fleet.cluster.etcd().kill(leader);
    fleet.progress("load with two members of three");
    // What needs etcd goes on too.
    fleet.operate(&["topic", "create", "meanwhile", "--partitions", "1"]);
    fleet.cluster.etcd().restart();
    fault.heal();
    fleet.judge();
}

#[test]
fn without_etcd_nothing_is_acknowledged_once_leases_have_ended_and_all_goes_on_afterwards() {
    let options = ClusterOptions { etcd_members: 3, ..ClusterOptions::default() };
    let mut fleet = Fleet::start("etcd is away for longer than a lease", 3, 3, options);
    fleet.begin();
    let fault = fleet.recorder.fault("every member of etcd is killed");
    fleet.cluster.etcd().kill_all();
    for store in [0, 1, 2].map(Member::Store) {
        until(SOON, &format!("{store} has given its lease up"), || {
            let answer = fleet.cluster.process(store).health("/readyz")?;
            (answer.status == 503 && answer.body.contains("not registered in etcd")).then_some(())
        });
    }
    // What was under way when the last lease ended may still be told.
    until(SOON, "nothing is acknowledged any more", || {
        let before = fleet.recorder.acknowledged();
        pass(Duration::from_millis(500));
        (fleet.recorder.acknowledged() == before).then_some(())
    });
    fleet.cluster.etcd().restart();
    fleet.until_whole();
    fault.heal();
    fleet.judge();
}
