//! A disk that turns slow holds up nobody else.

use tidelog_e2e::{ClusterOptions, Member};

use super::scene::Scene;

#[test]
fn a_store_whose_disk_turns_slow_is_ejected_leads_nothing_and_writes_go_on() {
    let slow = Member::Store(2);
    // Fast for long enough to become a member of everything.
    let turns_slow = "journal::sync=300*off->sleep(3000)";
    let options = ClusterOptions::default().env_of(slow, "FAILPOINTS", turns_slow);
    let mut scene = Scene::start("a disk turns slow", 6, options);
    scene.begin();
    let fault = scene.recorder.fault("a slow disk");
    scene.until_ejected(slow);
    scene.until_it_leads_nothing(slow);
    scene.until_writable("without the slow store");
    scene.progress("load without the slow store", 2_000);
    // The disk is replaced by a fast one.
    scene.cluster.set_env(slow, "FAILPOINTS", "");
    scene.cluster.kill_and_restart(slow);
    fault.heal();
    scene.until_in_sync();
    scene.judge();
}
