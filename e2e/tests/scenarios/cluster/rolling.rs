//! An upgrade, or any other restart of everything: clients do not notice.

use tidelog_checker::{Op, Outcome};
use tidelog_e2e::ClusterOptions;

use super::scene::Scene;

#[test]
fn a_rolling_restart_of_stores_and_frontends_fails_no_call_of_the_sdk() {
    let mut scene = Scene::start("a rolling restart", 6, ClusterOptions::default());
    scene.begin();
    for member in scene.cluster.members() {
        let fault = scene.recorder.fault(&format!("restart of {member}"));
        let status = scene.cluster.terminate(member);
        assert!(status.success(), "{status}: {}", scene.cluster.process(member).log());
        scene.cluster.restart(member);
        fault.heal();
        scene.until_in_sync();
        scene.until_writable(&format!("{member} was restarted"));
    }
    let history = scene.recorder.clone();
    scene.judge();
    for event in history.history().events {
        if matches!(event.op, Op::Produce(_) | Op::Poll(_) | Op::FinalDrain(_)) {
            assert_eq!(event.outcome, Outcome::Ok, "{event:?}");
        }
    }
}
