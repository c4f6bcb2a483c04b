//! The test of the tests: with a bug switched on in real processes, the checker has to notice.

use tidelog_checker::{Kind, Outcome, Report, check};
use tidelog_e2e::ClusterOptions;

use super::scene::Scene;

/// How many records the leader is offered while its followers stand still.
const ALONE: usize = 2;

/// A leader whose followers stand still is offered records and killed; the followers go on without it.
fn a_leader_dies_alone(options: ClusterOptions) -> (Report, usize) {
    let mut scene = Scene::start("a leader dies alone", 1, options);
    for _ in 0..5 {
        assert_eq!(scene.write(0), Outcome::Ok);
    }
    let leader = scene.leader(0);
    let fault = scene.recorder.fault("the followers stand still, and the leader dies");
    for follower in scene.others(leader) {
        scene.cluster.pause(follower);
    }
    let alone = (0..ALONE).filter(|_| scene.try_to_write(0) == Outcome::Ok).count();
    scene.cluster.kill(leader);
    for follower in scene.others(leader) {
        scene.cluster.resume(follower);
    }
    assert_eq!(scene.write(0), Outcome::Ok);
    scene.cluster.restart(leader);
    fault.heal();
    scene.until_in_sync();
    scene.drain();
    (check(&scene.recorder.history()), alone)
}

#[test]
fn acknowledging_before_followers_have_it_is_noticed() {
    let bug = "store::replica-fault=return(hw_from_leader_only)";
    let (report, alone) = a_leader_dies_alone(ClusterOptions::default().env("FAILPOINTS", bug));
    assert!(alone > 0, "the bug is not switched on");
    let lost = report.anomalies.iter().any(|found| matches!(found.kind, Kind::LostWrite | Kind::Divergence));
    assert!(lost, "{alone} acknowledged records are gone, and the checker did not notice: {report}");
}

#[test]
fn a_leader_that_dies_alone_has_acknowledged_nothing_that_is_lost() {
    let (report, alone) = a_leader_dies_alone(ClusterOptions::default());
    assert_eq!(alone, 0, "acknowledged without followers");
    assert!(report.is_clean(), "{report}");
}
