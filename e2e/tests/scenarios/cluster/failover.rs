//! Stores that die or stand still: what was acknowledged stays, and others go on.

use std::fs;
use std::path::Path;
use std::process::Child;

use tidelog_checker::Outcome;
use tidelog_e2e::{Cluster, ClusterOptions, Member, until};

use super::scene::{SOON, Scene};
use crate::soak::rounds;

/// Kills the leader of something, a different store each time, each while the others have everything.
fn survive_leader_kills(rounds: usize) {
    let mut scene = Scene::start("kill -9 of leaders", 6, ClusterOptions::default());
    scene.begin();
    for round in 0..rounds {
        let victim = Member::Store(round % 3);
        scene.until_it_leads(victim);
        let fault = scene.recorder.fault(&format!("kill -9 of {victim}"));
        scene.cluster.kill(victim);
        scene.until_writable(&format!("round {round}, without {victim}"));
        scene.cluster.restart(victim);
        fault.heal();
        scene.until_in_sync();
    }
    scene.progress("load after the last kill", 1_000);
    let report = scene.judge();
    assert!(report.counts.writes_ok > 1_000, "hardly any load: {report}");
}

#[test]
fn killing_each_leader_in_turn_loses_nothing_acknowledged_and_doubles_nothing() {
    survive_leader_kills(3);
}

#[test]
fn soak_leader_kills() {
    if let Some(rounds) = rounds() {
        survive_leader_kills(rounds as usize);
    }
}

#[test]
fn a_leader_that_was_stopped_past_its_lease_is_fenced_and_follows_afterwards() {
    let mut scene = Scene::start("SIGSTOP of a leader", 6, ClusterOptions::default());
    scene.begin();
    let zombie = scene.leader(0);
    let fault = scene.recorder.fault("SIGSTOP of a leader");
    scene.cluster.pause(zombie);
    scene.until_it_leads_nothing(zombie);
    scene.until_writable("others lead");
    // What waited in its sockets comes to a store that believes to lead.
    scene.cluster.resume(zombie);
    fault.heal();
    scene.until_in_sync();
    scene.until_writable("it follows");
    scene.judge();
}

/// Objects below a directory whose paths have this word in them.
fn count_objects(directory: &Path, word: &str) -> usize {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let count = |path: std::path::PathBuf| {
        if path.is_dir() {
            count_objects(&path, word)
        } else {
            usize::from(path.display().to_string().contains(word))
        }
    };
    paths.map(count).sum()
}

/// `tidelog storage offload`, beside the scenario.
fn offload(cluster: &Cluster) -> Child {
    cluster.cli().command(&["storage", "offload", "scene"]).spawn().expect("the tidelog binary starts")
}

#[test]
fn a_pointer_that_a_stopped_leader_commits_after_its_epoch_is_rejected() {
    let held_up = "store::offload-before-commit=1*sleep(3000)";
    let scene = Scene::start("a zombie's pointer", 1, ClusterOptions::default().env("FAILPOINTS", held_up));
    for _ in 0..20 {
        assert_eq!(scene.write(0), Outcome::Ok);
    }
    let (zombie, bucket) = (scene.leader(0), scene.workspace.path().join("bucket"));
    let epoch = scene.partitions()[0].epoch;
    assert_eq!(scene.pointers(), [], "nothing was offloaded yet");
    let mut offloading = offload(&scene.cluster);
    until(SOON, "everything is uploaded but the pointer", || {
        (count_objects(&bucket, ".root") > 0).then_some(())
    });
    let fault = scene.recorder.fault("SIGSTOP before the pointer is committed");
    scene.cluster.pause(zombie);
    let _ = (offloading.kill(), offloading.wait());
    scene.until_it_leads_nothing(zombie);
    assert_eq!(scene.write(0), Outcome::Ok);
    scene.cluster.resume(zombie);
    fault.heal();
    scene.until_in_sync();
    until(SOON, "its commit is rejected", || {
        scene.cluster.process(zombie).log().contains("another leader took over").then_some(())
    });
    // A retry may have reached the next leader.
    for pointer in scene.pointers() {
        assert!(pointer.epoch > epoch, "published by a leader of the past: {pointer:?}");
    }
    // The next leader does it over, and nothing is missing.
    scene.cluster.cli().offload("scene");
    scene.judge();
}

#[test]
fn with_one_in_sync_replica_left_a_partition_waits_and_loses_nothing() {
    let mut scene = Scene::start("two of three are killed", 1, ClusterOptions::default());
    scene.begin();
    let leader = scene.leader(0);
    let others = scene.others(leader);
    let fault = scene.recorder.fault("kill -9 of the leader and of a follower");
    scene.cluster.kill(leader);
    scene.cluster.kill(others[0]);
    scene.write_in_vain(0, "one in-sync replica is left");
    assert!(scene.partitions()[0].isr.len() >= 2, "below the floor: {:?}", scene.partitions()[0]);
    scene.cluster.restart(others[0]);
    scene.until_writable("two of three are there");
    scene.cluster.restart(leader);
    fault.heal();
    scene.until_in_sync();
    scene.until_writable("all are there");
    scene.judge();
}

#[test]
fn a_killed_follower_leaves_the_in_sync_replicas_and_writes_go_on() {
    let mut scene = Scene::start("kill -9 of a follower", 1, ClusterOptions::default());
    scene.begin();
    let follower = scene.others(scene.leader(0))[0];
    let fault = scene.recorder.fault("kill -9 of a follower");
    scene.cluster.kill(follower);
    scene.until_writable("without the follower");
    scene.until_ejected(follower);
    scene.cluster.restart(follower);
    fault.heal();
    scene.until_in_sync();
    scene.judge();
}

#[test]
fn killing_every_store_at_once_loses_nothing_acknowledged() {
    let mut scene = Scene::start("kill -9 of all stores", 6, ClusterOptions::default());
    scene.begin();
    let stores = [Member::Store(0), Member::Store(1), Member::Store(2)];
    let fault = scene.recorder.fault("kill -9 of all stores");
    for store in stores {
        scene.cluster.kill(store);
    }
    for store in stores {
        scene.cluster.spawn(store);
    }
    scene.cluster.until_ready();
    fault.heal();
    scene.until_writable("all are back");
    scene.judge();
}
