//! Stores that are cut off from etcd or from each other, and links that come and go.

use std::time::Duration;

use tidelog_e2e::faults::{Conditions, NetworkProxy, Way};
use tidelog_e2e::{Cluster, ClusterOptions, Member, Workspace, until};

use super::scene::{SOON, Scene};

const STORES: [Member; 3] = [Member::Store(0), Member::Store(1), Member::Store(2)];

fn index(member: Member) -> usize {
    let (Member::Store(index) | Member::Frontend(index)) = member;
    index
}

/// A scene in which each store reaches etcd through a proxy of its own.
fn with_proxies_to_etcd(title: &str) -> (Scene, Vec<NetworkProxy>) {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, ClusterOptions::default());
    let endpoint = cluster.etcd().endpoints().remove(0);
    let port = endpoint.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let proxies: Vec<_> = (1..=3).map(|seed| NetworkProxy::start(port, seed)).collect();
    for (member, proxy) in STORES.into_iter().zip(&proxies) {
        cluster.set_env(member, "TIDELOG_META__ENDPOINTS", &proxy.address());
    }
    cluster.spawn_all();
    cluster.until_ready();
    (Scene::on(title, 6, workspace, cluster), proxies)
}

/// A scene in which each store is reached through a proxy of its own: by frontends, by the controller and
/// by leaders, whose replication lanes go to their followers.
fn with_proxies_to_stores(title: &str, partitions: u32) -> (Scene, Vec<NetworkProxy>) {
    let workspace = Workspace::new();
    let mut cluster = Cluster::prepare(&workspace, ClusterOptions::default());
    let start = |member| NetworkProxy::start(cluster.address(member).port(), 7);
    let proxies: Vec<_> = STORES.map(start).into();
    for (member, proxy) in STORES.into_iter().zip(&proxies) {
        cluster.set_env(member, "TIDELOG_CLUSTER__ADVERTISE", &proxy.address());
    }
    cluster.spawn_all();
    cluster.until_ready();
    (Scene::on(title, partitions, workspace, cluster), proxies)
}

#[test]
fn a_store_cut_off_from_etcd_fences_itself_and_comes_back() {
    let (mut scene, proxies) = with_proxies_to_etcd("cut off from etcd");
    scene.begin();
    let lonely = scene.leader(0);
    let fault = scene.recorder.fault("cut off from etcd");
    proxies[index(lonely)].link().cut();
    until(SOON, "it knows that it has no lease", || {
        let answer = scene.cluster.process(lonely).health("/readyz")?;
        (answer.status == 503).then_some(())
    });
    scene.until_it_leads_nothing(lonely);
    scene.until_writable("others lead");
    proxies[index(lonely)].link().heal();
    fault.heal();
    scene.cluster.until_member_ready(lonely);
    scene.until_in_sync();
    scene.until_writable("it is back");
    scene.judge();
}

#[test]
fn a_leader_that_reaches_etcd_and_no_follower_acknowledges_nothing() {
    let (mut scene, proxies) = with_proxies_to_stores("cut off from followers", 1);
    scene.begin();
    let leader = scene.leader(0);
    let fault = scene.recorder.fault("the leader reaches no follower");
    for follower in scene.others(leader) {
        proxies[index(follower)].link().cut();
    }
    let since = scene.recorder.now();
    scene.write_in_vain(0, "no follower can have it");
    assert!(scene.recorder.written_since(since).is_empty(), "acknowledged by the leader alone");
    assert!(scene.partitions()[0].isr.len() >= 2, "below the floor: {:?}", scene.partitions()[0]);
    for proxy in &proxies {
        proxy.link().heal();
    }
    fault.heal();
    scene.until_writable("the followers are back");
    scene.judge();
}

#[test]
fn records_that_reach_a_leader_after_its_epoch_are_refused() {
    let (mut scene, proxies) = with_proxies_to_stores("records arrive late", 6);
    scene.begin();
    let leader = scene.leader(0);
    let link = proxies[index(leader)].link();
    let fault = scene.recorder.fault("what is sent to a leader is held up");
    link.cut_way(Way::ToServer);
    scene.until_it_leads_nothing(leader);
    scene.until_writable("others lead");
    let passed = link.counts().passed;
    link.heal();
    until(SOON, "what was held up arrives", || (link.counts().passed > passed).then_some(()));
    fault.heal();
    scene.until_in_sync();
    scene.judge();
}

#[test]
fn slow_and_lossy_links_between_processes_lose_nothing() {
    let (mut scene, proxies) = with_proxies_to_stores("slow and lossy links", 6);
    scene.begin();
    let fault = scene.recorder.fault("delay and loss");
    let ms = Duration::from_millis;
    let bad = Conditions { delay: ms(5), jitter: ms(10), loss_per_mille: 10, ..Conditions::default() };
    for proxy in &proxies {
        proxy.link().set_both(bad);
    }
    scene.until_writable("slowly");
    scene.progress("slow load", 1_000);
    for proxy in &proxies {
        proxy.link().heal();
    }
    fault.heal();
    scene.judge();
}

/// So often, nothing gets to a store although what it sends arrives.
const FLAPS: u64 = 6;

#[test]
fn a_link_that_flaps_one_way_stops_nobody_and_elects_seldom() {
    let (mut scene, proxies) = with_proxies_to_stores("a flapping one-way link", 6);
    scene.begin();
    let flapping = scene.leader(0);
    let link = proxies[index(flapping)].link();
    let before = scene.elections();
    for _ in 0..FLAPS {
        let fault = scene.recorder.fault("nothing reaches a store");
        let held = link.counts().held;
        link.cut_way(Way::ToServer);
        until(SOON, "something is held up", || (link.counts().held > held).then_some(()));
        scene.until_writable("while the link is down");
        link.heal();
        fault.heal();
        scene.progress("while the link is up", 300);
    }
    scene.until_in_sync();
    let elections = scene.elections() - before;
    // Of the two partitions that it led, each goes away with a flap, and back at most once in between.
    assert!(elections <= 4 * FLAPS, "{elections} elections in {FLAPS} flaps");
    scene.judge();
}
